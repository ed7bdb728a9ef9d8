/* gRPC over HTTP/2: envelopes both ways, the status in the trailers.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
#include "common/rpc/call.h"
#include "common/rpc/envelope.h"
#include "common/rpc/metadata.h"

static int begin(struct rpc_call *call, struct err *err)
{
    int rc = metadata_grpc_timeout(call->head, &call->timeout_ms, err);
    return rc < 0 ? rc : metadata_encoding(call->head, "grpc-encoding", err);
}

static bool send_message(struct rpc_call *call, const ProtobufCMessage *msg)
{
    struct buf *out = rpc_call_scratch(call);
    size_t begun = envelope_begin(out);
    call->codec->encode(msg, out);
    envelope_end(out, begun, 0);
    bool ok = !out->failed;
    if (ok) {
        rpc_call_send_head(call, 200, NULL, 0, false);
        http_send_data(call->stream, buf_head(out), buf_len(out));
    }
    buf_consume(out, buf_len(out));
    return ok;
}

static void send_end(struct rpc_call *call, const struct err *err)
{
    struct arena *arena = rpc_call_arena(call);
    struct rpc_fields *trailers = &call->trailers;
    const char *status = arena_printf(arena, "%d", err ? (int)err->code : 0);
    bool ok = status && rpc_fields_add(trailers, arena, "", STR("grpc-status"), str_of(status));
    if (err && err->msg[0]) {
        struct buf *text = rpc_call_scratch(call);
        ok = metadata_grpc_escape(text, str_of(err->msg)) &&
             rpc_fields_add(trailers, arena, "", STR("grpc-message"), buf_str(text)) && ok;
        buf_consume(text, buf_len(text));
    }
    if (!ok)
        http_reset(call->stream);
    else if (!call->head_sent)
        rpc_call_send_head(call, 200, trailers->items, trailers->n, true);
    else
        http_send_trailers(call->stream, trailers->items, trailers->n);
}

static void refuse(struct rpc_call *call, int http_status, const struct err *err)
{
    (void)http_status; /* the status of gRPC is in the trailers */
    send_end(call, err);
}

const struct rpc_protocol rpc_grpc = {
    .enveloped = true,
    .over_http2 = true,
    .accept = "application/grpc, application/grpc+proto, application/grpc+json",
    .begin = begin,
    .send = send_message,
    .end = send_end,
    .refuse = refuse,
};
