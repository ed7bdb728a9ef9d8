/* The details of an error: messages of any type, told beside its code and sentence. */
#include "common/base/encode.h"
#include "common/base/json_text.h"
#include "common/rpc/call.h"

#define TYPE_PREFIX "type.googleapis.com/"

/* Tags of google.rpc.Status and google.protobuf.Any. */
enum {
    STATUS_CODE = 1 << 3 | 0,
    STATUS_MESSAGE = 2 << 3 | 2,
    STATUS_DETAILS = 3 << 3 | 2,
    ANY_TYPE_URL = 1 << 3 | 2,
    ANY_VALUE = 2 << 3 | 2,
};

void rpc_call_add_detail(struct rpc_call *call, const char *type, const void *value, size_t n)
{
    struct arena *arena = rpc_call_arena(call);
    struct rpc_detail *detail = arena_zalloc(arena, sizeof(*detail));
    if (detail) {
        detail->type = arena_dup(arena, str_of(type));
        detail->value = (struct str){ arena_dup(arena, (struct str){ value, n }), n };
    }
    if (!detail || !detail->type || !detail->value.p) {
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return;
    }
    struct rpc_detail **end = &call->details;
    while (*end)
        end = &(*end)->next;
    *end = detail;
}

void rpc_details_put_json(struct buf *out, const struct rpc_detail *details)
{
    buf_puts(out, ",\"details\":[");
    for (const struct rpc_detail *d = details; d; d = d->next) {
        if (d != details)
            buf_putc(out, ',');
        buf_puts(out, "{\"type\":");
        json_text_quote(out, str_of(d->type));
        buf_puts(out, ",\"value\":\"");
        base64_encode(out, d->value.p, d->value.n, false);
        buf_puts(out, "\"}");
    }
    buf_putc(out, ']');
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

static void put_varint(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_putc(out, (char)(v | 0x80));
    buf_putc(out, (char)v);
}

static void put_text(struct buf *out, int tag, const char *prefix, struct str text)
{
    put_varint(out, (uint64_t)tag);
    put_varint(out, strlen(prefix) + text.n);
    buf_puts(out, prefix);
    buf_append_str(out, text);
}

void rpc_details_put_status(struct buf *out, const struct err *err,
                            const struct rpc_detail *details)
{
    put_varint(out, STATUS_CODE);
    put_varint(out, (uint64_t)err->code);
    if (err->msg[0])
        put_text(out, STATUS_MESSAGE, "", str_of(err->msg));
    for (const struct rpc_detail *d = details; d; d = d->next) {
        size_t type = strlen(TYPE_PREFIX) + strlen(d->type);
        put_varint(out, STATUS_DETAILS);
        put_varint(out, 2 + varint_size(type) + type + varint_size(d->value.n) + d->value.n);
        put_text(out, ANY_TYPE_URL, TYPE_PREFIX, str_of(d->type));
        put_text(out, ANY_VALUE, "", d->value);
    }
}
