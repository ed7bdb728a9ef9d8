/* Connect and resume: the sandbox runs when they have answered, whatever it did before. */
#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"
#include "orchestrator/api/timeout.h"

#include <errno.h>

#define CONNECT_TIMEOUT_S 300
#define RESUME_TIMEOUT_S  15

static void on_connected(void *user, struct sandbox *sb, bool resumed,
                         const struct sandbox_timings *t, const struct err *err)
{
    struct api_call *c = user;
    if (err)
        api_fail_sandbox(c, err);
    else
        api_respond_timed(c, resumed ? 201 : 200, sandbox_json(sb, c->api->o.config), t);
    api_call_unref(c);
}

static int parse_spec(const struct api_call *c, struct sandbox_connect_spec *spec, struct err *err)
{
    bool memory = true;
    int rc = parse_int(c->body, "timeout", 0, TIMEOUT_FIELD_MAX, &spec->timeout_s, err);
    if (rc == 0)
        rc = parse_bool(c->body, "memory", &memory, err);
    if (rc == 0 && parse_has(c->body, "timeout"))
        rc = timeout_check_max(spec->timeout_s, c->api->o.config->max_lifetime_s, err);
    spec->reboot = !memory;
    return rc;
}

/* The spec holds what the request leaves out. */
static void connect_to(struct api_call *c, struct sandbox_connect_spec *spec)
{
    char actor[API_ACTOR_SIZE];
    struct err err;
    const char *id;
    if (parse_spec(c, spec, &err) || parse_sandbox_id(&c->r, c->r.params[0], &id, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct sandbox_host *h = c->api->o.host;
    const struct sandbox *sb = sandbox_lookup(h, id, c->key.team_id);
    /* To a running one it gives no time, to a paused one it would give none to live. */
    if (sb && sm_state(&sb->sm) != SANDBOX_RUNNING && spec->timeout_s == 0) {
        api_fail(c, 400, "Timeout must be greater than 0");
        return;
    }
    spec->actor = api_call_actor(c, actor);
    api_call_ref(c);
    sandbox_connect(h, id, c->key.team_id, spec, on_connected, c);
}

void api_sandbox_connect_v2(struct http_request *r)
{
    struct sandbox_connect_spec spec = { .timeout_s = CONNECT_TIMEOUT_S };
    connect_to(api_call_of(r), &spec);
}

void api_sandbox_connect_v1(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct sandbox_connect_spec spec = { 0 };
    struct err err;
    if (parse_required(c->body, "timeout", &err))
        api_fail_err(c, &err);
    else
        connect_to(c, &spec);
}

/* Of older clients, for a paused sandbox only. */
void api_sandbox_resume(struct http_request *r)
{
    struct sandbox_connect_spec spec = { .timeout_s = RESUME_TIMEOUT_S, .must_be_paused = true };
    connect_to(api_call_of(r), &spec);
}
