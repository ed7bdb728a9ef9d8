#include "orchestrator/node/queue.h"

#include "common/base/cleanup.h"

#include <assert.h>

/* Batches that the loop handles before it looks at anything else. */
#define ROUNDS_PER_TURN 16

static void hand_over(struct node_queue *q, void *tag, bool ok)
{
    struct node_op *op = tag;
    assert(op->magic == NODE_OP_MAGIC);
    op->ok = ok;
    uv_mutex_lock(&q->lock);
    bool asleep = !q->awake;
    q->awake = true;
    list_push_back(&q->finished, &op->node);
    uv_mutex_unlock(&q->lock);
    if (asleep)
        uv_async_send(&q->wake);
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
        hand_over(q, tag, ok);
}

/* The thread. */
static void wait_at_queue(void *arg)
{
    struct node_queue *q = arg;
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(q->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return;
        hand_over(q, event.tag, event.success);
    }
}

/* Take all that is finished; false when there is none, and the thread must wake the loop again. */
static bool take_finished(struct node_queue *q, struct list *batch)
{
    uv_mutex_lock(&q->lock);
    q->awake = !list_empty(&q->finished);
    bool any = q->awake;
    if (any) {
        /* The new head takes the old one's place. */
        *batch = q->finished;
        batch->next->prev = batch->prev->next = batch;
        list_init(&q->finished);
    }
    uv_mutex_unlock(&q->lock);
    return any;
}

static void on_wake(uv_async_t *wake)
{
    struct node_queue *q = container_of(wake, struct node_queue, wake);
    struct list batch;
    for (int i = 0; i < ROUNDS_PER_TURN; i++) {
        if (!take_finished(q, &batch))
            return;
        while (!list_empty(&batch)) {
            struct node_op *op = container_of(batch.next, struct node_op, node);
            list_remove(&op->node);
            op->done(op);
        }
    }
    uv_async_send(&q->wake); /* it is still awake: nobody else does */
}

int node_queue_init(struct node_queue *q, uv_loop_t *loop)
{
    list_init(&q->finished);
    int rc = uv_async_init(loop, &q->wake, on_wake);
    if (rc < 0)
        return rc;
    rc = uv_mutex_init(&q->lock);
    assert(rc == 0);
    q->cq = grpc_completion_queue_create_for_next(NULL);
    rc = uv_thread_create(&q->thread, wait_at_queue, q);
    assert(rc == 0); /* at the start of the daemon: it could not serve without */
    return 0;
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct node_queue *q = container_of((uv_async_t *)handle, struct node_queue, wake);
    uv_mutex_destroy(&q->lock);
    q->closed(q);
}

void node_queue_close(struct node_queue *q, void (*closed)(struct node_queue *q))
{
    q->closed = closed;
    grpc_completion_queue_shutdown(q->cq);
    uv_thread_join(&q->thread);
    assert(list_empty(&q->finished));
    grpc_completion_queue_destroy(q->cq);
    uv_close((uv_handle_t *)&q->wake, on_wake_closed);
}
