/*
 * A loop whose turns another thread may have. What lives on a loop is touched by its thread alone,
 * and nothing runs there while the thread sleeps in the kernel. So then another thread can have a
 * turn: it sees and changes the same things as a callback, without the two wake-ups that asking the
 * loop's thread for it takes. In such a turn
 *
 *   - nothing that belongs to libuv is started, stopped or closed: the loop sleeps until what it
 *     knew of then. uv_async_send() is fine, as always.
 *   - no process is started: signals and limits are those of the loop's thread.
 *
 * Turns are had in the order in which they were asked for.
 */
#ifndef COMMON_IO_LOOP_TURN_H
#define COMMON_IO_LOOP_TURN_H

#include <stdint.h>
#include <uv.h>

struct loop_turn {
    uv_loop_t *loop;
    uv_mutex_t lock; /* of what follows */
    uv_cond_t ended; /* a turn was */
    uint64_t asked;  /* turns, ever */
    uint64_t over;   /* of these */
};

void loop_turn_init(struct loop_turn *t, uv_loop_t *loop);
void loop_turn_deinit(struct loop_turn *t);

/* As uv_run(UV_RUN_DEFAULT): until nothing is left to wait for. */
void loop_turn_run(struct loop_turn *t);

/* For another thread: wait for a turn, and end it. */
void loop_turn_take(struct loop_turn *t);
void loop_turn_end(struct loop_turn *t);

#endif
