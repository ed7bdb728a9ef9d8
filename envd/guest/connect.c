/*
 * CONNECT on the guest link: a TCP connection to a server in the guest, spliced to the stream.
 *
 *   TRYING -> connected -> OPEN -> both sides ended -> LINGER (rest goes to the server) -> over
 *          -> refused, next address -> TRYING; none left -> 502; deadline -> 504
 *
 * The stream may be gone at any time; what is left are handles to close. Memory goes with the last
 * of stream, poll, timer and socket.
 */
#include "envd/guest/link_internal.h"

#include "common/base/cleanup.h"
#include "envd/guest/connect_target.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#define CONNECT_MAGIC 0x636f6e6e /* "conn" */

struct connect {
    uint32_t magic;
    struct envd_link *l;
    struct http_stream *stream; /* NULL once it is gone */
    struct connect_target target;
    int at; /* the address being tried */
    int fd; /* while trying */
    int errnum;
    uv_poll_t poll;
    uv_timer_t timer;
    struct io_fd io;
    struct buf early; /* what came before the server accepted; its window bounds it */
    size_t owed;      /* bytes to consume when the socket has taken them */
    int handles;
    bool polling, open, ended, over;
};

static void try_next(struct connect *c);

static struct connect *of_stream(struct http_stream *s)
{
    struct connect *c = s->user;
    assert(c->magic == CONNECT_MAGIC);
    return c;
}

static struct connect *of_io(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct connect, io);
}

static void maybe_free(struct connect *c)
{
    if (c->handles > 0 || c->stream)
        return;
    struct envd_link *l = c->l;
    c->magic = 0;
    buf_deinit(&c->early);
    free(c);
    l->connects--;
    link_handle_closed(l);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct connect *c = container_of((uv_timer_t *)handle, struct connect, timer);
    c->handles--;
    maybe_free(c);
}

static void on_poll_closed(uv_handle_t *handle);

/* Close what is open; the stream, if there still is one, is the caller's to end. With abort the
 * server sees a reset. */
static void end_all(struct connect *c, bool abort)
{
    if (c->over)
        return;
    c->over = true;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    if (c->polling && !uv_is_closing((uv_handle_t *)&c->poll))
        uv_close((uv_handle_t *)&c->poll, on_poll_closed);
    if (c->open)
        io_close(&c->io.io, abort);
}

static void refuse(struct connect *c, int status)
{
    const struct http_head head = { .status = status, .content_length = 0 };
    end_all(c, true);
    if (c->stream && http_send_head(c->stream, &head, true) < 0)
        http_reset(c->stream);
}

/* The socket. */

static void on_io_data(struct io *io, const uint8_t *data, size_t n)
{
    struct connect *c = of_io(io);
    if (!c->stream)
        return;
    http_send_data(c->stream, data, n);
    if (!http_writable(c->stream))
        io_read_stop(io);
}

static void on_io_eof(struct io *io)
{
    struct connect *c = of_io(io);
    if (c->stream)
        http_send_end(c->stream);
}

static void on_io_drain(struct io *io)
{
    struct connect *c = of_io(io);
    (void)io;
    if (!c->stream) { /* both sides had ended, and the rest is delivered */
        end_all(c, false);
        return;
    }
    size_t owed = c->owed;
    c->owed = 0;
    http_consume(c->stream, owed);
}

static void on_io_error(struct io *io, int errnum)
{
    struct connect *c = of_io(io);
    (void)errnum;
    if (c->stream)
        http_reset(c->stream);
    end_all(c, true);
}

static void on_io_closed(struct io *io)
{
    struct connect *c = of_io(io);
    c->handles--;
    maybe_free(c);
}

static const struct io_events socket_events = {
    .on_data = on_io_data,
    .on_eof = on_io_eof,
    .on_drain = on_io_drain,
    .on_error = on_io_error,
    .on_closed = on_io_closed,
};

/* The stream. */

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct connect *c = of_stream(s);
    if (!c->open && !c->over && buf_append(&c->early, data, n)) {
        c->owed += n;
        return;
    }
    if (!c->open || c->over) {
        http_reset(s);
        return;
    }
    io_write(&c->io.io, data, n);
    if (io_pending(&c->io.io) == 0)
        http_consume(s, n);
    else
        c->owed += n;
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct connect *c = of_stream(s);
    (void)trailers;
    (void)n;
    c->ended = true;
    if (c->open && !c->over)
        io_shutdown(&c->io.io);
}

static void on_writable(struct http_stream *s)
{
    struct connect *c = of_stream(s);
    if (c->open && !c->over)
        io_read_start(&c->io.io);
}

