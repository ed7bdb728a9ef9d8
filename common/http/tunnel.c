/*
 * A CONNECT stream as a byte stream.
 *
 *   OPENING -> on_head 2xx -> OPEN -> io_close() -> closed, when the stream is gone
 *           -> anything else -> on_open(NULL, errnum) -> freed, when the stream is gone
 *
 * While reading is stopped the peer's bytes are kept here, unconsumed, so that its window bounds
 * them. The stream may be gone (both sides ended) long before the user has read everything.
 */
#include "common/http/tunnel.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TUNNEL_MAGIC 0x7475 /* "tu" */

struct tunnel {
    uint32_t magic;
    struct io io;
    struct http_stream *stream; /* NULL once it is gone */
    struct defer_queue *defer;
    struct deferred wake;
    void (*on_open)(void *user, struct io *io, int errnum); /* NULL once called or canceled */
    void *user;
    struct buf in;
    bool open, reading, eof, eof_told, shut, undrained, closing, closed_told;
};

static const struct io_ops tunnel_io_ops;

static struct tunnel *tunnel_of_stream(struct http_stream *s)
{
    struct tunnel *t = s->user;
    assert(t->magic == TUNNEL_MAGIC);
    return t;
}

static struct tunnel *tunnel_of_io(const struct io *io)
{
    struct tunnel *t = (struct tunnel *)(uintptr_t)container_of(io, const struct tunnel, io);
    assert(t->magic == TUNNEL_MAGIC);
    return t;
}

static void tunnel_destroy(struct tunnel *t)
{
    defer_cancel(&t->wake);
    buf_deinit(&t->in);
    t->magic = 0;
    free(t);
}

void tunnel_free(struct io *io)
{
    tunnel_destroy(tunnel_of_io(io));
}

/* What envd answers a CONNECT with that it could not serve, see envd/guest/connect.c. */
static int errnum_of_status(int status)
{
    switch (status) {
    case 400:
        return EINVAL;
    case 403:
        return EACCES;
    case 503:
        return EAGAIN;
    case 504:
        return ETIMEDOUT;
    default:
        return ECONNREFUSED;
    }
}

static void tell_open(struct tunnel *t, struct io *io, int errnum)
{
    void (*on_open)(void *, struct io *, int) = t->on_open;
    t->on_open = NULL;
    if (on_open)
        on_open(t->user, io, errnum);
}

static void on_head(struct http_stream *s, const struct http_head *head)
{
    struct tunnel *t = tunnel_of_stream(s);
    if (head->status < 300) {
        t->open = true;
        tell_open(t, &t->io, 0);
        return;
    }
    http_reset(s);
    tell_open(t, NULL, errnum_of_status(head->status));
}

/* Give the user what it may have now. Only from the loop. */
static void tunnel_deliver(struct tunnel *t)
{
    while (t->reading && !t->closing && buf_len(&t->in) > 0) {
        struct buf in = t->in; /* the callee may close; the bytes stay until it returns */
        size_t n = buf_len(&in);
        t->in = (struct buf){ 0 };
        t->io.events->on_data(&t->io, buf_head(&in), n);
        buf_deinit(&in);
        if (t->stream)
            http_consume(t->stream, n);
    }
    if (t->reading && !t->closing && t->eof && !t->eof_told) {
        t->eof_told = true;
        t->io.events->on_eof(&t->io);
    }
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct tunnel *t = tunnel_of_stream(s);
    if (!t->open || t->closing) {
        http_consume(s, n);
        return;
    }
    if (t->reading && buf_len(&t->in) == 0) {
        t->io.events->on_data(&t->io, data, n);
        if (t->stream)
            http_consume(t->stream, n);
        return;
    }
    if (!buf_append(&t->in, data, n)) {
        http_reset(s);
        return;
    }
    tunnel_deliver(t);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    struct tunnel *t = tunnel_of_stream(s);
    t->eof = true;
    if (t->open)
        tunnel_deliver(t);
}

