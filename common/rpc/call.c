/*
 * One call. Its input arrives as stream events and is handed to the method message by message; its
 * output is what the protocol makes of rpc_send() and rpc_finish().
 *
 *   request complete (unary, server stream) or first message -> started: the handler knows the call
 *   rpc_finish(), a bad request or the deadline              -> finished: the end was sent
 *   finished, or the stream closed                           -> over: on_close, then nothing more
 *
 * The struct lies in the stream's arena, so it outlives whatever a handler does to the call; what a
 * client still sends after the end is dropped.
 */
#include "common/rpc/call.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Past the client's deadline by this much. A client that keeps the same deadline by its own clock
 * gives up in the very moment that it passes: an answer sent then would be cut off half-read. */
#define DEADLINE_SLACK_MS 5

/* What is kept of the buffer for messages from one message to the next. */
#define SCRATCH_KEEP 524288

/* A timer of its own memory: closing it takes a turn of the loop, when the call may be gone. */
struct rpc_deadline {
    uv_timer_t timer;
    struct rpc_call *call; /* borrowed; NULL once it does not matter any more */
};

size_t rpc_message_max(const struct rpc_call *call)
{
    return call->server->message_max ? call->server->message_max : RPC_MESSAGE_MAX;
}

/* Deadline. */

static void on_deadline_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct rpc_deadline, timer));
}

static void stop_deadline(struct rpc_call *call)
{
    if (!call->deadline)
        return;
    call->deadline->call = NULL;
    uv_close((uv_handle_t *)&call->deadline->timer, on_deadline_closed);
    call->deadline = NULL;
}

static void on_deadline(uv_timer_t *timer)
{
    struct rpc_call *call = container_of(timer, struct rpc_deadline, timer)->call;
    if (!call)
        return;
    stop_deadline(call);
    if (call->method->own_deadline && call->method->on_deadline && call->started) {
        call->method->on_deadline(call);
        return;
    }
    rpc_finish(call, &(struct err){ .code = ERR_DEADLINE, .msg = "the deadline has passed" });
}

void rpc_call_set_deadline(struct rpc_call *call)
{
    if (call->timeout_ms <= 0)
        return;
    struct rpc_deadline *deadline = calloc(1, sizeof(*deadline));
    if (!deadline) {
        rpc_finish(call, &(struct err){ .code = ERR_EXHAUSTED, .msg = "out of memory" });
        return;
    }
    deadline->call = call;
    call->deadline = deadline;
    uv_update_time(call->server->loop); /* the time of this turn may be old */
    uv_timer_init(call->server->loop, &deadline->timer);
    uv_timer_start(&deadline->timer, on_deadline, (uint64_t)call->timeout_ms + DEADLINE_SLACK_MS,
                   0);
}

/* The end. */

void rpc_call_tell_close(struct rpc_call *call)
{
    if (call->over)
        return;
    call->over = true;
    stop_deadline(call);
    if (call->started && call->method->on_close)
        call->method->on_close(call);
}

static void on_work(struct deferred *d)
{
    struct rpc_call *call = container_of(d, struct rpc_call, work);
    if (call->finished && !call->method->close_late)
        rpc_call_tell_close(call);
    else if (call->finished)
        return;
    else if (!call->paused)
        rpc_call_take_input(call);
}

void rpc_finish(struct rpc_call *call, const struct err *err)
{
    static const struct err no_reply = { .code = ERR_INTERNAL, .msg = "the method gave no answer" };
    if (call->finished)
        return;
    if (err && err->code == ERR_OK)
        err = NULL;
    bool one_reply = call->method->kind == RPC_UNARY || call->method->kind == RPC_CLIENT_STREAM;
    if (!err && one_reply && !call->replied)
        err = &no_reply;
    call->finished = true;
    stop_deadline(call);
    rpc_call_release_input(call);
    if (call->protocol->enveloped || !call->replied)
        call->protocol->end(call, err);
    defer(call->server->defer, &call->work, on_work);
}

void rpc_fail(struct rpc_call *call, enum err_code code, const char *fmt, ...)
{
    struct err err = { .code = code };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
    va_end(ap);
    rpc_finish(call, &err);
}

/* Output. */

struct buf *rpc_call_scratch(struct rpc_call *call)
{
    struct buf *scratch = &call->server->scratch;
    if (scratch->cap > SCRATCH_KEEP)
        buf_deinit(scratch);
    buf_clear(scratch);
    return scratch;
}

