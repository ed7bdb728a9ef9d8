/* What Connect's unary and streaming forms have in common. https://connectrpc.com/docs/protocol */
#include "common/base/json_text.h"
#include "common/rpc/call.h"
#include "common/rpc/metadata.h"

#include <errno.h>

void rpc_connect_put_error(struct buf *out, const struct rpc_call *call, const struct err *err)
{
    buf_puts(out, "{\"code\":\"");
    buf_puts(out, err_code_name(err->code));
    buf_putc(out, '"');
    if (err->msg[0]) {
        buf_puts(out, ",\"message\":");
        json_text_quote(out, str_of(err->msg));
    }
    if (call->details)
        rpc_details_put_json(out, call->details);
    buf_putc(out, '}');
}

int rpc_connect_begin(struct rpc_call *call, struct err *err)
{
    struct str version = http_field_get(call->head, "connect-protocol-version");
    if (version.p && !str_eq(version, STR("1")))
        return err_set(err, ERR_INVALID, EINVAL, "Connect-Protocol-Version must be 1");
    return metadata_connect_timeout(call->head, &call->timeout_ms, err);
}

void rpc_connect_respond_error(struct rpc_call *call, int status, const struct http_field *fields,
                               size_t nfields, const struct err *err)
{
    struct buf *body = rpc_call_scratch(call);
    rpc_connect_put_error(body, call, err);
    call->head_sent = true;
    if (body->failed)
        http_reset(call->stream);
    else
        http_respond_fields(call->stream, status, "application/json", fields, nfields,
                            buf_head(body), buf_len(body));
    buf_consume(body, buf_len(body));
}
