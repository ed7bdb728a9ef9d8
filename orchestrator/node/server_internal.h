/* What server.c and call.c share. */
#ifndef ORCHESTRATOR_NODE_SERVER_INTERNAL_H
#define ORCHESTRATOR_NODE_SERVER_INTERNAL_H

#include "orchestrator/node/queue.h"
#include "orchestrator/node/server.h"
#include "orchestrator/node/socket.h"

struct node_server {
    const struct node_method *methods;
    void *user;
    grpc_server *server;
    struct node_queue queue;
    void *registered[NODE_METHODS_MAX]; /* gRPC's name of each method */
    struct list waiting;                /* struct node_call_own: requests for calls */
    struct list active;                 /* the same: calls that have come */
    size_t nactive, nstreams;
    struct node_socket *socket;
    uint16_t port;
    bool stopping, stop_told, shut_down;
    struct node_op shutdown;
    uv_timer_t grace;
    void (*stopped)(void *user);
    void *stopped_user;
    void (*freed)(void *user);
    void *freed_user;
};

/* Ask gRPC for the next call of method number `method`, or (-1) of any that is not in the table. */
void node_call_await(struct node_server *s, int method);

/* End every stream. */
void node_call_end_streams(struct node_server *s, const struct err *why);

/* A call, or a request for one, was freed. */
void node_server_check(struct node_server *s);

#endif