bool rpc_fields_add(struct rpc_fields *fields, struct arena *arena, const char *prefix,
                    struct str name, struct str value)
{
    if (fields->n == fields->cap) {
        size_t cap = fields->cap ? fields->cap * 2 : 4;
        struct http_field *items = arena_alloc(arena, cap * sizeof(*items));
        if (!items)
            return false;
        if (fields->n)
            memcpy(items, fields->items, fields->n * sizeof(*items));
        fields->items = items;
        fields->cap = cap;
    }
    const char *full = arena_printf(arena, "%s%.*s", prefix, STR_ARG(name));
    const char *copy = arena_dup(arena, value);
    if (!full || !copy)
        return false;
    fields->items[fields->n++] = (struct http_field){ str_of(full), { copy, value.n } };
    return true;
}

void rpc_call_send_head(struct rpc_call *call, int status, const struct http_field *more, size_t n,
                        bool end)
{
    if (call->head_sent)
        return;
    call->head_sent = true;
    size_t total = 0, max = call->headers.n + n + 2;
    struct http_field *fields = arena_alloc(rpc_call_arena(call), max * sizeof(*fields));
    if (!fields) {
        http_reset(call->stream);
        return;
    }
    fields[total++] = (struct http_field){ STR("content-type"), str_of(call->content_type) };
    if (call->gzip_out && call->protocol->enveloped)
        fields[total++] = (struct http_field){ str_of(call->protocol->encoding), STR("gzip") };
    for (size_t i = 0; i < call->headers.n; i++)
        fields[total++] = call->headers.items[i];
    for (size_t i = 0; i < n; i++)
        fields[total++] = more[i];
    struct http_head head = {
        .status = status, .content_length = -1, .fields = fields, .nfields = total
    };
    if (http_send_head(call->stream, &head, end) < 0) {
        log_error("rpc: a response header cannot be sent", LOG_STR("method", call->method->path));
        http_reset(call->stream);
    }
}

void rpc_call_send_last(struct rpc_call *call, struct buf *scratch)
{
    if (scratch->failed) {
        http_reset(call->stream);
    } else {
        rpc_call_send_head(call, 200, NULL, 0, false);
        http_send_data(call->stream, buf_head(scratch), buf_len(scratch));
        http_send_end(call->stream);
    }
    buf_consume(scratch, buf_len(scratch));
}

void rpc_send(struct rpc_call *call, const ProtobufCMessage *msg)
{
    if (call->finished || (call->replied && call->method->kind != RPC_SERVER_STREAM &&
                           call->method->kind != RPC_BIDI))
        return;
    if (call->protocol->send(call, msg))
        call->replied = true;
    else
        rpc_fail(call, ERR_INTERNAL, "the answer cannot be encoded");
}

void rpc_send_headers(struct rpc_call *call)
{
    if (!call->finished && call->protocol->enveloped)
        rpc_call_send_head(call, 200, NULL, 0, false);
}

bool rpc_writable(const struct rpc_call *call)
{
    return !call->finished && http_writable(call->stream);
}

void rpc_call_progress(const struct rpc_call *call, uint64_t *sent, uint64_t *delivered)
{
    http_progress(call->stream, sent, delivered);
}

void rpc_pause(struct rpc_call *call)
{
    call->paused = true;
}

void rpc_resume(struct rpc_call *call)
{
    if (!call->paused)
        return;
    call->paused = false;
    if (!call->finished)
        defer(call->server->defer, &call->work, on_work);
}

void rpc_call_add_header(struct rpc_call *call, const char *name, const char *value)
{
    if (!call->head_sent &&
        !rpc_fields_add(&call->headers, rpc_call_arena(call), "", str_of(name), str_of(value)))
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
}

void rpc_call_add_trailer(struct rpc_call *call, const char *name, const char *value)
{
    if (!call->finished &&
        !rpc_fields_add(&call->trailers, rpc_call_arena(call), "", str_of(name), str_of(value)))
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
}

struct rpc_server *rpc_call_server(const struct rpc_call *call)
{
    return call->server;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method;
}

const struct http_head *rpc_call_head(const struct rpc_call *call)
{
    return call->head;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->stream->arena;
}

int64_t rpc_call_timeout_ms(const struct rpc_call *call)
{
    return call->timeout_ms;
}

void rpc_call_set_user(struct rpc_call *call, void *user)
{
    call->user = user;
}

void *rpc_call_user(const struct rpc_call *call)
{
    return call->user;
}
