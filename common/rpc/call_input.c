/* The input of a call: from the bytes of the stream to the method's messages. */
#include "common/rpc/call.h"
#include "common/rpc/envelope.h"

#include <assert.h>

static struct rpc_call *call_of(struct http_stream *s)
{
    struct rpc_call *call = s->user;
    assert(call->magic == RPC_CALL_MAGIC);
    return call;
}

static bool has_one_request(const struct rpc_call *call)
{
    return call->method->kind == RPC_UNARY || call->method->kind == RPC_SERVER_STREAM;
}

void rpc_call_release_input(struct rpc_call *call)
{
    size_t n = call->unconsumed;
    call->unconsumed = 0;
    if (n)
        http_consume(call->stream, n);
}

static void start(struct rpc_call *call, ProtobufCMessage *msg)
{
    call->started = true;
    call->method->on_message(call, msg);
}

static ProtobufCMessage *decode(struct rpc_call *call, struct str payload, bool compressed,
                                struct arena *arena)
{
    struct err err;
    ProtobufCMessage *msg = rpc_call_decode(call, payload, compressed, arena, &err);
    if (!msg)
        rpc_finish(call, &err);
    return msg;
}

/* The one message of a request that has one; it is delivered when the client has sent all. */
static void take_request(struct rpc_call *call, struct str payload, bool compressed)
{
    if (call->request) {
        rpc_fail(call, ERR_UNIMPLEMENTED, "the method takes one message, there were more");
        return;
    }
    call->request = decode(call, payload, compressed, rpc_call_arena(call));
}

static void take_envelope(struct rpc_call *call, const struct envelope *e)
{
    bool compressed = e->flags & ENVELOPE_COMPRESSED;
    if (compressed && !call->gzip_in) {
        rpc_fail(call, ERR_INTERNAL, "a message is compressed, but no compression was agreed");
        return;
    }
    if (e->flags & ~ENVELOPE_COMPRESSED) {
        rpc_fail(call, ERR_INVALID, "unknown flags 0x%02x of a message", e->flags);
        return;
    }
    if (has_one_request(call)) {
        take_request(call, e->payload, compressed);
        return;
    }
    ProtobufCMessage *msg = decode(call, e->payload, compressed, &call->message_arena);
    if (msg)
        start(call, msg);
    arena_deinit(&call->message_arena);
}

/* Deliver the whole messages at the front of data; returns the bytes that they took. */
static size_t take_envelopes(struct rpc_call *call, struct str data)
{
    size_t used = 0;
    while (!call->finished && !call->paused) {
        struct envelope e;
        struct err err;
        ptrdiff_t n = envelope_read(str_from(data, used), rpc_wire_max(call), &e, &err);
        if (n < 0)
            rpc_finish(call, &err);
        if (n <= 0)
            break;
        used += (size_t)n;
        take_envelope(call, &e);
    }
    return used;
}

static void half_close(struct rpc_call *call)
{
    call->half_closed = true;
    if (buf_len(&call->in)) {
        rpc_fail(call, ERR_INVALID, "the last message is cut off");
        return;
    }
    if (has_one_request(call)) {
        if (call->request)
            start(call, call->request);
        else
            rpc_fail(call, ERR_UNIMPLEMENTED, "the method takes one message, there was none");
        return;
    }
    call->started = true;
    if (call->method->on_half_close)
        call->method->on_half_close(call);
}

void rpc_call_take_input(struct rpc_call *call)
{
    rpc_call_release_input(call);
    if (buf_len(&call->in))
        buf_consume(&call->in, take_envelopes(call, buf_str(&call->in)));
    if (call->in_ended && !call->half_closed && !call->finished && !call->paused)
        half_close(call);
}

static void hold(struct rpc_call *call, struct str data)
{
    if (!buf_append_str(&call->in, data))
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
}

/* A body that is one message: decoded in place when it came in one piece. */
static void take_body(struct rpc_call *call, struct str data)
{
    if (call->by_get)
        rpc_fail(call, ERR_INVALID, "the message of a GET is in its query, not in a body");
    else if (buf_len(&call->in) + data.n > rpc_wire_max(call))
        rpc_fail(call, ERR_EXHAUSTED, "message is larger than the limit of %zu bytes",
                 rpc_message_max(call));
    else if (buf_len(&call->in) == 0 && call->head->content_length == (int64_t)data.n)
        take_request(call, data, call->gzip_in);
    else
        hold(call, data);
}

static void on_data(struct http_stream *s, const uint8_t *bytes, size_t n)
{
    struct rpc_call *call = call_of(s);
    struct str data = { (const char *)bytes, n };
    if (call->paused && !call->finished) {
        call->unconsumed += n;
        hold(call, data);
        return;
    }
    http_consume(s, n);
    if (call->finished)
        return;
    if (!call->protocol->enveloped) {
        take_body(call, data);
        return;
    }
    if (buf_len(&call->in) == 0) {
        size_t used = take_envelopes(call, data);
        if (used < n && !call->finished)
            hold(call, str_from(data, used));
        return;
    }
    hold(call, data);
    if (!call->finished)
        rpc_call_take_input(call);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    struct rpc_call *call = call_of(s);
    call->in_ended = true;
    if (call->finished || call->paused)
        return;
    if (!call->protocol->enveloped && !call->request) {
        take_request(call, buf_str(&call->in), call->gzip_in);
        buf_deinit(&call->in);
        if (call->finished)
            return;
    }
    half_close(call);
}

static void on_writable(struct http_stream *s)
{
    struct rpc_call *call = call_of(s);
    if (call->started && !call->finished && call->method->on_writable)
        call->method->on_writable(call);
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)errnum;
    struct rpc_call *call = call_of(s);
    call->finished = true;
    defer_cancel(&call->work);
    rpc_call_tell_close(call);
    buf_deinit(&call->in);
    arena_deinit(&call->message_arena);
}

const struct http_stream_events rpc_call_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};