static void tell_drain(struct tunnel *t)
{
    if (!t->open || t->closing || !t->undrained)
        return;
    t->undrained = false;
    t->io.events->on_drain(&t->io);
}

static void on_writable(struct http_stream *s)
{
    struct tunnel *t = tunnel_of_stream(s);
    if (http2_stream_queued(s) == 0)
        tell_drain(t);
}

static void tunnel_closed(struct tunnel *t)
{
    t->closed_told = true;
    defer_cancel(&t->wake);
    t->io.events->on_closed(&t->io);
}

static void on_close(struct http_stream *s, int errnum)
{
    struct tunnel *t = tunnel_of_stream(s);
    t->stream = NULL;
    if (!t->open) {
        tell_open(t, NULL, errnum ? errnum : ECONNRESET);
        tunnel_destroy(t);
    } else if (t->closing) {
        tunnel_closed(t);
    } else if (errnum) {
        t->io.events->on_error(&t->io, errnum);
    } else {
        tell_drain(t);
    }
}

static void on_wake(struct deferred *d)
{
    struct tunnel *t = container_of(d, struct tunnel, wake);
    if (!t->closing)
        tunnel_deliver(t);
    else if (!t->stream && !t->closed_told)
        tunnel_closed(t);
}

static void io_op_read_start(struct io *io)
{
    struct tunnel *t = tunnel_of_io(io);
    t->reading = true;
    if (!t->closing && (buf_len(&t->in) > 0 || (t->eof && !t->eof_told)))
        defer(t->defer, &t->wake, on_wake);
}

static void io_op_read_stop(struct io *io)
{
    tunnel_of_io(io)->reading = false;
}

static void io_op_writev(struct io *io, const struct iovec *iov, int n)
{
    struct tunnel *t = tunnel_of_io(io);
    if (t->closing || t->shut || !t->stream)
        return;
    t->undrained = true;
    for (int i = 0; i < n; i++)
        http_send_data(t->stream, iov[i].iov_base, iov[i].iov_len);
}

static void io_op_shutdown(struct io *io)
{
    struct tunnel *t = tunnel_of_io(io);
    if (t->closing || t->shut)
        return;
    t->shut = true;
    if (t->stream)
        http_send_end(t->stream);
}

static size_t io_op_pending(const struct io *io)
{
    const struct tunnel *t = tunnel_of_io(io);
    return t->stream && !t->closing ? http2_stream_queued(t->stream) : 0;
}

static void io_op_close(struct io *io, bool abort)
{
    (void)abort; /* a reset either way: HTTP/2 has no other early end */
    struct tunnel *t = tunnel_of_io(io);
    if (t->closing)
        return;
    t->closing = true;
    if (t->stream)
        http_reset(t->stream); /* its on_close is ours */
    else
        defer(t->defer, &t->wake, on_wake);
}

static const struct io_ops tunnel_io_ops = {
    .read_start = io_op_read_start,
    .read_stop = io_op_read_stop,
    .writev = io_op_writev,
    .shutdown = io_op_shutdown,
    .pending = io_op_pending,
    .close = io_op_close,
};

static const struct http_stream_events tunnel_stream_events = {
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};

struct tunnel *tunnel_open(struct http2_session *h, struct defer_queue *defer, struct str target,
                           void (*on_open)(void *user, struct io *io, int errnum), void *user)
{
    struct tunnel *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->magic = TUNNEL_MAGIC;
    t->io.ops = &tunnel_io_ops;
    t->defer = defer;
    t->user = user;
    t->stream = http2_session_stream(h, &tunnel_stream_events, t);
    if (!t->stream) {
        free(t);
        return NULL;
    }
    const struct http_head head = { .method = STR("CONNECT"),
                                    .target = target,
                                    .content_length = -1 };
    if (http_send_head(t->stream, &head, false) != 0) {
        http_reset(t->stream); /* freed with it */
        return NULL;
    }
    t->on_open = on_open;
    return t;
}

void tunnel_cancel(struct tunnel *t)
{
    t->on_open = NULL;
    http_reset(t->stream); /* freed with it */
}
