#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/timeout.h"

#include <errno.h>

#define REFRESH_MIN_S 15
#define REFRESH_MAX_S 3600

int timeout_check_max(int64_t timeout_s, unsigned max_lifetime_s, struct err *err)
{
    if (timeout_s <= (int64_t)max_lifetime_s)
        return 0;
    return err_set(err, ERR_INVALID, EINVAL, "Timeout cannot be greater than %g hours",
                   (double)max_lifetime_s / 3600);
}

/* The running sandbox that the path names; NULL: answered. */
static struct sandbox *find(struct api_call *c)
{
    struct err err;
    const char *id;
    if (parse_sandbox_id(&c->r, c->r.params[0], &id, &err)) {
        api_fail_err(c, &err);
        return NULL;
    }
    struct sandbox *sb = sandbox_lookup(c->api->o.host, id, c->key.team_id);
    int state = sb ? sm_state(&sb->sm) : SANDBOX_ENDED;
    if (state == SANDBOX_RUNNING)
        return sb;
    if (state == SANDBOX_PAUSING || state == SANDBOX_RESUMING)
        api_fail(c, 409, "Sandbox \"%s\" is being %s", id,
                 state == SANDBOX_PAUSING ? "paused" : "resumed");
    else if (state == SANDBOX_PAUSED)
        api_fail(c, 404, "Sandbox \"%s\" is paused: only a running one has an end", id);
    else
        api_fail_no_sandbox(c, id);
    return NULL;
}

void api_sandbox_timeout(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    int64_t timeout = 0;
    if (parse_required(c->body, "timeout", &err) ||
        parse_int(c->body, "timeout", INT32_MIN, TIMEOUT_FIELD_MAX, &timeout, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct sandbox *sb = find(c);
    if (!sb)
        return;
    if (sandbox_set_timeout(sb, timeout < 0 ? 0 : timeout, false, &err))
        api_fail_err(c, &err);
    else
        api_respond_empty(c, 204, NULL, 0);
}

void api_sandbox_refresh(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    int64_t duration = REFRESH_MIN_S, longest_s = c->api->o.config->max_lifetime_s;
    if (parse_int(c->body, "duration", 0, REFRESH_MAX_S, &duration, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct sandbox *sb = find(c);
    if (!sb)
        return;
    if (duration < REFRESH_MIN_S)
        duration = REFRESH_MIN_S;
    if (duration > longest_s)
        duration = longest_s;
    /* What would end after its longest life ends with it, and is no error. */
    if (sandbox_set_timeout(sb, duration, true, &err))
        api_fail_err(c, &err);
    else
        api_respond_empty(c, 204, NULL, 0);
}
