/* Unary gRPC calls over an HTTP/2 stream: how the orchestrator calls the guest's control service.
 */
#ifndef COMMON_RPC_RPC_CLIENT_H
#define COMMON_RPC_RPC_CLIENT_H

#include "common/base/err.h"
#include "common/http/http2.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_request;

/*
 * Call `path` with `msg` and a deadline (0: none). done is called once, never from inside this
 * function, with the response (borrowed for the call) or with err; ERR_UNAVAILABLE when the session
 * is lost, ERR_DEADLINE when time is up. NULL (and no callback) when no stream can be had.
 */
struct rpc_request *rpc_client_call(
    struct http2_session *h, uv_loop_t *loop, const char *path, const ProtobufCMessage *msg,
    const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
    void (*done)(void *user, const ProtobufCMessage *response, const struct err *err), void *user);

/* Give up; done is not called any more. */
void rpc_request_cancel(struct rpc_request *r);

#endif
