#include "common/base/cleanup.h"
#include "common/base/clock.h"
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

/* Let it live for timeout_s from now, if that is longer, but no longer than any may. */
static int extend(struct api_call *c, struct sandbox *sb, int64_t timeout_s, struct err *err)
{
    int64_t age_s = (clock_wall_ns() - sb->started_ns) / 1000000000 + 1;
    int64_t left_s = (int64_t)c->api->o.config->max_lifetime_s - age_s;
    if (timeout_s > left_s)
        timeout_s = left_s;
    return timeout_s > 0 ? sandbox_set_timeout(sb, timeout_s, true, err) : 0;
}

void api_sandbox_refresh(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    int64_t duration = REFRESH_MIN_S;
    if (parse_int(c->body, "duration", 0, REFRESH_MAX_S, &duration, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct sandbox *sb = find(c);
    if (!sb)
        return;
    if (extend(c, sb, duration < REFRESH_MIN_S ? REFRESH_MIN_S : duration, &err))
        api_fail_err(c, &err);
    else
        api_respond_empty(c, 204, NULL, 0);
}
