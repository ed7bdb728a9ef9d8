#include "common/io/loop_turn.h"

#include <assert.h>
#include <poll.h>

void loop_turn_init(struct loop_turn *t, uv_loop_t *loop)
{
    t->loop = loop;
    int rc = uv_mutex_init(&t->held);
    assert(rc == 0);
    rc = uv_mutex_init(&t->next);
    assert(rc == 0);
}

void loop_turn_deinit(struct loop_turn *t)
{
    uv_mutex_destroy(&t->next);
    uv_mutex_destroy(&t->held);
}

/* Who ends a turn and wants another one waits behind who waits already. */
void loop_turn_take(struct loop_turn *t)
{
    uv_mutex_lock(&t->next);
    uv_mutex_lock(&t->held);
    uv_mutex_unlock(&t->next);
}

void loop_turn_end(struct loop_turn *t)
{
    uv_mutex_unlock(&t->held);
}

/* uv_run() would sleep with the turn: so it never sleeps, and we wait for what it waits for. */
void loop_turn_run(struct loop_turn *t)
{
    struct pollfd events = { .fd = uv_backend_fd(t->loop), .events = POLLIN };
    loop_turn_take(t);
    while (uv_run(t->loop, UV_RUN_NOWAIT)) {
        int timeout_ms = uv_backend_timeout(t->loop);
        loop_turn_end(t);
        if (timeout_ms != 0)
            poll(&events, 1, timeout_ms);
        loop_turn_take(t);
    }
    loop_turn_end(t);
}
