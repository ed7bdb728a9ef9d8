/*
 * A unary gRPC call. The request goes out at once; then, whichever is first:
 *   the stream ends in order -> done with the response or the status of the trailers
 *   the stream is lost       -> done with ERR_UNAVAILABLE
 *   time is up               -> done with ERR_DEADLINE, and the stream is reset
 *   rpc_request_cancel()     -> no done, and the stream is reset
 * The memory goes when the stream and the timer have both closed.
 */
#include "common/rpc/rpc_client.h"

#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/rpc/envelope.h"
#include "common/rpc/metadata.h"
#include "common/rpc/pbwire.h"
#include "common/rpc/rpc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUEST_MAGIC    0x52504351
#define GRPC_TIMEOUT_MAX 99999999U /* milliseconds that grpc-timeout can tell */

struct rpc_request {
    uint32_t magic;
    struct http_stream *stream; /* NULL once it has closed */
    uv_timer_t timer;
    bool timer_open;
    const ProtobufCMessageDescriptor *output;
    void (*done)(void *user, const ProtobufCMessage *response, const struct err *err);
    void *user;
    struct buf in;
    struct err err; /* what went wrong before the end, if anything did */
    bool has_status;
    bool settled; /* done was called or is not wanted */
};

static struct rpc_request *request_of(struct http_stream *s)
{
    struct rpc_request *r = s->user;
    assert(r->magic == REQUEST_MAGIC);
    return r;
}

static void maybe_free(struct rpc_request *r)
{
    if (r->stream || r->timer_open)
        return;
    buf_deinit(&r->in);
    free(r);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct rpc_request *r = container_of((uv_timer_t *)handle, struct rpc_request, timer);
    r->timer_open = false;
    maybe_free(r);
}

