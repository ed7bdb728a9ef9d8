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
#include "common/http/http1.h"

#include "common/base/cleanup.h"
#include "common/base/json_text.h"
#include "common/http/http1_body.h"
#include "common/http/http1_out.h"
#include "common/io/io_fd.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Requests answered in one turn before others get theirs. */
#define REQUESTS_PER_TURN 16

enum rx { RX_HEAD, RX_BODY, RX_ANSWER, RX_RAW, RX_DISCARD, RX_LINGER };

/* One request and its response. */
struct exchange {
    struct http_stream s;
    struct http1_conn *c;
    struct http1_message m;
    size_t unconsumed;
    bool full;      /* the window was used up and is not half free yet */
    bool ended;     /* on_end was delivered */
    bool answered;  /* a head was sent */
    bool responded; /* the response has ended */
    bool blocked;   /* on_writable is due */
    bool raw;
    int error; /* it is over for this reason; on_close is due */
};

struct http1_conn {
    struct io_fd fd;
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct http1_server_options options;
    const struct http_limits *limits;
    struct http1_out out;
    uv_timer_t timer;
    struct deferred tick;
    struct buf in; /* received and not used yet; holds no memory when empty */
    struct http1_scan scan;
    struct http1_body body;
    struct exchange *x;
    enum rx rx;
    size_t discarded;
    bool last;      /* no request after this one */
    bool advancing; /* advance() is running */
    bool over;      /* closed; only on_close of x and the handles' ends are still to come */
    int handles;
    void (*on_gone)(struct http1_conn *c, void *user);
    void *user;
};

static void advance(struct http1_conn *c, const uint8_t *p, size_t n);
static const struct http_stream_ops server_ops;

/* ---- the connection's end ---- */

static void on_tick(struct deferred *d)
{
    advance(container_of(d, struct http1_conn, tick), NULL, 0);
}

static void schedule(struct http1_conn *c)
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

static void free_if_gone(struct http1_conn *c)
{
    if (c->handles > 0 || c->x || c->advancing)
        return;
    defer_cancel(&c->tick);
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
static void close_conn(struct http1_conn *c, int errnum, bool abort)
{
    if (c->x && !c->x->error)
        c->x->error = errnum;
    if (c->over)
        return;
    c->over = true;
    io_close(&c->fd.io, abort);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    schedule(c);
}

static void on_timer(uv_timer_t *timer);

static void start_timer(struct http1_conn *c, unsigned ms)
{
    if (!c->over)
        uv_timer_start(&c->timer, on_timer, ms, 0);
}

/* Send what is queued, then the end, and wait a little for the peer's. */
static void begin_linger(struct http1_conn *c)
{
    if (c->over || c->rx == RX_LINGER)
        return;
    c->rx = RX_LINGER;
    c->last = true;
    c->discarded = 0;
    http1_out_shutdown(&c->out);
    if (c->fd.eof && http1_out_empty(&c->out))
        close_conn(c, ECONNRESET, false);
    else if (http1_out_empty(&c->out))
        start_timer(c, HTTP1_LINGER_MS);
    else
        uv_timer_stop(&c->timer);
}

/* Answer a request that cannot be understood, and close. */
static void refuse(struct http1_conn *c, int status, const char *why)
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
    begin_linger(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct http1_conn *c = container_of(timer, struct http1_conn, timer);
    if (c->rx == RX_HEAD && buf_len(&c->in) > 0)
        refuse(c, 408, "the request's head did not arrive in time");
    else
        close_conn(c, ETIMEDOUT, false);
    schedule(c);
}

/* ---- requests ---- */

/* Wait for the next request, or close. */
static void next_request(struct http1_conn *c)
{
    http1_body_deinit(&c->body);
    c->scan = (struct http1_scan){ 0 };
    if (c->last) {
        begin_linger(c);
        return;
    }
    c->rx = RX_HEAD;
    start_timer(c, c->limits->idle_ms);
}

/* The response has ended, the request perhaps not. */
static void end_exchange(struct http1_conn *c)
{
    bool raw = c->x->raw;
    close_exchange(c, 0);
    if (c->over)
        return;
    if (raw) {
        begin_linger(c);
    } else if (c->rx == RX_BODY && !c->last) {
        c->rx = RX_DISCARD;
        c->discarded = 0;
        start_timer(c, c->limits->head_ms);
    } else {
        next_request(c);
    }
}

static void send_continue(struct http1_conn *c, struct exchange *x)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!x->m.head.expect_continue || x->answered || x->error)
        return;
    http1_out_bytes(&c->out, line, sizeof(line) - 1);
    x->m.head.expect_continue = false;
}

