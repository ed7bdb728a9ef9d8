/* Connect's unary form: the body is the message, the HTTP status tells how it went. */
#include "common/rpc/call.h"

/* Trailers are headers here, told apart by a prefix. */
static void merge_trailers(struct rpc_call *call)
{
    for (size_t i = 0; i < call->trailers.n; i++)
        rpc_fields_add(&call->headers, rpc_call_arena(call), "trailer-",
                       call->trailers.items[i].name, call->trailers.items[i].value);
    call->trailers.n = 0;
}

static bool send_message(struct rpc_call *call, const ProtobufCMessage *msg)
{
    struct buf *body = rpc_call_scratch(call);
    bool compressed;
    bool ok = rpc_call_encode(call, msg, body, &compressed);
    if (ok && compressed)
        rpc_call_add_header(call, "content-encoding", "gzip");
    if (ok) {
        merge_trailers(call);
        call->head_sent = true;
        http_respond_fields(call->stream, 200, call->content_type, call->headers.items,
                            call->headers.n, buf_head(body), buf_len(body));
    }
    buf_clear(body);
    return ok;
}

static void refuse(struct rpc_call *call, int http_status, const struct err *err)
{
    merge_trailers(call);
    rpc_connect_respond_error(call, http_status, call->headers.items, call->headers.n, err);
}

static void send_end(struct rpc_call *call, const struct err *err)
{
    if (err)
        refuse(call, err_code_http(err->code), err);
}

const struct rpc_protocol rpc_connect_unary = {
    .accept = "application/json, application/proto",
    .encoding = "content-encoding",
    .accept_encoding = "accept-encoding",
    .begin = rpc_connect_begin,
    .send = send_message,
    .end = send_end,
    .refuse = refuse,
};
