/*
 * A client connection. What arrives is read by one of these states (rx):
 *
 *   IDLE ──▶ HEAD ──▶ BODY ──▶ DONE ──▶ IDLE      kept alive
 *              │                 └────▶ (closed)  not to be used again
 *              └────▶ RAW ──────▶ DONE            101: bytes in both directions
 *
 * The exchange `x` is over when the request was sent and the response has ended, or with an error.
 * As in the server, advance() alone delivers events; it runs from the loop. What was received
 * before the connection was lost is still delivered.
 */
#include "common/http/http1.h"

#include "common/base/cleanup.h"
#include "common/http/http1_body.h"
#include "common/http/http1_out.h"

#include <assert.h>
#include <errno.h>

/* Interim responses (1xx) before a final one. */
#define INTERIM_MAX 16

enum rx { RX_IDLE, RX_HEAD, RX_BODY, RX_RAW, RX_DONE };

struct exchange {
    struct http_stream s;
    struct http1_client *c;
    struct http1_message m;
    struct str method; /* of the request, in the arena */
    size_t unconsumed;
    bool full;    /* the window was used up and is not half free yet */
    bool begun;   /* the request's head was sent */
    bool upgrade; /* it asked for an upgrade that was not answered yet */
    bool sent;    /* the request has ended */
    bool blocked; /* on_writable is due */
    bool raw;
    int error; /* it is over for this reason; on_close is due */
};

struct http1_client {
    struct io_events events; /* the io's: how its callbacks find the client */
    struct io *io;           /* NULL when it was freed */
    void (*free_io)(struct io *io);
    struct defer_queue *defer;
    const struct http_limits *limits;
    struct http1_out out;
    struct deferred tick;
    struct buf in;
    struct http1_scan scan;
    struct http1_body body;
    struct exchange *x;
    enum rx rx;
    int interim;
    int lost; /* the io failed: errno */
    bool eof;
    bool over;    /* no further request */
    bool closed;  /* io_close() was called */
    bool dropped; /* http1_client_close() was called */
    bool advancing;
};

static void advance(struct http1_client *c, const uint8_t *p, size_t n);
static const struct http_stream_ops client_ops;

static void on_tick(struct deferred *d)
{
    advance(container_of(d, struct http1_client, tick), NULL, 0);
}

static void schedule(struct http1_client *c)
{
    if (!c->advancing)
        defer(c->defer, &c->tick, on_tick);
}

static void free_if_gone(struct http1_client *c)
{
    if (!c->dropped || c->io || c->x || c->advancing)
        return;
    defer_cancel(&c->tick);
    buf_deinit(&c->in);
    http1_body_deinit(&c->body);
    free(c);
}

static void close_io(struct http1_client *c, bool abort)
{
    c->over = true;
    if (c->closed)
        return;
    c->closed = true;
    http1_out_deinit(&c->out);
    io_close(c->io, abort);
}

static void fail(struct http1_client *c, int errnum)
{
    if (c->x && !c->x->error)
        c->x->error = errnum;
    close_io(c, true);
    schedule(c);
}

/* ---- responses ---- */

static void take_head(struct http1_client *c, struct exchange *x, const uint8_t *p, size_t n)
{
    c->scan = (struct http1_scan){ 0 };
    if (http1_parse_response(&x->s.arena, p, n, c->limits->fields, x->method, &x->m) < 0) {
        fail(c, EPROTO);
        return;
    }
    int status = x->m.head.status;
    if (status == 101 && (!x->upgrade || x->m.head.upgrade.n == 0)) {
        fail(c, EPROTO);
        return;
    }
    if (status < 200 && status != 101) {
        if (++c->interim > INTERIM_MAX)
            fail(c, EPROTO);
        return;
    }
    if (status == 101) {
        c->rx = RX_RAW;
        c->over = x->raw = true;
        http1_out_begin(&c->out, HTTP1_RAW, 0);
    } else {
        c->rx = x->m.framing == HTTP1_NONE ? RX_DONE : RX_BODY;
        http1_body_init(&c->body, x->m.framing, x->m.head.content_length);
        if (!x->m.keep_alive)
            c->over = true;
        if (x->upgrade)
            x->sent = true;
    }
    x->upgrade = false;
    x->s.events->on_head(&x->s, &x->m.head);
    if (c->rx == RX_DONE && !x->error)
        x->s.events->on_end(&x->s, NULL, 0);
}

