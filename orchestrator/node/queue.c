#include "orchestrator/node/queue.h"

#include "common/base/cleanup.h"

#include <assert.h>

/* Operations that the loop does before it looks at anything else. */
#define OPERATIONS_PER_TURN 16

static void wake_loop(struct node_queue *q)
{
    if (!q->woken)
        uv_async_send(&q->wake);
    q->woken = true;
}

static void note(struct node_queue *q, void *tag, int ok)
{
    struct node_op *op = tag;
    assert(op->magic == NODE_OP_MAGIC);
    op->ok = ok;
    if (q->is_threads && op->quick && !q->nothing_quick) {
        list_push_back(&q->finished, &op->node);
    } else {
        list_push_back(&q->handed_over, &op->node);
        wake_loop(q);
    }
}

void node_queue_begin(struct node_queue *q)
{
    grpc_completion_queue_thread_local_cache_init(q->cq);
}

void node_queue_end(struct node_queue *q)
{
    void *tag;
    int ok;
    if (grpc_completion_queue_thread_local_cache_flush(q->cq, &tag, &ok))
        note(q, tag, ok);
}

static void do_first(struct list *ops)
{
    struct node_op *op = container_of(ops->next, struct node_op, node);
    list_remove(&op->node);
    op->done(op);
}

/* The thread. A turn for each operation, so that the loop never waits for more than one. */
static void wait_at_queue(void *arg)
{
    struct node_queue *q = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(q->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return;
        loop_turn_take(q->turn);
        q->is_threads = true;
        note(q, event.tag, event.success);
        while (!list_empty(&q->finished))
            do_first(&q->finished);
        q->is_threads = false;
        loop_turn_end(q->turn);
    }
}

static void on_wake(uv_async_t *wake)
{
    struct node_queue *q = container_of(wake, struct node_queue, wake);
    /* Until the end: what finishes meanwhile is found by this. */
    q->woken = true;
    for (int i = 0; i < OPERATIONS_PER_TURN && !list_empty(&q->handed_over); i++)
        do_first(&q->handed_over);
    q->woken = false;
    if (!list_empty(&q->handed_over))
        wake_loop(q);
}

int node_queue_init(struct node_queue *q, struct loop_turn *turn)
{
    list_init(&q->finished);
    list_init(&q->handed_over);
    q->turn = turn;
    int rc = uv_async_init(turn->loop, &q->wake, on_wake);
    if (rc < 0)
        return rc;
    q->cq = grpc_completion_queue_create_for_next(NULL);
    rc = uv_thread_create(&q->thread, wait_at_queue, q);
    assert(rc == 0); /* at the start of the daemon: it could not serve without */
    return 0;
}

void node_queue_nothing_quick(struct node_queue *q)
{
    q->nothing_quick = true;
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct node_queue *q = container_of((uv_async_t *)handle, struct node_queue, wake);
    q->closed(q);
}

void node_queue_close(struct node_queue *q, void (*closed)(struct node_queue *q))
{
    q->closed = closed;
    grpc_completion_queue_shutdown(q->cq);
    /* It has nothing more to do than to see the end, and takes no turn for that. */
    uv_thread_join(&q->thread);
    assert(list_empty(&q->handed_over));
    grpc_completion_queue_destroy(q->cq);
    uv_close((uv_handle_t *)&q->wake, on_wake_closed);
}
