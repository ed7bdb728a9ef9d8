/*
 * gRPC's completion queue and the loop. One thread waits at the queue. An operation that is quick
 * is done by this thread, in a turn of the loop's that it takes (common/io/loop_turn.h): asking the
 * loop's own thread costs two wake-ups, more than most answers. All others are handed over. For
 * this folder only; everything here is called in a turn.
 */
#ifndef ORCHESTRATOR_NODE_QUEUE_H
#define ORCHESTRATOR_NODE_QUEUE_H

#include "common/base/list.h"
#include "common/io/loop_turn.h"

#include <grpc/grpc.h>
#include <stdbool.h>

/* One operation under way: its address is the tag that gRPC gives back. Embed it. */
struct node_op {
    uint32_t magic;
    bool ok;
    bool quick; /* done() keeps to what a borrowed turn allows */
    struct list node;
    void (*done)(struct node_op *op); /* in a turn of the loop, once for each start */
};

#define NODE_OP_INIT(callback, is_quick)                                                           \
    (struct node_op)                                                                               \
    {                                                                                              \
        .magic = NODE_OP_MAGIC, .quick = (is_quick), .done = (callback)                            \
    }
#define NODE_OP_MAGIC 0x706f646eu

struct node_queue {
    grpc_completion_queue *cq;
    uv_thread_t thread;
    struct loop_turn *turn;
    bool is_threads;      /* the turn */
    bool nothing_quick;   /* the loop's thread does all */
    bool woken;           /* the loop was, for `handed_over` */
    struct list finished; /* quick ones, in a turn of the thread's */
    struct list handed_over;
    uv_async_t wake;
    void (*closed)(struct node_queue *q);
};

/* 0, or a negative errno. grpc_init() was called. The turn is borrowed for the queue's life. */
int node_queue_init(struct node_queue *q, struct loop_turn *turn);

/*
 * Put these around what starts an operation. One that ends within is noted here, and does not go
 * through gRPC's queue: answers mostly do, as soon as the socket has taken them. Its done() still
 * comes later, never from inside.
 */
void node_queue_begin(struct node_queue *q);
void node_queue_end(struct node_queue *q);

/* From now on every operation is done by the loop's thread. */
void node_queue_nothing_quick(struct node_queue *q);

/* By the loop's thread, when every operation was done. Joins the thread; then closed(q). */
void node_queue_close(struct node_queue *q, void (*closed)(struct node_queue *q));

#endif
