/* What the files of the conformance server share. */
#ifndef TESTS_CONFORMANCE_CONFORMANCE_H
#define TESTS_CONFORMANCE_CONFORMANCE_H

#include "common/rpc/rpc.h"

#include "connectrpc/conformance/v1/service.pb-c.h"

/* The generated names without their package. */
#define conf_header                     Connectrpc__Conformance__V1__Header
#define conf_unary_response_definition  Connectrpc__Conformance__V1__UnaryResponseDefinition
#define conf_stream_response_definition Connectrpc__Conformance__V1__StreamResponseDefinition
#define conf_request_info               Connectrpc__Conformance__V1__ConformancePayload__RequestInfo
#define conf_error                      Connectrpc__Conformance__V1__Error
#define conf_conformance_payload        Connectrpc__Conformance__V1__ConformancePayload
#define conf_unary_response             Connectrpc__Conformance__V1__UnaryResponse
#define conf_unary_request              Connectrpc__Conformance__V1__UnaryRequest
#define conf_idempotent_unary_request   Connectrpc__Conformance__V1__IdempotentUnaryRequest
#define conf_server_stream_request      Connectrpc__Conformance__V1__ServerStreamRequest
#define conf_client_stream_request      Connectrpc__Conformance__V1__ClientStreamRequest
#define conf_bidi_stream_request        Connectrpc__Conformance__V1__BidiStreamRequest
#define conf_server_compat_request      Connectrpc__Conformance__V1__ServerCompatRequest
#define conf_server_compat_response     Connectrpc__Conformance__V1__ServerCompatResponse
#define conf_connect_get_info           Connectrpc__Conformance__V1__ConformancePayload__ConnectGetInfo

struct header_list {
    conf_header **items;
    size_t n;
};

/* The requests of a call so far, each as an Any; all in the call's arena. */
struct request_list {
    Google__Protobuf__Any **items;
    size_t n, cap;
};

/* One call: what it was asked to answer, and how far that is. It outlives the call until its timer
 * is closed. */
struct exchange {
    uv_timer_t timer;
    struct rpc_call *call; /* NULL once it is over */
    /* Of the first request; at most one of them. In the call's arena. */
    const conf_unary_response_definition *unary;
    const conf_stream_response_definition *stream;
    struct request_list requests; /* not echoed yet */
    bool full_duplex;
    bool half_closed;
    bool told_headers;
    size_t received, sent;
};

/* service.c: the methods, for rpc_server, and the types of what they take and send. */
extern const struct rpc_method conformance_methods[];
extern const ProtobufCMessageDescriptor *const conformance_types[];

/* exchange.c */

/* The call's exchange, made when it has none; NULL when memory is out (then the call has failed).
 */
struct exchange *exchange_of(struct rpc_call *call);

/* Keep a request. */
void exchange_add_request(struct exchange *x, const ProtobufCMessage *msg);

/* A copy of a request's part that lives as long as the call. */
ProtobufCMessage *exchange_keep(struct exchange *x, const ProtobufCMessage *msg);

/* All requests of a call with one response are there: answer as x->unary says. */
void exchange_answer(struct exchange *x);

/* Send the responses that are due, as x->stream says. */
void exchange_pump(struct exchange *x);

void exchange_close(struct rpc_call *call);

/* request_info.c */

/* What was seen of the request: with `whole` its headers, timeout and query too. */
conf_request_info *request_info(const struct exchange *x, bool whole);

#endif
