/* Connect's streaming form: envelopes both ways, always with status 200; the last envelope tells
 * how it went. */
#include "common/base/json_text.h"
#include "common/rpc/call.h"
#include "common/rpc/envelope.h"

/* "metadata":{"name":["value",...],...} of the trailers. */
static void put_metadata(struct buf *out, const struct rpc_fields *trailers)
{
    buf_puts(out, "\"metadata\":{");
    bool first = true;
    for (size_t i = 0; i < trailers->n; i++) {
        bool before = false;
        for (size_t k = 0; k < i && !before; k++)
            before = str_eq(trailers->items[k].name, trailers->items[i].name);
        if (before)
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        json_text_quote(out, trailers->items[i].name);
        buf_puts(out, ":[");
        for (size_t k = i; k < trailers->n; k++) {
            if (!str_eq(trailers->items[k].name, trailers->items[i].name))
                continue;
            if (k > i)
                buf_putc(out, ',');
            json_text_quote(out, trailers->items[k].value);
        }
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
}

static void send_end(struct rpc_call *call, const struct err *err)
{
    struct buf *out = rpc_call_scratch(call);
    size_t begun = envelope_begin(out);
    buf_putc(out, '{');
    if (err) {
        buf_puts(out, "\"error\":");
        rpc_connect_put_error(out, call, err);
    }
    if (call->trailers.n) {
        if (err)
            buf_putc(out, ',');
        put_metadata(out, &call->trailers);
    }
    buf_putc(out, '}');
    envelope_end(out, begun, ENVELOPE_END);
    rpc_call_send_last(call, out);
}

static void refuse(struct rpc_call *call, int http_status, const struct err *err)
{
    rpc_connect_respond_error(call, http_status, call->headers.items, call->headers.n, err);
}

const struct rpc_protocol rpc_connect_stream = {
    .enveloped = true,
    .accept = "application/connect+json, application/connect+proto",
    .encoding = "connect-content-encoding",
    .accept_encoding = "connect-accept-encoding",
    .begin = rpc_connect_begin,
    .send = rpc_call_send_enveloped,
    .end = send_end,
    .refuse = refuse,
};
