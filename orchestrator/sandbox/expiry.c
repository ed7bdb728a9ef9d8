/* At endAt a sandbox ends, or is paused when its creator wanted that. One timer, set to the next
 * one.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"

/* endAt is wall-clock time, which can jump: look again at least this often. */
#define LOOK_MS 10000

/* A pause that failed, on a full disk for one, is tried again after so long. */
#define PAUSE_AGAIN_NS (INT64_C(30) * 1000000000)

#define ACTOR "deadline"

static void on_paused(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct sandbox *sb = user;
    (void)t;
    if (err && sm_state(&sb->sm) == SANDBOX_RUNNING) {
        log_error("a sandbox that should be paused runs on", LOG_STR("sandbox_id", sb->id),
                  LOG_STR("reason", err->msg));
        sb->end_ns = clock_wall_ns() + PAUSE_AGAIN_NS;
        expiry_rearm(sb->host);
    }
    sandbox_unref(sb);
}

static void expire(struct sandbox *sb)
{
    if (own_of(sb)->transition != TRANSITION_NONE)
        return; /* its end looks again */
    if (!sb->auto_pause) {
        sandbox_end(sb, "deadline", "endAt was reached", ACTOR, NULL, NULL);
        return;
    }
    /* Nobody waits for it, so there is time for the disk. */
    struct sandbox_pause_spec spec = { .memory = sb->auto_pause_memory,
                                       .sync = true,
                                       .actor = ACTOR };
    sandbox_ref(sb);
    sandbox_pause(sb->host, sb->id, NULL, &spec, on_paused, sb);
}

static void on_timer(uv_timer_t *timer)
{
    struct sandbox_host *h = container_of(timer, struct sandbox_host, expiry);
    int64_t now = clock_wall_ns();
    list_for_each_safe (node, &h->running) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (sb->end_ns <= now)
            expire(sb);
    }
    expiry_rearm(h);
}

void expiry_init(struct sandbox_host *h)
{
    uv_timer_init(h->loop, &h->expiry);
}

void expiry_rearm(struct sandbox_host *h)
{
    if (list_empty(&h->running) || h->stopping) {
        uv_timer_stop(&h->expiry);
        return;
    }
    int64_t next = INT64_MAX;
    list_for_each (node, &h->running) {
        const struct sandbox *sb = container_of(node, struct sandbox, node);
        if (own_of((struct sandbox *)(uintptr_t)sb)->transition == TRANSITION_NONE &&
            sb->end_ns < next)
            next = sb->end_ns;
    }
    int64_t ms = (next - clock_wall_ns()) / 1000000 + 1;
    if (ms < 0)
        ms = 0;
    if (ms > LOOK_MS)
        ms = LOOK_MS;
    uv_timer_start(&h->expiry, on_timer, (uint64_t)ms, 0);
}