static size_t step_head(struct http1_client *c, const uint8_t *p, size_t n)
{
    static const char version[] = "HTTP/1.";
    size_t limit = c->limits->head_bytes;
    /* What speaks another protocol may never send the end of a head. */
    if (memcmp(p, version, n < sizeof(version) - 1 ? n : sizeof(version) - 1) != 0) {
        fail(c, EPROTO);
        return n;
    }
    switch (http1_scan_head(&c->scan, p, n < limit ? n : limit)) {
    case HTTP1_SCAN_BAD:
        fail(c, EPROTO);
        return n;
    case HTTP1_SCAN_MORE:
        if (n >= limit || c->scan.lines > c->limits->fields)
            fail(c, EPROTO);
        return 0;
    case HTTP1_SCAN_DONE:
        break;
    }
    size_t begin = c->scan.begin, used = c->scan.off;
    take_head(c, c->x, p + begin, used - begin);
    return used;
}

static size_t room_of(const struct http1_client *c, const struct exchange *x)
{
    return x->full ? 0 : c->limits->window - x->unconsumed;
}

static void deliver(struct http1_client *c, struct exchange *x, const uint8_t *data, size_t n)
{
    x->unconsumed += n;
    if (x->unconsumed >= c->limits->window)
        x->full = true;
    x->s.events->on_data(&x->s, data, n);
}

static void end_response(struct http1_client *c, struct exchange *x)
{
    struct http_field *trailers = NULL;
    size_t n = 0;
    if (buf_len(&c->body.trailers) > 2 &&
        http1_parse_trailers(&x->s.arena, buf_head(&c->body.trailers), buf_len(&c->body.trailers),
                             c->limits->fields, &trailers, &n) < 0) {
        fail(c, EPROTO);
        return;
    }
    c->rx = RX_DONE;
    x->s.events->on_end(&x->s, trailers, n);
}

static size_t step_body(struct http1_client *c, const uint8_t *p, size_t n)
{
    struct exchange *x = c->x;
    const uint8_t *data;
    size_t ndata;
    ptrdiff_t used =
        http1_body_take(&c->body, p, n, room_of(c, x), c->limits->trailer_bytes, &data, &ndata);
    if (used < 0) {
        fail(c, EPROTO);
        return n;
    }
    if (ndata > 0)
        deliver(c, x, data, ndata);
    if (c->body.done && !x->error)
        end_response(c, x);
    return (size_t)used;
}

static size_t step_raw(struct http1_client *c, const uint8_t *p, size_t n)
{
    size_t room = room_of(c, c->x);
    if (n > room)
        n = room;
    if (n > 0)
        deliver(c, c->x, p, n);
    return n;
}

static size_t step(struct http1_client *c, const uint8_t *p, size_t n)
{
    if (c->x && c->x->error)
        return n;
    switch (c->rx) {
    case RX_HEAD:
        return step_head(c, p, n);
    case RX_BODY:
        return step_body(c, p, n);
    case RX_RAW:
        return step_raw(c, p, n);
    case RX_IDLE:
    case RX_DONE:
        break;
    }
    /* Bytes that answer no request: whatever they are, the next response cannot be trusted. */
    c->over = true;
    if (c->rx == RX_IDLE)
        fail(c, EPROTO);
    return n;
}

/* The connection ended, and everything received before was delivered. */
static void input_ended(struct http1_client *c)
{
    struct exchange *x = c->x;
    c->over = true;
    if (x && x->sent && c->rx == RX_DONE)
        return;
    bool to_the_end = c->rx == RX_RAW || (c->rx == RX_BODY && c->body.framing == HTTP1_RAW);
    if (x && !x->error && c->eof && to_the_end)
        end_response(c, x);
    else if (x && !x->error && (c->lost || c->rx != RX_DONE))
        x->error = !x->begun || c->lost == ECONNREFUSED ? ECONNREFUSED
                   : c->lost == ETIMEDOUT               ? ETIMEDOUT
                                                        : ECONNRESET;
}

