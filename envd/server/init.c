/* POST /init: an orchestrator tells a guest who it is. Sandpit's own uses the control service on
 * the guest link instead; this is the public form of it, which any orchestrator can use. */
#include "common/base/clock.h"
#include "envd/core/envd.h"
#include "envd/core/wall_clock.h"
#include "envd/server/rest.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>

static const char *text_of(const json_t *body, const char *key, bool *bad)
{
    const json_t *v = json_object_get(body, key);
    if (!v || json_is_null(v))
        return NULL;
    if (!json_is_string(v)) {
        *bad = true;
        return NULL;
    }
    return json_string_value(v);
}

static bool envs_ok(const json_t *envs)
{
    if (!envs || json_is_null(envs))
        return true;
    if (!json_is_object(envs) || json_object_size(envs) > ENVD_ENVS_MAX)
        return false;
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)envs, name, value) {
        if (!json_is_string(value) || name[0] == '\0' || strchr(name, '='))
            return false;
    }
    return true;
}

/* A sentence when the request asks for something that envd does not do; NULL otherwise. */
static const char *unsupported(const json_t *body)
{
    if (json_array_size(json_object_get(body, "volumeMounts")) > 0)
        return "volumeMounts are not supported by this envd";
    if (json_string_length(json_object_get(body, "caBundle")) > 0)
        return "caBundle is not supported by this envd";
    if (json_string_length(json_object_get(body, "hyperloopIP")) > 0)
        return "hyperloopIP is not supported by this envd";
    return NULL;
}

static void apply_envs(struct envd *e, const json_t *envs)
{
    const char *name;
    json_t *value;
    if (!envs || json_is_null(envs))
        return;
    envd_clear_envs(&e->envs);
    json_object_foreach ((json_t *)(uintptr_t)envs, name, value) {
        envd_set_env(&e->envs, str_of(name), json_string_value(value));
    }
}

static void apply(struct envd *e, const json_t *body, const char *token)
{
    bool bad = false;
    const char *user = text_of(body, "defaultUser", &bad);
    const char *workdir = text_of(body, "defaultWorkdir", &bad);
    apply_envs(e, json_object_get(body, "envVars"));
    snprintf(e->access_token, sizeof(e->access_token), "%s", token ? token : "");
    if (user && *user)
        snprintf(e->default_user, sizeof(e->default_user), "%s", user);
    if (workdir && *workdir)
        snprintf(e->default_workdir, sizeof(e->default_workdir), "%s", workdir);
}

/* NULL when the whole request is well formed, else what is wrong with it. */
static const char *check(const struct envd *e, const json_t *body, int64_t *when_ns)
{
    bool bad = false;
    const char *token = text_of(body, "accessToken", &bad);
    const char *user = text_of(body, "defaultUser", &bad);
    const char *workdir = text_of(body, "defaultWorkdir", &bad);
    const char *when = text_of(body, "timestamp", &bad);
    int64_t seconds;
    uint32_t nanos;
    *when_ns = 0;
    if (bad)
        return "accessToken, defaultUser, defaultWorkdir and timestamp must be strings";
    if (!envs_ok(json_object_get(body, "envVars")))
        return "envVars must be an object of strings";
    if (token && strlen(token) > ENVD_TOKEN_MAX)
        return "accessToken is too long";
    if ((user && strlen(user) >= sizeof(e->default_user)) ||
        (workdir && strlen(workdir) >= sizeof(e->default_workdir)))
        return "defaultUser or defaultWorkdir is too long";
    if (when) {
        if (!clock_parse_rfc3339(str_of(when), &seconds, &nanos) || seconds < 0 ||
            seconds > INT64_MAX / 1000000000 - 1)
            return "timestamp is no RFC 3339 time";
        *when_ns = seconds * 1000000000 + nanos;
    }
    return unsupported(body);
}

static void init_with(struct http_request *r, const json_t *body)
{
    struct envd *e = r->context;
    struct http_field version = { STR("x-envd-version"), STR(ENVD_VERSION) };
    int64_t when_ns;
    const char *wrong = check(e, body, &when_ns);
    if (wrong) {
        rest_error(r->stream, 400, wrong);
        return;
    }
    const char *token = json_string_value(json_object_get(body, "accessToken"));
    if (!envd_token_ok(e, str_of(token ? token : ""))) {
        rest_error(r->stream, 401, "access token validation failed");
        return;
    }
    /* An older init that was sent again changes nothing. */
    if (when_ns == 0 || when_ns > e->init_timestamp_ns) {
        apply(e, body, token);
        if (when_ns) {
            e->init_timestamp_ns = when_ns;
            if (e->is_guest)
                wall_clock_correct(when_ns);
        }
    }
    http_respond_fields(r->stream, 204, NULL, &version, 1, NULL, 0);
}

static void on_body(struct http_request *r, const uint8_t *data, size_t n, int errnum)
{
    if (errnum == EFBIG)
        rest_error(r->stream, 413, "request body is too large");
    if (errnum)
        return;
    json_error_t why;
    json_t *body = n ? json_loadb((const char *)data, n, 0, &why) : json_object();
    if (json_is_object(body))
        init_with(r, body);
    else
        rest_error(r->stream, 400, "request body is no JSON object");
    json_decref(body);
}

static void on_gone(struct http_request *r)
{
    struct envd *e = r->context;
    e->inits--;
}

/* The token is in the body: it is collected for anybody in the guest, so not for many at once. */
void rest_init(struct http_request *r)
{
    struct envd *e = r->context;
    if (e->inits >= REST_INITS_MAX && !r->stream->trusted) {
        rest_error(r->stream, 503, "too many requests to initialize at once");
        return;
    }
    http_collect_body(r, REST_INIT_MAX, on_body, on_gone);
    if (r->stream->events != &HTTP_EVENTS_NONE) /* else memory was out */
        e->inits++;
}