static void close_timer(struct rpc_request *r)
{
    if (r->timer_open && !uv_is_closing((uv_handle_t *)&r->timer))
        uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

static void settle(struct rpc_request *r, const ProtobufCMessage *response, const struct err *err)
{
    if (r->settled)
        return;
    r->settled = true;
    close_timer(r);
    r->done(r->user, response, err);
}

/* Note the first thing that went wrong. */
static void note(struct rpc_request *r, enum err_code code, const char *what)
{
    if (!r->err.code)
        err_fill(&r->err, code, "%s", what);
}

/* Codes for answers that are no gRPC, by gRPC's table. */
static enum err_code code_of_http(int status)
{
    switch (status) {
    case 400:
        return ERR_INTERNAL;
    case 401:
        return ERR_UNAUTHENTICATED;
    case 403:
        return ERR_DENIED;
    case 404:
        return ERR_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return ERR_UNAVAILABLE;
    default:
        return ERR_UNKNOWN;
    }
}

/* Take grpc-status and grpc-message, where they are. */
static void take_status(struct rpc_request *r, const struct http_field *fields, size_t n)
{
    const struct http_head head = { .fields = (struct http_field *)(uintptr_t)fields,
                                    .nfields = n };
    struct str status = http_field_get(&head, "grpc-status");
    struct str message = http_field_get(&head, "grpc-message");
    uint64_t code;
    if (!status.p)
        return;
    r->has_status = true;
    if (!str_to_u64(status, ERR_UNAUTHENTICATED, &code))
        code = ERR_UNKNOWN;
    if (code == ERR_OK)
        return;
    struct buf text = { 0 };
    if (message.p && !percent_decode(&text, message, false)) {
        buf_clear(&text);
        buf_append_str(&text, message);
    }
    buf_putc(&text, '\0');
    note(r, (enum err_code)code, text.failed ? "out of memory" : (const char *)buf_head(&text));
    buf_deinit(&text);
}

static void on_head(struct http_stream *s, const struct http_head *head)
{
    struct rpc_request *r = request_of(s);
    struct str type = metadata_media_type(http_field_get(head, "content-type"));
    if (head->status != 200) {
        char text[48];
        snprintf(text, sizeof(text), "the answer has the HTTP status %d", head->status);
        note(r, code_of_http(head->status), text);
    } else if (!str_eq(type, STR("application/grpc")) &&
               !str_eq(type, STR("application/grpc+proto"))) {
        note(r, ERR_UNKNOWN, "the answer is no gRPC");
    } else {
        take_status(r, head->fields, head->nfields); /* an answer of trailers alone */
    }
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct rpc_request *r = request_of(s);
    http_consume(s, n);
    if (r->settled || r->err.code)
        return;
    if (buf_len(&r->in) + n > RPC_MESSAGE_MAX + ENVELOPE_HEAD)
        note(r, ERR_EXHAUSTED, "the response is too large");
    else if (!buf_append(&r->in, data, n))
        note(r, ERR_EXHAUSTED, "out of memory");
    if (r->err.code)
        http_reset(s);
}

/* The response in the arena; NULL with r->err when there is not exactly one good one. */
static ProtobufCMessage *take_response(struct rpc_request *r, struct arena *arena)
{
    struct envelope e;
    struct str in = buf_str(&r->in);
    ptrdiff_t n = envelope_read(in, RPC_MESSAGE_MAX, &e, &r->err);
    if (n < 0)
        return NULL;
    if (n == 0 || (size_t)n != in.n || e.flags) {
        note(r, ERR_INTERNAL, "the response is not one plain message");
        return NULL;
    }
    return pbwire_decode(r->output, e.payload, arena, &r->err);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct rpc_request *r = request_of(s);
    take_status(r, trailers, n);
    if (!r->has_status)
        note(r, ERR_UNKNOWN, "the answer has no grpc-status");
    if (r->settled)
        return;
    struct arena arena = { 0 };
    const ProtobufCMessage *response = r->err.code ? NULL : take_response(r, &arena);
    settle(r, response, response ? NULL : &r->err);
    arena_deinit(&arena);
}

static void on_writable(struct http_stream *s)
{
    (void)s;
}

static void on_close(struct http_stream *s, int errnum)
{
    struct rpc_request *r = request_of(s);
    r->stream = NULL;
    note(r, errnum == EPROTO ? ERR_INTERNAL : ERR_UNAVAILABLE,
         errnum == ECONNREFUSED ? "the request could not be sent"
                                : "the connection was lost during the call");
    settle(r, NULL, &r->err);
    maybe_free(r);
}

static const struct http_stream_events events = {
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};

static void on_timer(uv_timer_t *timer)
{
    struct rpc_request *r = container_of(timer, struct rpc_request, timer);
    struct err late = { .code = ERR_DEADLINE, .msg = "the deadline has passed" };
    if (r->stream)
        http_reset(r->stream);
    settle(r, NULL, &late);
}

static bool send_request(struct rpc_request *r, const char *path, const ProtobufCMessage *msg,
                         unsigned timeout_ms)
{
    char timeout[16];
    int n = snprintf(timeout, sizeof(timeout), "%um",
                     timeout_ms < GRPC_TIMEOUT_MAX ? timeout_ms : GRPC_TIMEOUT_MAX);
    struct http_field fields[] = {
        { STR("content-type"), STR("application/grpc+proto") },
        { STR("grpc-timeout"), { timeout, (size_t)n } },
    };
    struct http_head head = {
        .method = STR("POST"),
        .target = str_of(path),
        .authority = STR("localhost"),
        .content_length = -1,
        .fields = fields,
        .nfields = timeout_ms ? 2 : 1,
    };
    struct buf body = { 0 };
    size_t begun = envelope_begin(&body);
    pbwire_encode(msg, &body);
    envelope_end(&body, begun, 0);
    bool ok = !body.failed && http_send_head(r->stream, &head, false) == 0;
    if (ok) {
        http_send_data(r->stream, buf_head(&body), buf_len(&body));
        http_send_end(r->stream);
    }
    buf_deinit(&body);
    return ok;
}

struct rpc_request *rpc_client_call(
    struct http2_session *h, uv_loop_t *loop, const char *path, const ProtobufCMessage *msg,
    const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
    void (*done)(void *user, const ProtobufCMessage *response, const struct err *err), void *user)
{
    struct rpc_request *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    *r = (struct rpc_request){
        .magic = REQUEST_MAGIC, .output = output, .done = done, .user = user
    };
    r->stream = http2_session_stream(h, &events, r);
    if (!r->stream) {
        free(r);
        return NULL;
    }
    if (!send_request(r, path, msg, timeout_ms)) {
        r->settled = true;
        http_reset(r->stream);
        return NULL;
    }
    if (timeout_ms) {
        uv_update_time(loop); /* the time of this turn may be old */
        uv_timer_init(loop, &r->timer);
        r->timer_open = true;
        uv_timer_start(&r->timer, on_timer, timeout_ms, 0);
    }
    return r;
}

void rpc_request_cancel(struct rpc_request *r)
{
    r->settled = true;
    close_timer(r);
    if (r->stream)
        http_reset(r->stream);
}
