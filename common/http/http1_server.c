/*
 * A server connection. What arrives is read by one of these states (rx):
 *
 *   HEAD ──▶ BODY ──▶ ANSWER ──▶ HEAD         the next request, when the response has ended
 *     │        │         └─────▶ RAW          the handler answered 101
 *     │        └──▶ DISCARD ──▶ HEAD          the response ended before the request's body
 *     └─────────┴──────┴───────▶ LINGER       the last response is sent, then the end; what still
 *                                             comes is dropped, so that the peer is not reset
 *
 * `x` is the request being answered, from its head to its on_close. Events are delivered by
 * advance() alone, which runs from the loop: as input comes, or as the deferred tick that a call of
 * the handler scheduled.
 */
#include "common/http/http1_conn.h"

#include "common/base/cleanup.h"
#include "common/base/json_text.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Requests answered in one turn before others get theirs. */
#define REQUESTS_PER_TURN 16

static void advance(struct http1_conn *c, const uint8_t *p, size_t n);

/* ---- the connection's end ---- */

static void on_tick(struct deferred *d)
{
    advance(container_of(d, struct http1_conn, tick), NULL, 0);
}

void http1_conn_schedule(struct http1_conn *c)
{
    if (!c->advancing)
        defer(c->defer, &c->tick, on_tick);
}

/* Tell the handler that its request is over, and forget it. */
static void close_exchange(struct http1_conn *c, int errnum)
{
    struct exchange *x = TAKE(c->x);
    x->s.events->on_close(&x->s, errnum);
    arena_deinit(&x->s.arena);
    free(x);
}

/* Bring what is held of an unfinished head to account. */
static void count_head(struct http1_conn *c, size_t held)
{
    if (!c->options.heads || held == c->counted)
        return;
    *c->options.heads += held - c->counted;
    bool too_much = held > c->counted && *c->options.heads > HTTP1_HEADS_MAX;
    c->counted = held;
    if (too_much) {
        http1_conn_refuse(c, 503, "too many requests have sent a part of their head only");
        defer(c->defer, &c->tick, on_tick);
    }
}

