#include "common/io/defer.h"

#include "common/base/cleanup.h"

#include <assert.h>

/* Run what was queued when the turn began; what these queue waits for the next turn. */
static void run_queued(struct defer_queue *q)
{
    struct list batch;
    list_init(&batch);
    while (!list_empty(&q->items)) {
        struct list *node = q->items.next;
        list_remove(node);
        list_push_back(&batch, node);
    }
    while (!list_empty(&batch)) {
        struct deferred *d = container_of(batch.next, struct deferred, node);
        list_remove(&d->node);
        d->run(d);
    }
}

static void on_idle(uv_idle_t *idle)
{
    struct defer_queue *q = container_of(idle, struct defer_queue, idle);
    run_queued(q);
    if (list_empty(&q->items))
        uv_idle_stop(&q->idle);
}

void defer_queue_init(struct defer_queue *q, uv_loop_t *loop)
{
    q->loop = loop;
    list_init(&q->items);
    int rc = uv_idle_init(loop, &q->idle);
    assert(rc == 0);
    (void)rc;
}

void defer_queue_close(struct defer_queue *q)
{
    while (!list_empty(&q->items))
        run_queued(q);
    uv_close((uv_handle_t *)&q->idle, NULL);
}

void defer(struct defer_queue *q, struct deferred *d, void (*run)(struct deferred *d))
{
    d->run = run;
    if (list_linked(&d->node))
        return;
    list_push_back(&q->items, &d->node);
    /* A queue that was closed already is still emptied by defer_queue_close()'s own loop. */
    if (!uv_is_closing((uv_handle_t *)&q->idle))
        uv_idle_start(&q->idle, on_idle);
}

void defer_cancel(struct deferred *d)
{
    list_remove(&d->node);
}
