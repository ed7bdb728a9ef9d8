/* Work put off to the next turn of the loop: how a callback is delivered without re-entering the
 * code that caused it. */
#ifndef COMMON_IO_DEFER_H
#define COMMON_IO_DEFER_H

#include "common/base/list.h"

#include <stdbool.h>
#include <uv.h>

struct deferred {
    struct list node;
    void (*run)(struct deferred *d);
};

/* One per loop; loop->data is not used. */
struct defer_queue {
    uv_idle_t idle;
    uv_loop_t *loop;
    struct list items;
};

void defer_queue_init(struct defer_queue *q, uv_loop_t *loop);

/* Run what is queued, then close the handle. Call before the loop's last turns. */
void defer_queue_close(struct defer_queue *q);

/* Call d->run(d) once from the loop, soon. Queueing one that is queued already does nothing. The
 * owner of d calls defer_cancel() before it is freed. */
void defer(struct defer_queue *q, struct deferred *d, void (*run)(struct deferred *d));
void defer_cancel(struct deferred *d);

#endif
