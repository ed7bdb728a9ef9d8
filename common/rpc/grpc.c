/* gRPC over HTTP/2: envelopes both ways, the status in the trailers.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
#include "common/base/encode.h"
#include "common/rpc/call.h"
#include "common/rpc/metadata.h"

int rpc_grpc_begin(struct rpc_call *call, struct err *err)
{
    return metadata_grpc_timeout(call->head, &call->timeout_ms, err);
}

/* google.rpc.Status, which repeats code and message and has the details. */
static bool add_details(struct rpc_call *call, const struct err *err)
{
    struct buf status = { 0 }, text = { 0 };
    rpc_details_put_status(&status, err, call->details);
    bool ok = !status.failed && base64_encode(&text, buf_head(&status), buf_len(&status), false) &&
              rpc_fields_add(&call->trailers, rpc_call_arena(call), "",
                             STR("grpc-status-details-bin"), buf_str(&text));
    buf_deinit(&status);
    buf_deinit(&text);
    return ok;
}

bool rpc_grpc_add_status(struct rpc_call *call, const struct err *err)
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
    return ok && (!err || !call->details || add_details(call, err));
}

static void send_end(struct rpc_call *call, const struct err *err)
{
    struct rpc_fields *trailers = &call->trailers;
    if (!rpc_grpc_add_status(call, err)) {
        http_reset(call->stream);
        return;
    }
    /* Trailers alone, in one block of headers, would make trailers of the call's headers. */
    if (call->headers.n)
        rpc_call_send_head(call, 200, NULL, 0, false);
    if (!call->head_sent)
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
    .gzip_mirrored = true,
    .encoding = "grpc-encoding",
    .accept_encoding = "grpc-accept-encoding",
    .begin = rpc_grpc_begin,
    .send = rpc_call_send_enveloped,
    .end = send_end,
    .refuse = refuse,
};
