#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"

static void on_death(void *user, const struct store_death *death)
{
    struct api_call *c = user;
    const struct err gone = { .code = ERR_NOT_FOUND };
    if (death)
        api_fail_ended(c, death->sandbox_id, death);
    else
        api_fail_sandbox(c, &gone);
    api_call_unref(c);
}

void api_sandbox_get(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err)) {
        api_fail_err(c, &err);
        return;
    }
    const struct sandbox *sb = sandbox_lookup(c->api->o.host, id, c->key.team_id);
    if (sb) {
        api_respond(c, 200, sandbox_json_detail(sb, c->api->o.config));
        return;
    }
    api_call_ref(c);
    sandbox_death(c->api->o.host, id, c->key.team_id, on_death, c);
}

static void on_killed(void *user, const struct err *err)
{
    struct api_call *c = user;
    if (err)
        api_fail_sandbox(c, err);
    else
        api_respond_empty(c, 204, NULL, 0);
    api_call_unref(c);
}

void api_sandbox_kill(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    char actor[API_ACTOR_SIZE];
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err)) {
        api_fail_err(c, &err);
        return;
    }
    api_call_ref(c);
    sandbox_kill(c->api->o.host, id, c->key.team_id, api_call_actor(c, actor), on_killed, c);
}
