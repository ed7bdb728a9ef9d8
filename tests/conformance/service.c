/* The conformance service: connectrpc/conformance/v1/service.proto says what each method does. */
#include "tests/conformance/conformance.h"

static void on_unary(struct rpc_call *call, ProtobufCMessage *msg)
{
    const conf_unary_request *in = (const void *)msg;
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    exchange_add_request(x, msg);
    x->unary = in->response_definition;
    exchange_answer(x);
}

static void on_idempotent_unary(struct rpc_call *call, ProtobufCMessage *msg)
{
    const conf_idempotent_unary_request *in = (const void *)msg;
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    exchange_add_request(x, msg);
    x->unary = in->response_definition;
    exchange_answer(x);
}

static void on_server_stream(struct rpc_call *call, ProtobufCMessage *msg)
{
    const conf_server_stream_request *in = (const void *)msg;
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    exchange_add_request(x, msg);
    x->stream = in->response_definition;
    x->half_closed = true;
    exchange_pump(x);
}

static void on_client_stream(struct rpc_call *call, ProtobufCMessage *msg)
{
    const conf_client_stream_request *in = (const void *)msg;
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    exchange_add_request(x, msg);
    if (x->received == 1 && in->response_definition)
        x->unary = (const void *)exchange_keep(x, &in->response_definition->base);
}

static void on_client_half_close(struct rpc_call *call)
{
    struct exchange *x = exchange_of(call);
    if (x)
        exchange_answer(x);
}

static void on_bidi(struct rpc_call *call, ProtobufCMessage *msg)
{
    const conf_bidi_stream_request *in = (const void *)msg;
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    exchange_add_request(x, msg);
    if (x->received == 1) {
        x->full_duplex = in->full_duplex;
        if (in->response_definition)
            x->stream = (const void *)exchange_keep(x, &in->response_definition->base);
    }
    if (x->full_duplex)
        exchange_pump(x);
}

static void on_bidi_half_close(struct rpc_call *call)
{
    struct exchange *x = exchange_of(call);
    if (!x)
        return;
    x->half_closed = true;
    exchange_pump(x);
}

#define SERVICE    "/connectrpc.conformance.v1.ConformanceService/"
#define TYPE(name) connectrpc__conformance__v1__##name##__descriptor

const struct rpc_method conformance_methods[] = {
    { .path = SERVICE "Unary",
      .kind = RPC_UNARY,
      .input = &TYPE(unary_request),
      .output = &TYPE(unary_response),
      .on_message = on_unary,
      .on_close = exchange_close },
    { .path = SERVICE "IdempotentUnary",
      .kind = RPC_UNARY,
      .input = &TYPE(idempotent_unary_request),
      .output = &TYPE(idempotent_unary_response),
      .idempotent = true,
      .on_message = on_idempotent_unary,
      .on_close = exchange_close },
    { .path = SERVICE "ServerStream",
      .kind = RPC_SERVER_STREAM,
      .input = &TYPE(server_stream_request),
      .output = &TYPE(server_stream_response),
      .on_message = on_server_stream,
      .on_close = exchange_close },
    { .path = SERVICE "ClientStream",
      .kind = RPC_CLIENT_STREAM,
      .input = &TYPE(client_stream_request),
      .output = &TYPE(client_stream_response),
      .on_message = on_client_stream,
      .on_half_close = on_client_half_close,
      .on_close = exchange_close },
    { .path = SERVICE "BidiStream",
      .kind = RPC_BIDI,
      .input = &TYPE(bidi_stream_request),
      .output = &TYPE(bidi_stream_response),
      .on_message = on_bidi,
      .on_half_close = on_bidi_half_close,
      .on_close = exchange_close },
    { .path = NULL },
};

const ProtobufCMessageDescriptor *const conformance_types[] = {
    &TYPE(unary_request),
    &TYPE(idempotent_unary_request),
    &TYPE(server_stream_request),
    &TYPE(client_stream_request),
    &TYPE(bidi_stream_request),
    &TYPE(conformance_payload__request_info),
    &TYPE(header),
    NULL,
};
