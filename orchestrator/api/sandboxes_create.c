#include "common/base/cleanup.h"
#include "orchestrator/api/create_options.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"
#include "orchestrator/api/timeout.h"

#include <errno.h>

#define CREATE_TIMEOUT_V1_S 15
#define METADATA_MAX        262144  /* bytes of names and values */
#define ENVS_MAX            1048576 /* a process's environment takes no more */

static void on_created(void *user, struct sandbox *sb, const struct sandbox_timings *t,
                       const struct err *err)
{
    struct api_call *c = user;
    json_t *body = err ? NULL : sandbox_json(sb, c->api->o.config);
    idempotency_end(c, body, t, err);
    if (err)
        api_fail_err(c, err);
    else
        api_respond_timed(c, 201, body, t);
    api_call_unref(c);
}

static int parse_timeout(const struct api_call *c, struct sandbox_spec *spec, struct err *err)
{
    int64_t timeout = spec->timeout_s;
    int rc = parse_int(c->body, "timeout", INT32_MIN, TIMEOUT_FIELD_MAX, &timeout, err);
    if (rc)
        return rc;
    if (timeout <= 0)
        return err_set(err, ERR_INVALID, EINVAL, "Timeout must be greater than 0");
    spec->timeout_s = (unsigned)timeout;
    return timeout_check_max(timeout, c->api->o.config->max_lifetime_s, err);
}

static int parse_template(const struct api_call *c, struct sandbox_spec *spec, struct err *err)
{
    struct template_ref ref;
    int rc = parse_required(c->body, "templateID", err);
    if (rc == 0)
        rc = parse_string(c->body, "templateID", &spec->template_ref, err);
    return rc ? rc : template_ref_parse(spec->template_ref, &ref, err);
}

static int parse_envs(const struct api_call *c, struct sandbox_spec *spec, struct err *err)
{
    const char *name;
    json_t *value;
    int rc = parse_string_map(c->body, "envVars", ENVS_MAX, &spec->envs, err);
    if (rc)
        return rc;
    json_object_foreach (spec->envs, name, value)
        if (!name[0] || strchr(name, '='))
            return err_set(err, ERR_INVALID, EINVAL,
                           "validation error: '%.64s' is no name for an environment variable",
                           name);
    return 0;
}

static int parse_spec(struct api_call *c, struct sandbox_spec *spec, struct err *err)
{
    int rc = parse_template(c, spec, err);
    if (rc == 0)
        rc = parse_timeout(c, spec, err);
    if (rc == 0)
        rc = parse_string_map(c->body, "metadata", METADATA_MAX, &spec->metadata, err);
    if (rc == 0)
        rc = parse_envs(c, spec, err);
    if (rc == 0)
        rc = create_options_parse(c->body, spec, err);
    return rc;
}

static void create(struct api_call *c, struct sandbox_spec *spec)
{
    char actor[API_ACTOR_SIZE];
    struct err err;
    spec->team_id = c->key.team_id;
    spec->actor = api_call_actor(c, actor);
    spec->allow_public_traffic = true;
    if (parse_spec(c, spec, &err)) {
        api_fail_err(c, &err);
    } else if (idempotency_begin(c)) {
        /* It goes on when the client leaves; the sandbox then lives until its timeout. */
        struct store_create_key key;
        if (c->idempotent) {
            idempotency_record(c, &key);
            spec->create_key = &key;
        }
        api_call_ref(c);
        sandbox_create(c->api->o.host, spec, on_created, c);
    }
    json_decref(spec->config);
}

void api_sandbox_create_v2(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct sandbox_spec spec = { .secure = true, .timeout_s = c->api->o.config->default_timeout_s };
    create(c, &spec);
}

void api_sandbox_create_v1(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct sandbox_spec spec = { .timeout_s = CREATE_TIMEOUT_V1_S };
    struct err err;
    if (parse_bool(c->body, "secure", &spec.secure, &err))
        api_fail_err(c, &err);
    else
        create(c, &spec);
}
