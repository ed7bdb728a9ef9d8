#include "orchestrator/proxy/rpc_end.h"

#include "common/base/buf.h"
#include "common/base/err.h"

#define CONNECT_LAST  0x02
#define GRPC_WEB_LAST 0x80

static enum rpc_end_kind kind_of(struct str type)
{
    static const struct {
        struct str name;
        enum rpc_end_kind kind;
    } kinds[] = {
        { STR("application/connect+"), RPC_END_CONNECT },
        { STR("application/grpc-web-text"), RPC_END_NONE }, /* messages are base64 */
        { STR("application/grpc-web"), RPC_END_GRPC_WEB },
        { STR("application/grpc"), RPC_END_GRPC },
    };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (type.n >= kinds[i].name.n &&
            str_eq_nocase((struct str){ type.p, kinds[i].name.n }, kinds[i].name))
            return kinds[i].kind;
    return RPC_END_NONE;
}

void rpc_end_begin(struct rpc_end *e, const struct http_head *response)
{
    *e = (struct rpc_end){ 0 };
    /* A body of a known length has no room for a last message. */
    if (response->status == 200 && response->content_length < 0)
        e->kind = kind_of(http_field_get(response, "content-type"));
}

static void pass_prefix(struct rpc_end *e)
{
    uint8_t last = e->kind == RPC_END_CONNECT ? CONNECT_LAST : GRPC_WEB_LAST;
    e->nprefix = 0;
    e->left = (uint64_t)e->prefix[1] << 24 | (uint64_t)e->prefix[2] << 16 |
              (uint64_t)e->prefix[3] << 8 | e->prefix[4];
    e->ended = e->kind != RPC_END_GRPC && (e->prefix[0] & last);
}

void rpc_end_pass(struct rpc_end *e, const uint8_t *data, size_t n)
{
    if (e->kind == RPC_END_NONE)
        return;
    while (n > 0) {
        if (e->left > 0) {
            size_t take = n < e->left ? n : (size_t)e->left;
            e->left -= take;
            data += take;
            n -= take;
            continue;
        }
        e->prefix[e->nprefix++] = *data++;
        n--;
        if (e->nprefix == RPC_PREFIX_SIZE)
            pass_prefix(e);
    }
}

static void send_message(struct http_stream *s, uint8_t flags, struct buf *text)
{
    size_t n = buf_len(text);
    const uint8_t prefix[RPC_PREFIX_SIZE] = { flags, (uint8_t)(n >> 24), (uint8_t)(n >> 16),
                                              (uint8_t)(n >> 8), (uint8_t)n };
    http_send_data(s, prefix, sizeof(prefix));
    http_send_data(s, buf_head(text), n);
    http_send_end(s);
}

bool rpc_end_send(struct rpc_end *e, struct http_stream *s, const char *message)
{
    struct buf text = { 0 };
    if (e->kind == RPC_END_NONE || e->nprefix > 0 || e->left > 0)
        return false;
    if (e->ended) {
        http_send_end(s);
    } else if (e->kind == RPC_END_CONNECT) {
        buf_printf(&text, "{\"error\":{\"code\":\"unavailable\",\"message\":\"%s\"}}", message);
        send_message(s, CONNECT_LAST, &text);
    } else if (e->kind == RPC_END_GRPC_WEB) {
        buf_printf(&text, "grpc-status: %d\r\ngrpc-message: %s\r\n", ERR_UNAVAILABLE, message);
        send_message(s, GRPC_WEB_LAST, &text);
    } else {
        const struct http_field trailers[] = { { STR("grpc-status"), STR("14") },
                                               { STR("grpc-message"), str_of(message) } };
        http_send_trailers(s, trailers, 2);
    }
    buf_deinit(&text);
    e->ended = true;
    return true;
}
