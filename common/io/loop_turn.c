#include "common/io/loop_turn.h"

#include <assert.h>
#include <poll.h>

void loop_turn_init(struct loop_turn *t, uv_loop_t *loop)
{
    *t = (struct loop_turn){ .loop = loop };
    int rc = uv_mutex_init(&t->lock);
    assert(rc == 0);
    rc = uv_cond_init(&t->ended);
    assert(rc == 0);
}

void loop_turn_deinit(struct loop_turn *t)
{
    uv_cond_destroy(&t->ended);
    uv_mutex_destroy(&t->lock);
}

/* A mutex alone would mostly go to the thread that has just let it go, for that one runs. */
void loop_turn_take(struct loop_turn *t)
{
    uv_mutex_lock(&t->lock);
    uint64_t mine = t->asked++;
    while (t->over != mine)
        uv_cond_wait(&t->ended, &t->lock);
    uv_mutex_unlock(&t->lock);
}

void loop_turn_end(struct loop_turn *t)
{
    uv_mutex_lock(&t->lock);
    t->over++;
    uv_cond_broadcast(&t->ended);
    uv_mutex_unlock(&t->lock);
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