static void free_if_gone(struct http1_conn *c)
{
    if (c->handles > 0 || c->x || c->advancing)
        return;
    defer_cancel(&c->tick);
    count_head(c, 0);
    if (c->on_gone)
        c->on_gone(c, c->user);
    buf_deinit(&c->in);
    http1_body_deinit(&c->body);
    http1_out_deinit(&c->out);
    free(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct http1_conn *c = handle->data;
    c->handles--;
    free_if_gone(c);
}

/* Close now; a request in flight gets `errnum`. */
void http1_conn_close(struct http1_conn *c, int errnum, bool abort)
{
    if (c->x && !c->x->error)
        c->x->error = errnum;
    if (c->over)
        return;
    c->over = true;
    http1_h2c_abort(c);
    io_close(&c->fd.io, abort);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    http1_conn_schedule(c);
}

static void on_timer(uv_timer_t *timer);

void http1_conn_timer(struct http1_conn *c, unsigned ms)
{
    if (!c->over)
        uv_timer_start(&c->timer, on_timer, ms, 0);
}

/* Send what is queued, then the end, and wait a little for the peer's. */
void http1_conn_linger(struct http1_conn *c)
{
    if (c->over || c->rx == RX_LINGER)
        return;
    c->rx = RX_LINGER;
    c->last = true;
    c->discarded = 0;
    http1_out_shutdown(&c->out);
    if (c->fd.eof && http1_out_empty(&c->out))
        http1_conn_close(c, ECONNRESET, false);
    else if (http1_out_empty(&c->out))
        http1_conn_timer(c, HTTP1_LINGER_MS);
    else
        uv_timer_stop(&c->timer);
}

/* Answer a request that cannot be understood, and close. */
void http1_conn_refuse(struct http1_conn *c, int status, const char *why)
{
    struct buf body = { 0 }, head = { 0 };
    buf_printf(&body, "{\"code\":%d,\"message\":", status);
    json_text_quote(&body, str_of(why));
    buf_putc(&body, '}');
    struct http_field type = { STR("content-type"), STR("application/json") };
    struct http_head h = {
        .status = status, .content_length = (int64_t)buf_len(&body), .fields = &type, .nfields = 1
    };
    if (!body.failed && http1_write_response(&head, &h, HTTP1_LENGTH, true) == 0) {
        http1_out_bytes(&c->out, buf_head(&head), buf_len(&head));
        http1_out_bytes(&c->out, buf_head(&body), buf_len(&body));
    }
    buf_deinit(&body);
    buf_deinit(&head);
    http1_conn_linger(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct http1_conn *c = container_of(timer, struct http1_conn, timer);
    if (c->rx == RX_HEAD && buf_len(&c->in) > 0)
        http1_conn_refuse(c, 408, "the request's head did not arrive in time");
    else
        http1_conn_close(c, ETIMEDOUT, false);
    http1_conn_schedule(c);
}
/* Wait for the next request, or close. */
void http1_conn_next(struct http1_conn *c)
{
    http1_body_deinit(&c->body);
    c->scan = (struct http1_scan){ 0 };
    if (c->last) {
        http1_conn_linger(c);
        return;
    }
    c->rx = RX_HEAD;
    c->timing = false;
    http1_conn_timer(c, c->limits->idle_ms);
}

/* The response has ended, the request perhaps not. */
static void end_exchange(struct http1_conn *c)
{
    bool raw = c->x->raw;
    close_exchange(c, 0);
    if (c->over)
        return;
    if (raw) {
        http1_conn_linger(c);
    } else if (c->rx == RX_BODY && !c->last) {
        c->rx = RX_DISCARD;
        c->discarded = 0;
        http1_conn_timer(c, c->limits->head_ms);
    } else {
        http1_conn_next(c);
    }
}

static void deliver_due_end(struct http1_conn *c, struct exchange *x)
{
    bool due = c->rx == RX_RAW ? c->fd.eof && buf_len(&c->in) == 0
                               : c->rx == RX_ANSWER && (!x->s.may_upgrade || x->answered);
    if (!due || x->ended || (x->responded && !x->raw))
        return;
    x->ended = true;
    x->s.events->on_end(&x->s, NULL, 0);
}

/* Deliver what is due besides input. true when the exchange came to its end. */
static bool settle(struct http1_conn *c)
{
    struct exchange *x = c->x;
    if (c->out.failed || (x && x->error == ECANCELED))
        http1_conn_close(c, EIO, true);
    if (!x)
        return false;
    if (!x->error)
        deliver_due_end(c, x);
    if (c->x && x->error) {
        close_exchange(c, x->error);
        return true;
    }
    if (c->x && x->responded && (!x->raw || x->ended)) {
        end_exchange(c);
        return true;
    }
    return false;
}

/* Whether more input is of use now. */
static bool wants_input(const struct http1_conn *c)
{
    size_t held = buf_len(&c->in);
    switch (c->rx) {
    case RX_HEAD:
    case RX_ANSWER:
        return held < HTTP1_READ_AHEAD || (c->rx == RX_HEAD && http1_out_writable(&c->out));
    case RX_BODY:
    case RX_RAW:
        return held == 0 && !c->x->full;
    case RX_DISCARD:
    case RX_LINGER:
    case RX_HTTP2:
        break;
    }
    return true;
}

static void advance(struct http1_conn *c, const uint8_t *p, size_t n)
{
    if (c->advancing)
        return;
    c->advancing = true;
    /* Work on the received bytes in place unless older ones wait before them. */
    bool held = buf_len(&c->in) > 0 || n == 0;
    if (held && n > 0 && !buf_append(&c->in, p, n))
        http1_conn_close(c, ENOMEM, true);

    int requests = 0;
    size_t used = 0;
    bool stuck = false;
    for (;;) {
        if (settle(c) && ++requests == REQUESTS_PER_TURN) {
            defer(c->defer, &c->tick, on_tick);
            break;
        }
        size_t left = held ? buf_len(&c->in) : n - used;
        stuck = c->over || left == 0;
        if (stuck)
            break;
        enum rx rx = c->rx;
        size_t took = http1_conn_step(c, held ? buf_head(&c->in) : p + used, left);
        if (held)
            buf_consume(&c->in, took);
        else
            used += took;
        stuck = took == 0 && c->rx == rx;
        if (stuck)
            break;
    }
    /* Nobody will complete what is left. */
    if (stuck && c->fd.eof && c->rx == RX_HEAD && http1_out_writable(&c->out))
        http1_conn_linger(c);
    if (!held && used < n && !c->over && !buf_append(&c->in, p + used, n - used))
        http1_conn_close(c, ENOMEM, true);
    while (settle(c))
        ;
    count_head(c, c->rx == RX_HEAD && !c->over ? buf_len(&c->in) : 0);
    if (buf_len(&c->in) == 0)
        buf_deinit(&c->in);
    c->advancing = false;

    /* A handler that has taken all until now gets large pieces: an upload's CPU goes into the
     * number of wake-ups. */
    c->fd.reads_large = c->rx == RX_BODY && c->x && c->x->unconsumed == 0;
    if (c->over)
        free_if_gone(c);
    else if (wants_input(c))
        io_read_start(&c->fd.io);
    else
        io_read_stop(&c->fd.io);
}
/* ---- events of the descriptor ---- */

static struct http1_conn *of_io(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct http1_conn, fd);
}

static void on_io_data(struct io *io, const uint8_t *data, size_t n)
{
    advance(of_io(io), data, n);
}

static void on_io_eof(struct io *io)
{
    struct http1_conn *c = of_io(io);
    switch (c->rx) {
    case RX_DISCARD:
        http1_conn_linger(c);
        break;
    case RX_BODY:
    case RX_HTTP2:
        http1_conn_close(c, ECONNRESET, false);
        break;
    case RX_ANSWER:
        /* What has been answered in full is still delivered. Of an unfinished answer nothing is
         * sent any more, so that what has been delivered is known. */
        if (c->x && !c->x->responded)
            http1_conn_close(c, ECONNRESET, c->x->answered);
        c->last = true;
        break;
    case RX_LINGER:
        if (http1_out_empty(&c->out))
            http1_conn_close(c, ECONNRESET, false);
        break;
    case RX_HEAD: /* requests may be waiting */
    case RX_RAW:  /* on_end */
        break;
    }
    advance(c, NULL, 0);
}

static void on_io_drain(struct io *io)
{
    struct http1_conn *c = of_io(io);
    if (c->h2) {
        http2_session_writable(c->h2);
        return;
    }
    if (!http1_out_on_drain(&c->out)) {
        http1_conn_schedule(c);
        return;
    }
    if (c->rx == RX_LINGER) {
        if (c->fd.eof)
            http1_conn_close(c, ECONNRESET, false);
        else
            http1_conn_timer(c, HTTP1_LINGER_MS);
    }
    struct exchange *x = c->x;
    if (x && x->blocked && !x->responded && !x->error) {
        x->blocked = false;
        if (x->s.events->on_writable)
            x->s.events->on_writable(&x->s);
    }
    advance(c, NULL, 0);
}

static void on_io_error(struct io *io, int errnum)
{
    (void)errnum;
    struct http1_conn *c = of_io(io);
    http1_conn_close(c, ECONNRESET, false);
    advance(c, NULL, 0);
}

static void on_io_closed(struct io *io)
{
    struct http1_conn *c = of_io(io);
    c->handles--;
    free_if_gone(c);
}

static const struct io_events fd_events = {
    .on_data = on_io_data,
    .on_eof = on_io_eof,
    .on_drain = on_io_drain,
    .on_error = on_io_error,
    .on_closed = on_io_closed,
};
/* ---- the connection's beginning ---- */

struct http1_conn *http1_serve_fd(uv_loop_t *loop, struct defer_queue *defer, int fd,
                                  const struct http1_server_options *options,
                                  void (*on_gone)(struct http1_conn *c, void *user), void *user)
{
    struct http1_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->loop = loop;
    c->defer = defer;
    c->options = *options;
    c->limits = options->limits ? options->limits : &HTTP_LIMITS_DEFAULT;
    c->on_gone = on_gone;
    c->user = user;
    if (io_fd_init(&c->fd, loop, fd, IO_FD_STREAM, &fd_events) < 0) {
        free(c);
        return NULL;
    }
    c->fd.gathers = true;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not TCP: no matter */
    int unsent = HTTP1_UNSENT_MAX;
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    http1_out_init(&c->out, &c->fd.io);
    c->out.tracked = true;
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->handles = 2;
    c->fresh = true;
    http1_conn_next(c);
    io_read_start(&c->fd.io);
    return c;
}

void http1_conn_drain(struct http1_conn *c)
{
    c->last = true;
    if (c->h2)
        http2_session_drain(c->h2);
    if (c->rx != RX_HEAD)
        return;
    if (http1_out_empty(&c->out))
        http1_conn_close(c, ECONNRESET, false);
    else
        http1_conn_linger(c);
}

void http1_conn_abort(struct http1_conn *c)
{
    http1_conn_close(c, ECONNRESET, true);
}
