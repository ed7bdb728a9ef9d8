/* The end of a stream of messages whose server is gone: where the protocol can carry an error as
 * its last message, the client is told what happened. */
#ifndef ORCHESTRATOR_PROXY_RPC_END_H
#define ORCHESTRATOR_PROXY_RPC_END_H

#include "common/http/http.h"

/* Both protocols put these bytes before each message: flags, and a length of four bytes. */
#define RPC_PREFIX_SIZE 5

enum rpc_end_kind {
    RPC_END_NONE, /* no such protocol */
    RPC_END_CONNECT,
    RPC_END_GRPC,
    RPC_END_GRPC_WEB,
};

struct rpc_end {
    enum rpc_end_kind kind;
    uint8_t prefix[RPC_PREFIX_SIZE]; /* of the message that is passing */
    size_t nprefix;
    uint64_t left; /* of its bytes */
    bool ended;    /* its last message has passed */
};

/* A response begins, and goes on; `response` is needed for the call only. */
void rpc_end_begin(struct rpc_end *e, const struct http_head *response);
void rpc_end_pass(struct rpc_end *e, const uint8_t *data, size_t n);

/* End the response with the error "unavailable" and this message, which is plain ASCII without
 * quotes and per cent signs. false: it cannot be, nothing was sent (another protocol, or a message
 * is half there). */
bool rpc_end_send(struct rpc_end *e, struct http_stream *s, const char *message);

#endif
