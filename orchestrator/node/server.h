/* A gRPC server on the loop: methods, a unix socket for this machine's operator, and TLS for
 * others.
 */
#ifndef ORCHESTRATOR_NODE_SERVER_H
#define ORCHESTRATOR_NODE_SERVER_H

#include "common/io/loop_turn.h"
#include "orchestrator/node/call.h"

/* Of a request. */
#define NODE_MESSAGE_MAX (4U << 20)
/* Of the metadata of a call, all names and values. */
#define NODE_METADATA_MAX 16384
/* Calls under way: of one connection (further ones wait at the client), and of all. */
#define NODE_CALLS_PER_CONNECTION 256
#define NODE_CALLS_MAX            4096
/* Streams under way, of all clients; they are calls too. */
#define NODE_STREAMS_MAX 256
#define NODE_METHODS_MAX 32

struct node_server;

/* Files in PEM: the server's certificate (with its chain) and key, and the authorities whose
 * clients are let in. */
struct node_tls {
    const char *cert, *key, *ca;
};

struct node_server_options {
    struct loop_turn *turn;
    const struct node_method *methods; /* borrowed for the server's life, as the turn */
    void *user;                        /* for handlers, node_call.service */
    const char *socket_path;           /* of users root and the daemon's own alone */
    const char *host;                  /* of the listener with mutual TLS; NULL: none */
    uint16_t port;                     /* 0: any free one */
    struct node_tls tls;
};

/* Listen and serve. Called in a turn of the loop, as all here. 0, or a negative errno with err. */
int node_server_new(struct node_server **out, const struct node_server_options *options,
                    struct err *err);

/* Of the TLS listener; 0 when there is none. */
uint16_t node_server_port(const struct node_server *s);

/* Take no more calls, end streams with ERR_UNAVAILABLE, and let other calls be answered for
 * grace_ms; then stopped(user), from the loop. Handlers may still hold calls that were cut off. */
void node_server_stop(struct node_server *s, unsigned grace_ms, void (*stopped)(void *user),
                      void *user);

/* After it has stopped: wait for the handlers' last answers, close and free everything; then
 * freed(user), from the loop. */
void node_server_free(struct node_server *s, void (*freed)(void *user), void *user);

#endif
