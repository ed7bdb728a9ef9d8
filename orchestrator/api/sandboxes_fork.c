#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"
#include "orchestrator/api/timeout.h"

#include <errno.h>

#define FORK_TIMEOUT_S 15

static json_t *result_json(const struct sandbox_fork_result *result, const struct config *config)
{
    if (result->sb)
        return json_pack("{s:o}", "sandbox", sandbox_json(result->sb, config));
    return json_pack("{s:{s:i, s:s}}", "error", "code", err_code_http(result->err.code), "message",
                     result->err.msg);
}

static void on_forked(void *user, const struct sandbox_fork_result *results, size_t n,
                      const struct sandbox_timings *t, const struct err *err)
{
    struct api_call *c = user;
    if (err) {
        api_fail_sandbox(c, err);
    } else {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, result_json(&results[i], c->api->o.config));
        api_respond_timed(c, 201, list, t);
    }
    api_call_unref(c);
}

static int parse(const struct api_call *c, int64_t *timeout, int64_t *count, struct err *err)
{
    int rc = parse_int(c->body, "timeout", INT32_MIN, TIMEOUT_FIELD_MAX, timeout, err);
    if (rc == 0)
        rc = parse_int(c->body, "count", 1, SANDBOX_FORK_MAX, count, err);
    if (rc)
        return rc;
    if (*timeout <= 0)
        return err_set(err, ERR_INVALID, EINVAL, "Timeout must be greater than 0");
    return timeout_check_max(*timeout, c->api->o.config->max_lifetime_s, err);
}

void api_sandbox_fork(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    int64_t timeout = FORK_TIMEOUT_S, count = 1;
    char actor[API_ACTOR_SIZE];
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err) || parse(c, &timeout, &count, &err)) {
        api_fail_err(c, &err);
        return;
    }
    api_call_ref(c);
    sandbox_fork(c->api->o.host, id, c->key.team_id, (unsigned)timeout, (unsigned)count,
                 api_call_actor(c, actor), on_forked, c);
}