static void start_exchange(struct http1_conn *c, struct exchange *x)
{
    c->x = x;
    c->rx = x->m.framing == HTTP1_NONE ? RX_ANSWER : RX_BODY;
    http1_body_init(&c->body, x->m.framing, x->m.head.content_length);
    uv_timer_stop(&c->timer);
    if (!x->m.keep_alive || x->m.minor == 0)
        c->last = true;
    c->options.acceptor->on_request(c->options.acceptor, &x->s, &x->m.head);
    assert(x->s.events);
    if (x->m.head.upgrade.n == 0)
        x->s.may_upgrade = false;
    send_continue(c, x);
}

/* The head is p[0..n). */
static void take_head(struct http1_conn *c, const uint8_t *p, size_t n)
{
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x) {
        close_conn(c, ENOMEM, true);
        return;
    }
    x->c = c;
    x->s.ops = &server_ops;
    x->s.trusted = c->options.trusted;
    const char *why;
    int status = http1_parse_request(&x->s.arena, p, n, c->limits->fields, &x->m, &why);
    if (status) {
        arena_deinit(&x->s.arena);
        free(x);
        refuse(c, status, why);
        return;
    }
    start_exchange(c, x);
}

/* Look for the end of a head in p[0..n); returns how many bytes were used. */
static size_t step_head(struct http1_conn *c, const uint8_t *p, size_t n)
{
    bool first = c->scan.off == 0;
    size_t limit = c->limits->head_bytes;
    enum http1_scan_result found = http1_scan_head(&c->scan, p, n < limit ? n : limit);
    switch (found) {
    case HTTP1_SCAN_BAD:
        refuse(c, 400, "malformed request head");
        return n;
    case HTTP1_SCAN_MORE:
        if (n >= limit || c->scan.lines > c->limits->fields) {
            refuse(c, 431, "the request's head is too large");
            return n;
        }
        if (first)
            start_timer(c, c->limits->head_ms);
        return 0;
    case HTTP1_SCAN_DONE:
        break;
    }
    size_t used = c->scan.off;
    take_head(c, p + c->scan.begin, used - c->scan.begin);
    return used;
}

static void body_failed(struct http1_conn *c)
{
    struct exchange *x = c->x;
    if (!x) {
        begin_linger(c); /* discarding */
    } else if (x->answered) {
        close_conn(c, EPROTO, true);
    } else {
        x->error = EPROTO;
        refuse(c, 400, "malformed request body");
    }
}

static void deliver_end(struct http1_conn *c, struct exchange *x)
{
    struct http_field *trailers = NULL;
    size_t n = 0;
    if (buf_len(&c->body.trailers) > 2 &&
        http1_parse_trailers(&x->s.arena, buf_head(&c->body.trailers), buf_len(&c->body.trailers),
                             c->limits->fields, &trailers, &n) < 0) {
        body_failed(c);
        return;
    }
    x->ended = true;
    c->rx = RX_ANSWER;
    x->s.events->on_end(&x->s, trailers, n);
}

static size_t room_of(const struct http1_conn *c, const struct exchange *x)
{
    return x->full ? 0 : c->limits->window - x->unconsumed;
}

static void deliver(struct http1_conn *c, struct exchange *x, const uint8_t *data, size_t n)
{
    x->unconsumed += n;
    if (x->unconsumed >= c->limits->window)
        x->full = true;
    x->s.events->on_data(&x->s, data, n);
}

