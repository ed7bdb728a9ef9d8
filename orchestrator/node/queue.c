#include "orchestrator/node/queue.h"

#include "common/base/cleanup.h"

#include <assert.h>

/* Operations that the loop handles before it looks at anything else. */
#define OPERATIONS_PER_TURN 16

static struct node_op *op_of(void *tag, int ok)
{
    struct node_op *op = tag;
    assert(op->magic == NODE_OP_MAGIC);
    op->ok = ok;
    return op;
}

/* With the lock. */
static void hand_over(struct node_queue *q, struct node_op *op)
{
    list_push_back(&q->finished, &op->node);
    if (!q->is_loops)
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
    if (!grpc_completion_queue_thread_local_cache_flush(q->cq, &tag, &ok))
        return;
    uv_mutex_lock(&q->lock);
    hand_over(q, op_of(tag, ok));
    uv_mutex_unlock(&q->lock);
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
        uv_mutex_lock(&q->lock);
        hand_over(q, op_of(event.tag, event.success));
        q->is_loops = true;
        while (q->is_loops)
            uv_cond_wait(&q->given_back, &q->lock);
        uv_mutex_unlock(&q->lock);
    }
}

/* What was handed over; NULL when there is nothing. */
static struct node_op *take_finished(struct node_queue *q)
{
    struct node_op *op = NULL;
    uv_mutex_lock(&q->lock);
    if (!list_empty(&q->finished)) {
        op = container_of(q->finished.next, struct node_op, node);
        list_remove(&op->node);
    }
    uv_mutex_unlock(&q->lock);
    return op;
}

/* The next operation, from the queue itself where that is the loop's; NULL when there is none. */
static struct node_op *next_op(struct node_queue *q)
{
    struct node_op *op = take_finished(q);
    if (op || !q->is_loops)
        return op;
    grpc_event event = grpc_completion_queue_next(q->cq, gpr_inf_past(GPR_CLOCK_REALTIME), NULL);
    return event.type == GRPC_OP_COMPLETE ? op_of(event.tag, event.success) : NULL;
}

static void give_back(struct node_queue *q)
{
    uv_mutex_lock(&q->lock);
    q->is_loops = false;
    uv_cond_signal(&q->given_back);
    uv_mutex_unlock(&q->lock);
}

static void on_wake(uv_async_t *wake)
{
    struct node_queue *q = container_of(wake, struct node_queue, wake);
    for (int i = 0; i < OPERATIONS_PER_TURN; i++) {
        struct node_op *op = next_op(q);
        if (!op) {
            give_back(q);
            return;
        }
        op->done(op);
    }
    uv_async_send(&q->wake);
}

int node_queue_init(struct node_queue *q, uv_loop_t *loop)
{
    list_init(&q->finished);
    int rc = uv_async_init(loop, &q->wake, on_wake);
    if (rc < 0)
        return rc;
    rc = uv_mutex_init(&q->lock);
    assert(rc == 0);
    rc = uv_cond_init(&q->given_back);
    assert(rc == 0);
    q->cq = grpc_completion_queue_create_for_next(NULL);
    rc = uv_thread_create(&q->thread, wait_at_queue, q);
    assert(rc == 0); /* at the start of the daemon: it could not serve without */
    return 0;
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct node_queue *q = container_of((uv_async_t *)handle, struct node_queue, wake);
    uv_cond_destroy(&q->given_back);
    uv_mutex_destroy(&q->lock);
    q->closed(q);
}

void node_queue_close(struct node_queue *q, void (*closed)(struct node_queue *q))
{
    q->closed = closed;
    grpc_completion_queue_shutdown(q->cq);
    give_back(q);
    uv_thread_join(&q->thread);
    assert(list_empty(&q->finished));
    grpc_completion_queue_destroy(q->cq);
    uv_close((uv_handle_t *)&q->wake, on_wake_closed);
}
