/* Sandboxes end at endAt. One timer, set to the next one. */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"

/* endAt is wall-clock time, which can jump: look again at least this often. */
#define LOOK_MS 10000

static void on_timer(uv_timer_t *timer)
{
    struct sandbox_host *h = container_of(timer, struct sandbox_host, expiry);
    int64_t now = clock_wall_ns();
    list_for_each_safe (node, &h->running) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (sb->end_ns <= now)
            sandbox_end(sb, "deadline", "endAt was reached", NULL, NULL);
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
        if (sb->end_ns < next)
            next = sb->end_ns;
    }
    int64_t ms = (next - clock_wall_ns()) / 1000000 + 1;
    if (ms < 0)
        ms = 0;
    if (ms > LOOK_MS)
        ms = LOOK_MS;
    uv_timer_start(&h->expiry, on_timer, (uint64_t)ms, 0);
}
