/*
 * One call of a method, as its handler sees it. A handler runs in a turn of the loop; it answers
 * once, at once or later, and never waits. What gRPC does with the call is behind this header.
 */
#ifndef ORCHESTRATOR_NODE_CALL_H
#define ORCHESTRATOR_NODE_CALL_H

#include "common/base/arena.h"
#include "common/base/err.h"

/* The trailing metadata that has err.reason, where there is one. */
#define NODE_REASON_KEY "sandpit-reason"

struct node_call;

struct node_method {
    const char *path; /* "/sandpit.node.v1.InfoService/Get"; NULL ends a table */
    const ProtobufCMessageDescriptor *input;
    /* Unary: answer by node_call_reply() or node_call_fail(). Stream: node_stream_open(), or
     * node_call_fail(). */
    void (*start)(struct node_call *c);
    bool stream;
    /* The handler and its events keep to what a borrowed turn of the loop allows
     * (common/io/loop_turn.h), and so are called without waking the loop. */
    bool quick;
};

struct node_stream_events {
    /* A message may be sent; after the opening and after each message. */
    void (*on_ready)(struct node_call *c);
    /* The client left, its deadline is over, or the service stops: the call is the handler's no
     * more. Not told when the handler ended the stream. */
    void (*on_gone)(struct node_call *c);
};

struct node_call {
    void *service;                   /* node_server_options.user */
    const ProtobufCMessage *request; /* of the method's input type; in the arena */
    struct arena arena;              /* lives as long as the call */
    void *user;                      /* the handler's */
};

/* Answer with a message, or with a status. The call is the handler's no more. It may be called for
 * a client that has left. Both can be given a message that dies afterwards. */
void node_call_reply(struct node_call *c, const ProtobufCMessage *msg);
void node_call_fail(struct node_call *c, const struct err *err);

/* Tell the client that the stream has begun; events from then on. One too many is ended at once:
 * then on_gone comes from inside. */
void node_stream_open(struct node_call *c, const struct node_stream_events *events);

/* Send a message: once after each on_ready. */
void node_stream_send(struct node_call *c, const ProtobufCMessage *msg);

/* End the stream well; node_call_fail() ends it otherwise. What was sent before arrives first. The
 * call is the handler's no more. */
void node_stream_end(struct node_call *c);

#endif
