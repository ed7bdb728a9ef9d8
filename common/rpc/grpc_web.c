/* gRPC-Web: as gRPC, but the trailers are the last envelope of the body, so that any HTTP carries
 * it. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md */
#include "common/rpc/call.h"
#include "common/rpc/envelope.h"

static bool is_printable(struct str value)
{
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t')
            return false;
    return true;
}

static void send_end(struct rpc_call *call, const struct err *err)
{
    if (!rpc_grpc_add_status(call, err)) {
        http_reset(call->stream);
        return;
    }
    struct buf *out = rpc_call_scratch(call);
    size_t begun = envelope_begin(out);
    for (size_t i = 0; i < call->trailers.n; i++) {
        const struct http_field *field = &call->trailers.items[i];
        if (!is_printable(field->value)) /* a line break would be another trailer */
            out->failed = true;
        buf_append_str(out, field->name);
        buf_puts(out, ": ");
        buf_append_str(out, field->value);
        buf_puts(out, "\r\n");
    }
    envelope_end(out, begun, ENVELOPE_TRAILERS);
    rpc_call_send_last(call, out);
}

static void refuse(struct rpc_call *call, int http_status, const struct err *err)
{
    (void)http_status; /* the status of gRPC is in the trailers */
    send_end(call, err);
}

const struct rpc_protocol rpc_grpc_web = {
    .enveloped = true,
    .accept = "application/grpc-web, application/grpc-web+proto, application/grpc-web+json",
    .gzip_mirrored = true,
    .encoding = "grpc-encoding",
    .accept_encoding = "grpc-accept-encoding",
    .begin = rpc_grpc_begin,
    .send = rpc_call_send_enveloped,
    .end = send_end,
    .refuse = refuse,
};
