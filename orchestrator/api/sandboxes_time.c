#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"
#include "orchestrator/api/timeout.h"

#include <errno.h>

#define CONNECT_TIMEOUT_S 300
#define REFRESH_MIN_S     15
#define REFRESH_MAX_S     3600

int timeout_check_max(int64_t timeout_s, unsigned max_lifetime_s, struct err *err)
{
    if (timeout_s <= (int64_t)max_lifetime_s)
        return 0;
    return err_set(err, ERR_INVALID, EINVAL, "Timeout cannot be greater than %g hours",
                   (double)max_lifetime_s / 3600);
}

/* The sandbox that the path names; NULL: answered. */
static struct sandbox *find(struct api_call *c)
{
    struct err err;
    const char *id;
    if (parse_sandbox_id(&c->r, c->r.params[0], &id, &err)) {
        api_fail_err(c, &err);
        return NULL;
    }
    struct sandbox *sb = sandbox_find(c->api->o.host, id, c->key.team_id);
    if (!sb)
        api_fail_no_sandbox(c, id);
    return sb;
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

static void connect_running(struct api_call *c)
{
    struct err err;
    int64_t timeout = CONNECT_TIMEOUT_S;
    bool memory = true;
    if (parse_int(c->body, "timeout", 0, TIMEOUT_FIELD_MAX, &timeout, &err) ||
        parse_bool(c->body, "memory", &memory, &err) ||
        (parse_has(c->body, "timeout") &&
         timeout_check_max(timeout, c->api->o.config->max_lifetime_s, &err))) {
        api_fail_err(c, &err);
        return;
    }
    if (!memory) {
        api_fail_code(
            c, 400, "sandbox_memory_override_disabled",
            "memory: false (a start from the disk alone) is not supported by this version "
            "of sandpit");
        return;
    }
    struct sandbox *sb = find(c);
    if (!sb)
        return;
    if (extend(c, sb, timeout, &err))
        api_fail_err(c, &err);
    else
        api_respond(c, 200, sandbox_json(sb, c->api->o.config));
}

void api_sandbox_connect_v2(struct http_request *r)
{
    connect_running(api_call_of(r));
}

void api_sandbox_connect_v1(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    if (parse_required(c->body, "timeout", &err))
        api_fail_err(c, &err);
    else
        connect_running(c);
}

/* Of older clients, for a paused sandbox; what is found is running. */
void api_sandbox_resume(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    const struct sandbox *sb = find(c);
    if (sb)
        api_fail(c, 409, "Sandbox \"%s\" is already running", sb->id);
}
