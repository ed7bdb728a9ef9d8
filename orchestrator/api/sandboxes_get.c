#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"

void api_sandbox_get(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err)) {
        api_fail_err(c, &err);
        return;
    }
    const struct sandbox *sb = sandbox_find(c->api->o.host, id, c->key.team_id);
    if (!sb) {
        api_fail_no_sandbox(c, id);
        return;
    }
    api_respond(c, 200, sandbox_json_detail(sb, c->api->o.config));
}

static void on_killed(void *user, bool found)
{
    struct api_call *c = user;
    if (found)
        api_respond_empty(c, 204, NULL, 0);
    else
        api_fail_no_sandbox(c, c->r.params[0]);
    api_call_unref(c);
}

void api_sandbox_kill(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err)) {
        api_fail_err(c, &err);
        return;
    }
    api_call_ref(c);
    sandbox_kill(c->api->o.host, id, c->key.team_id, "killed by a request to the API", on_killed,
                 c);
}