static size_t step_body(struct http1_conn *c, const uint8_t *p, size_t n)
{
    struct exchange *x = c->x;
    const uint8_t *data;
    size_t ndata;
    ptrdiff_t used = http1_body_take(&c->body, p, n, x ? room_of(c, x) : SIZE_MAX,
                                     c->limits->trailer_bytes, &data, &ndata);
    if (used < 0) {
        body_failed(c);
        return n;
    }
    if (!x) {
        c->discarded += (size_t)used;
        if (c->body.done)
            next_request(c);
        else if (c->discarded > HTTP1_DISCARD_MAX)
            begin_linger(c);
        return (size_t)used;
    }
    if (ndata > 0)
        deliver(c, x, data, ndata);
    if (c->body.done && c->x == x && !x->responded && !x->error)
        deliver_end(c, x);
    else if (c->body.done)
        c->rx = RX_ANSWER;
    return (size_t)used;
}

static size_t step_raw(struct http1_conn *c, const uint8_t *p, size_t n)
{
    size_t room = room_of(c, c->x);
    if (n > room)
        n = room;
    if (n > 0)
        deliver(c, c->x, p, n);
    return n;
}

/* One step on what was received; returns the bytes used, 0 when nothing can be done with them. */
static size_t step(struct http1_conn *c, const uint8_t *p, size_t n)
{
    switch (c->rx) {
    case RX_HEAD:
        return http1_out_writable(&c->out) ? step_head(c, p, n) : 0;
    case RX_BODY:
    case RX_DISCARD:
        return step_body(c, p, n);
    case RX_RAW:
        return step_raw(c, p, n);
    case RX_LINGER:
        c->discarded += n;
        if (c->discarded > HTTP1_DISCARD_MAX)
            close_conn(c, ECONNRESET, false);
        return n;
    case RX_ANSWER:
        break;
    }
    return 0;
}

/* The request without a body, or the raw bytes, have come to their end. */
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
        close_conn(c, EIO, true);
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
        close_conn(c, ENOMEM, true);

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
        size_t took = step(c, held ? buf_head(&c->in) : p + used, left);
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
        begin_linger(c);
    if (!held && used < n && !c->over && !buf_append(&c->in, p + used, n - used))
        close_conn(c, ENOMEM, true);
    while (settle(c))
        ;
    if (buf_len(&c->in) == 0)
        buf_deinit(&c->in);
    c->advancing = false;

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
        begin_linger(c);
        break;
    case RX_BODY:
        close_conn(c, ECONNRESET, false);
        break;
    case RX_ANSWER:
        /* What has been answered in full is still delivered. */
        if (c->x && !c->x->responded)
            close_conn(c, ECONNRESET, false);
        c->last = true;
        break;
    case RX_LINGER:
        if (http1_out_empty(&c->out))
            close_conn(c, ECONNRESET, false);
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
    if (!http1_out_on_drain(&c->out)) {
        schedule(c);
        return;
    }
    if (c->rx == RX_LINGER) {
        if (c->fd.eof)
            close_conn(c, ECONNRESET, false);
        else
            start_timer(c, HTTP1_LINGER_MS);
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
    close_conn(c, ECONNRESET, false);
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

/* ---- what a handler calls ---- */

static struct exchange *of_stream(struct http_stream *s)
{
    return container_of(s, struct exchange, s);
}

static bool is_over(const struct exchange *x)
{
    return x->c->over || x->error || x->responded;
}

static void finish_response(struct exchange *x)
{
    x->responded = true;
    schedule(x->c);
}

/* How the response's body will be framed. */
static enum http1_framing frame_response(const struct exchange *x, const struct http_head *head,
                                         bool end)
{
    bool is_head = str_eq(x->m.head.method, STR("HEAD"));
    if (head->status == 204 || head->status == 304 || (is_head && end && head->content_length < 0))
        return HTTP1_NONE;
    if (end || head->content_length >= 0)
        return HTTP1_LENGTH;
    return x->m.minor == 0 ? HTTP1_RAW : HTTP1_CHUNKED;
}

static int send_upgrade(struct exchange *x, const struct http_head *head)
{
    struct http1_conn *c = x->c;
    struct http_head h = *head;
    if (!x->s.may_upgrade || x->m.head.upgrade.n == 0)
        return -EINVAL;
    if (h.upgrade.n == 0)
        h.upgrade = x->m.head.upgrade;
    struct buf out = { 0 };
    int rc = http1_write_response(&out, &h, HTTP1_NONE, false);
    if (rc == 0) {
        http1_out_bytes(&c->out, buf_head(&out), buf_len(&out));
        http1_out_begin(&c->out, HTTP1_RAW, 0);
        x->answered = x->raw = true;
        c->rx = RX_RAW;
        c->last = true;
        schedule(c);
    }
    buf_deinit(&out);
    return rc;
}

static int send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    struct exchange *x = of_stream(s);
    struct http1_conn *c = x->c;
    if (is_over(x))
        return -EPIPE;
    if (x->answered || head->status < 101 || (head->status < 200 && head->status != 101))
        return -EINVAL;
    if (head->status == 101)
        return send_upgrade(x, head);

    /* A client that was not told to continue may send its body or not: no way to go on. */
    if (x->m.head.expect_continue && c->rx == RX_BODY)
        c->last = true;
    struct http_head h = *head;
    enum http1_framing framing = frame_response(x, &h, end);
    bool is_head = str_eq(x->m.head.method, STR("HEAD"));
    if (end && h.content_length > 0 && framing == HTTP1_LENGTH && !is_head)
        return -EINVAL;
    if (end && h.content_length < 0)
        h.content_length = 0;
    struct buf out = { 0 };
    int rc = http1_write_response(&out, &h, framing, c->last);
    if (rc == 0) {
        http1_out_bytes(&c->out, buf_head(&out), buf_len(&out));
        http1_out_begin(&c->out, is_head ? HTTP1_NONE : framing, end ? 0 : h.content_length);
        x->answered = true;
        if (end)
            finish_response(x);
        else
            schedule(c);
    }
    buf_deinit(&out);
    return rc;
}

