/*
 * gRPC's completion queue and the loop. One thread waits at the queue: when an operation has
 * finished it hands it over, and the queue with it. Everything else happens on the loop, which
 * looks at the queue for itself as long as it finds something there, and then gives it back. So the
 * two never work in gRPC at once, and a busy queue costs no wake-ups. For this folder only.
 */
#ifndef ORCHESTRATOR_NODE_QUEUE_H
#define ORCHESTRATOR_NODE_QUEUE_H

#include "common/base/list.h"

#include <grpc/grpc.h>
#include <stdbool.h>
#include <uv.h>

/* One operation under way: its address is the tag that gRPC gives back. Embed it. */
struct node_op {
    uint32_t magic;
    bool ok;
    struct list node;
    void (*done)(struct node_op *op); /* on the loop, once for each start */
};

#define NODE_OP_INIT(callback)                                                                     \
    (struct node_op)                                                                               \
    {                                                                                              \
        .magic = NODE_OP_MAGIC, .done = (callback)                                                 \
    }
#define NODE_OP_MAGIC 0x706f646eu

struct node_queue {
    grpc_completion_queue *cq;
    uv_thread_t thread;
    uv_mutex_t lock; /* of the next three */
    uv_cond_t given_back;
    bool is_loops; /* the queue is; the loop was woken for it */
    struct list finished;
    uv_async_t wake;
    void (*closed)(struct node_queue *q);
};

/* 0, or a negative errno. grpc_init() was called. */
int node_queue_init(struct node_queue *q, uv_loop_t *loop);

/*
 * Put these around what starts an operation on the loop. One that ends within is noted here and not
 * sent around by the thread, which would cost two wake-ups: answers mostly do, as soon as the
 * socket has taken them. Its done() still comes from the loop later, never from inside.
 */
void node_queue_begin(struct node_queue *q);
void node_queue_end(struct node_queue *q);

/* Every operation was handed over. Joins the thread; then closed(q) from the loop. */
void node_queue_close(struct node_queue *q, void (*closed)(struct node_queue *q));

#endif