/* Tell the user that the exchange is over, and be ready for the next one before. */
static void close_exchange(struct http1_client *c, int errnum)
{
    struct exchange *x = TAKE(c->x);
    http1_body_deinit(&c->body);
    c->rx = RX_IDLE;
    c->interim = 0;
    if (errnum || c->over)
        close_io(c, errnum != 0);
    x->s.events->on_close(&x->s, errnum);
    arena_deinit(&x->s.arena);
    free(x);
}

static void settle(struct http1_client *c)
{
    struct exchange *x = c->x;
    if (c->out.failed)
        fail(c, EIO);
    if (!x && c->over)
        close_io(c, false);
    if (x && x->error)
        close_exchange(c, x->error);
    else if (x && x->sent && c->rx == RX_DONE && (!x->raw || http1_out_empty(&c->out)))
        close_exchange(c, 0);
}

static void advance(struct http1_client *c, const uint8_t *p, size_t n)
{
    if (c->advancing)
        return;
    c->advancing = true;
    bool held = buf_len(&c->in) > 0 || n == 0;
    if (held && n > 0 && !buf_append(&c->in, p, n))
        fail(c, ENOMEM);

    size_t used = 0;
    bool waits_for_user = false;
    for (;;) {
        size_t left = held ? buf_len(&c->in) : n - used;
        if (left == 0 || (c->x && c->x->error))
            break;
        size_t took = step(c, held ? buf_head(&c->in) : p + used, left);
        if (held)
            buf_consume(&c->in, took);
        else
            used += took;
        waits_for_user = took == 0 && c->x && c->x->full;
        if (took == 0)
            break;
    }
    if (!held && used < n && !buf_append(&c->in, p + used, n - used))
        fail(c, ENOMEM);
    if ((c->eof || c->lost) && !waits_for_user)
        input_ended(c);
    settle(c);
    if (buf_len(&c->in) == 0)
        buf_deinit(&c->in);
    c->advancing = false;

    if (c->dropped && c->io && !c->closed)
        close_io(c, true);
    if (c->dropped)
        free_if_gone(c);
    else if (c->closed || c->eof || c->lost)
        return;
    else if (c->x && c->x->full)
        io_read_stop(c->io);
    else
        io_read_start(c->io);
}

/* ---- events of the io ---- */

static struct http1_client *of_io(struct io *io)
{
    struct io_events *events = (struct io_events *)(uintptr_t)io->events;
    return container_of(events, struct http1_client, events);
}

static void on_io_data(struct io *io, const uint8_t *data, size_t n)
{
    advance(of_io(io), data, n);
}

static void on_io_eof(struct io *io)
{
    struct http1_client *c = of_io(io);
    c->eof = true;
    advance(c, NULL, 0);
}

static void on_io_drain(struct io *io)
{
    struct http1_client *c = of_io(io);
    bool empty = http1_out_on_drain(&c->out);
    struct exchange *x = c->x;
    if (empty && x && x->blocked && !x->sent && !x->error) {
        x->blocked = false;
        x->s.events->on_writable(&x->s);
    }
    advance(c, NULL, 0);
}

static void on_io_error(struct io *io, int errnum)
{
    struct http1_client *c = of_io(io);
    c->lost = errnum;
    advance(c, NULL, 0);
}

static void on_io_closed(struct io *io)
{
    struct http1_client *c = of_io(io);
    c->io = NULL;
    c->free_io(io);
    free_if_gone(c);
}

static const struct io_events io_events = {
    .on_data = on_io_data,
    .on_eof = on_io_eof,
    .on_drain = on_io_drain,
    .on_error = on_io_error,
    .on_closed = on_io_closed,
};

/* ---- what the user of a stream calls ---- */

static struct exchange *of_stream(struct http_stream *s)
{
    return container_of(s, struct exchange, s);
}