static void on_timer(uv_timer_t *timer)
{
    struct connect *c = container_of(timer, struct connect, timer);
    if (c->open)
        end_all(c, true); /* the server does not read the rest */
    else
        refuse(c, 504);
}

static void on_close(struct http_stream *s, int errnum)
{
    struct connect *c = of_stream(s);
    c->stream = NULL;
    if (c->open && !c->over && errnum == 0 && io_pending(&c->io.io) > 0) {
        uv_timer_start(&c->timer, on_timer, CONNECT_LINGER_MS, 0);
        return;
    }
    end_all(c, errnum != 0);
    maybe_free(c);
}

static const struct http_stream_events stream_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};

/* Connecting. */

static void opened(struct connect *c)
{
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (io_fd_init(&c->io, c->l->e->loop, c->fd, IO_FD_STREAM, &socket_events) < 0) {
        refuse(c, 503);
        return;
    }
    c->fd = -1;
    c->handles++;
    c->open = true;
    uv_timer_stop(&c->timer);
    const struct http_head head = { .status = 200, .content_length = -1 };
    if (http_send_head(c->stream, &head, false) < 0) {
        http_reset(c->stream);
        return;
    }
    io_read_start(&c->io.io);
    if (buf_len(&c->early) > 0)
        io_write(&c->io.io, buf_head(&c->early), buf_len(&c->early));
    buf_deinit(&c->early);
    if (c->ended)
        io_shutdown(&c->io.io);
    if (io_pending(&c->io.io) == 0)
        on_io_drain(&c->io.io);
}

/* A try has ended with c->errnum. The next may use the descriptor's number only now. */
static void on_poll_closed(uv_handle_t *handle)
{
    struct connect *c = container_of((uv_poll_t *)handle, struct connect, poll);
    c->polling = false;
    c->handles--;
    if (!c->over && c->errnum == 0)
        opened(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (!c->over && !c->open) {
        c->at++;
        try_next(c);
    }
    maybe_free(c);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    struct connect *c = container_of(poll, struct connect, poll);
    socklen_t n = sizeof(c->errnum);
    (void)events;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &c->errnum, &n) < 0)
        c->errnum = errno;
    if (status < 0 && c->errnum == 0)
        c->errnum = -status;
    uv_close((uv_handle_t *)poll, on_poll_closed);
}

/* Begin to connect. 0, or a positive errno. */
static int begin(struct connect *c)
{
    const struct sockaddr_storage *at = &c->target.at[c->at];
    AUTO_CLOSE int fd = socket(at->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    socklen_t n =
        at->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (connect(fd, (const struct sockaddr *)at, n) < 0 && errno != EINPROGRESS)
        return errno;
    int rc = uv_poll_init(c->l->e->loop, &c->poll, fd);
    if (rc < 0)
        return -rc;
    c->fd = TAKE_FD(fd);
    c->polling = true;
    c->handles++;
    uv_poll_start(&c->poll, UV_WRITABLE, on_connected);
    return 0;
}

static void try_next(struct connect *c)
{
    for (; c->at < c->target.n; c->at++) {
        c->errnum = begin(c);
        if (c->errnum == 0)
            return;
    }
    bool ours = c->errnum == EMFILE || c->errnum == ENFILE || c->errnum == ENOMEM;
    refuse(c, ours ? 503 : c->errnum == ETIMEDOUT ? 504 : 502);
}

static void ignore_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    (void)data;
    http_consume(s, n);
}

static void ignore_close(struct http_stream *s, int errnum)
{
    (void)s;
    (void)errnum;
}

static const struct http_stream_events refused_events = {
    .on_data = ignore_data,
    .on_close = ignore_close,
};

static void refuse_early(struct http_stream *s, int status)
{
    const struct http_head head = { .status = status, .content_length = 0 };
    s->events = &refused_events;
    if (http_send_head(s, &head, true) < 0)
        http_reset(s);
}

void link_connect_serve(struct envd_link *l, struct http_stream *s, const struct http_head *head)
{
    struct connect_target target;
    int status = connect_target_parse(head->target, &target);
    if (status != 0) {
        refuse_early(s, status);
        return;
    }
    struct connect *c = l->connects < CONNECT_MAX ? calloc(1, sizeof(*c)) : NULL;
    if (!c || uv_timer_init(l->e->loop, &c->timer) != 0) {
        free(c);
        refuse_early(s, 503);
        return;
    }
    c->magic = CONNECT_MAGIC;
    c->l = l;
    c->stream = s;
    c->target = target;
    c->fd = -1;
    c->handles = 1;
    l->connects++;
    l->handles++;
    s->events = &stream_events;
    s->user = c;
    uv_timer_start(&c->timer, on_timer, CONNECT_DEADLINE_MS, 0);
    try_next(c);
}