static void note_blocked(struct exchange *x)
{
    if (!http1_out_writable(&x->c->out))
        x->blocked = true;
}

static void send_data(struct http_stream *s, const void *data, size_t n)
{
    struct exchange *x = of_stream(s);
    if (is_over(x) || !x->answered)
        return;
    http1_out_data(&x->c->out, data, n);
    note_blocked(x);
}

static void send_file(struct http_stream *s, int fd, int64_t offset, size_t n)
{
    struct exchange *x = of_stream(s);
    if (is_over(x) || !x->answered) {
        close(fd);
        return;
    }
    http1_out_file(&x->c->out, fd, offset, n);
    note_blocked(x);
    if (x->c->out.failed)
        schedule(x->c);
}

static void send_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct exchange *x = of_stream(s);
    struct http1_conn *c = x->c;
    if (is_over(x))
        return;
    if (!x->answered || http1_out_end(&c->out, trailers, n) == -EPIPE) {
        /* Shorter than announced: the client must not take it for whole. */
        close_conn(c, EPROTO, true);
        return;
    }
    if (x->raw)
        http1_out_shutdown(&c->out);
    finish_response(x);
}

static void consume(struct http_stream *s, size_t n)
{
    struct exchange *x = of_stream(s);
    assert(n <= x->unconsumed);
    x->unconsumed -= n;
    if (!x->full || x->unconsumed > x->c->limits->window / 2)
        return;
    x->full = false;
    schedule(x->c);
}

static bool writable(const struct http_stream *s)
{
    struct exchange *x = container_of((struct http_stream *)(uintptr_t)s, struct exchange, s);
    if (is_over(x))
        return false;
    note_blocked(x);
    return !x->blocked;
}

static void reset(struct http_stream *s)
{
    struct exchange *x = of_stream(s);
    if (x->error)
        return;
    x->error = ECANCELED;
    schedule(x->c);
}

static const struct http_stream_ops server_ops = {
    .send_head = send_head,
    .send_data = send_data,
    .send_file = send_file,
    .send_end = send_end,
    .consume = consume,
    .writable = writable,
    .reset = reset,
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
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* not TCP: no matter */
    http1_out_init(&c->out, &c->fd.io);
    uv_timer_init(loop, &c->timer);
    c->timer.data = c;
    c->handles = 2;
    next_request(c);
    io_read_start(&c->fd.io);
    return c;
}

void http1_conn_drain(struct http1_conn *c)
{
    c->last = true;
    if (c->rx != RX_HEAD)
        return;
    if (http1_out_empty(&c->out))
        close_conn(c, ECONNRESET, false);
    else
        begin_linger(c);
}

void http1_conn_abort(struct http1_conn *c)
{
    close_conn(c, ECONNRESET, true);
}
