#include "orchestrator/api/create_options.h"

#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"

#include <errno.h>

static int unsupported(const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, EINVAL, "%s is not supported by this version of sandpit",
                   what);
}

/* Refuse a list or an object that holds something. Empty ones promise nothing. */
static int refuse_filled(const json_t *obj, const char *name, const char *what, struct err *err)
{
    const json_t *v = json_object_get(obj, name);
    if (!v || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0) ||
        (json_is_object(v) && json_object_size(v) == 0))
        return 0;
    if (!json_is_array(v) && !json_is_object(v))
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: field '%s' must be a list or an object", what);
    return unsupported(what, err);
}

static int refuse_present(const json_t *obj, const char *name, const char *what, struct err *err)
{
    return parse_has(obj, name) ? unsupported(what, err) : 0;
}

/* What happens at the end of the sandbox's time, and what wakes it again. */
static int parse_lifecycle(const json_t *body, struct sandbox_spec *spec, struct err *err)
{
    json_t *resume = NULL;
    spec->auto_pause_memory = true;
    int rc = parse_bool(body, "autoPause", &spec->auto_pause, err);
    if (rc == 0)
        rc = parse_bool(body, "autoPauseMemory", &spec->auto_pause_memory, err);
    if (rc == 0)
        rc = parse_object(body, "autoResume", &resume, err);
    if (rc == 0 && resume)
        rc = parse_required(resume, "enabled", err);
    if (rc == 0 && resume)
        rc = parse_bool(resume, "enabled", &spec->auto_resume, err);
    if (rc)
        return rc;
    if (!spec->auto_pause_memory && !spec->auto_pause)
        return err_set(err, ERR_INVALID, EINVAL, "autoPauseMemory: false needs autoPause: true");
    if (!spec->auto_pause_memory && spec->auto_resume)
        return err_set(err, ERR_INVALID, EINVAL,
                       "autoPauseMemory: false cannot be combined with autoResume.enabled: true: "
                       "what was paused without its memory starts anew when it is resumed");
    return 0;
}

/*
 * Guests have no network of their own yet. So a filter, a proxy or a name server would be a promise
 * that nothing keeps, while internet access is what it is: asked for or not, there is none, and
 * "false" is true.
 */
static int parse_network(const json_t *body, struct sandbox_spec *spec, struct err *err)
{
    json_t *network = NULL;
    int rc = parse_object(body, "network", &network, err);
    if (rc || !network)
        return rc;
    static const struct {
        const char *name, *what;
    } lists[] = {
        { "allowOut", "network.allowOut" },     { "denyOut", "network.denyOut" },
        { "dnsServers", "network.dnsServers" }, { "httpsPorts", "network.httpsPorts" },
        { "rules", "network.rules" },           { "egressProxy", "network.egressProxy" },
    };
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(lists); i++)
        rc = refuse_filled(network, lists[i].name, lists[i].what, err);
    if (rc == 0)
        rc = refuse_present(network, "maskRequestHost", "network.maskRequestHost", err);
    if (rc == 0)
        rc = parse_bool(network, "allowPublicTraffic", &spec->allow_public_traffic, err);
    if (rc)
        return rc;
    if (!spec->allow_public_traffic && !spec->secure)
        return err_set(err, ERR_INVALID, EINVAL,
                       "network.allowPublicTraffic: false needs a secure sandbox");
    json_t *kept = json_pack("{s:b}", "allowPublicTraffic", spec->allow_public_traffic);
    json_object_set_new(spec->config, "network", kept);
    return 0;
}

static int parse_internet(const json_t *body, struct sandbox_spec *spec, struct err *err)
{
    bool allow = true;
    int rc = parse_bool(body, "allow_internet_access", &allow, err);
    if (rc == 0 && parse_has(body, "allow_internet_access"))
        json_object_set_new(spec->config, "allowInternetAccess", json_boolean(allow));
    return rc;
}

int create_options_parse(const json_t *body, struct sandbox_spec *spec, struct err *err)
{
    spec->config = json_object();
    if (!spec->config)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    int rc = parse_lifecycle(body, spec, err);
    if (rc == 0)
        rc = parse_network(body, spec, err);
    if (rc == 0)
        rc = parse_internet(body, spec, err);
    if (rc == 0)
        rc = refuse_filled(body, "volumeMounts", "volumeMounts", err);
    if (rc == 0)
        rc = refuse_present(body, "mcp", "mcp", err);
    if (rc == 0)
        rc = refuse_filled(body, "iam", "iam", err);
    if (rc == 0)
        rc = refuse_filled(body, "secrets", "secrets", err);
    return rc;
}