/* Whether a body may be sent. Before the answer to an upgrade nothing may. */
static bool may_send(struct exchange *x)
{
    if (x->c->closed || x->c->lost || x->error || !x->begun || x->sent)
        return false;
    if (x->upgrade)
        fail(x->c, EINVAL);
    return !x->error;
}

static enum http1_framing frame_request(const struct http_head *head, bool end)
{
    if (end || head->content_length == 0 || head->upgrade.n > 0)
        return HTTP1_NONE;
    return head->content_length > 0 ? HTTP1_LENGTH : HTTP1_CHUNKED;
}

static int send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    struct exchange *x = of_stream(s);
    struct http1_client *c = x->c;
    if (x->begun || (head->upgrade.n > 0 && end) || (end && head->content_length > 0) ||
        str_eq(head->method, STR("CONNECT")))
        return -EINVAL;
    char *method = arena_dup(&s->arena, head->method);
    if (!method)
        return -ENOMEM;
    if (c->closed || c->lost || x->error)
        return 0; /* on_close will tell */

    enum http1_framing framing = frame_request(head, end);
    struct buf out = { 0 };
    int rc = http1_write_request(&out, head, framing);
    if (rc == 0) {
        x->method = (struct str){ method, head->method.n };
        x->begun = true;
        x->sent = end;
        x->upgrade = head->upgrade.n > 0;
        c->rx = RX_HEAD;
        http1_out_bytes(&c->out, buf_head(&out), buf_len(&out));
        http1_out_begin(&c->out, framing, head->content_length);
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
    if (!may_send(x))
        return;
    http1_out_data(&x->c->out, data, n);
    note_blocked(x);
}

static void send_file(struct http_stream *s, int fd, int64_t offset, size_t n)
{
    struct exchange *x = of_stream(s);
    if (!may_send(x)) {
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
    if (!may_send(x))
        return;
    if (http1_out_end(&x->c->out, trailers, n) == -EPIPE) {
        fail(x->c, EINVAL); /* shorter than announced */
        return;
    }
    x->sent = true;
    if (x->raw)
        http1_out_shutdown(&x->c->out);
    schedule(x->c);
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
    struct exchange *x = of_stream((struct http_stream *)(uintptr_t)s);
    if (x->c->closed || x->c->lost || x->error || !x->begun || x->sent || x->upgrade)
        return false;
    note_blocked(x);
    return !x->blocked;
}

static void reset(struct http_stream *s)
{
    struct exchange *x = of_stream(s);
    fail(x->c, ECANCELED);
}

static const struct http_stream_ops client_ops = {
    .send_head = send_head,
    .send_data = send_data,
    .send_file = send_file,
    .send_end = send_end,
    .consume = consume,
    .writable = writable,
    .reset = reset,
};

/* ---- the connection ---- */

struct http1_client *http1_client_new(uv_loop_t *loop, struct defer_queue *defer, struct io *io,
                                      void (*free_io)(struct io *io),
                                      const struct http_limits *limits)
{
    (void)loop;
    struct http1_client *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->events = io_events;
    c->io = io;
    c->free_io = free_io;
    c->defer = defer;
    c->limits = limits ? limits : &HTTP_LIMITS_DEFAULT;
    http1_out_init(&c->out, io);
    io->events = &c->events;
    io_read_start(io);
    return c;
}

struct http_stream *http1_client_stream(struct http1_client *c,
                                        const struct http_stream_events *events, void *user)
{
    if (!http1_client_reusable(c))
        return NULL;
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    x->c = c;
    x->s.ops = &client_ops;
    x->s.events = events;
    x->s.user = user;
    c->x = x;
    return &x->s;
}

bool http1_client_reusable(const struct http1_client *c)
{
    return !c->x && !c->over && !c->closed && !c->eof && !c->lost && !c->dropped;
}

void http1_client_close(struct http1_client *c)
{
    c->dropped = true;
    if (c->x && !c->x->error)
        c->x->error = ECANCELED;
    if (!c->advancing && c->io)
        close_io(c, c->x != NULL);
    if (c->x)
        schedule(c);
    free_if_gone(c);
}
