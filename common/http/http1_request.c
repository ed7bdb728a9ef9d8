#include "common/http/http1_conn.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>

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

/* Whether the first line is that of any HTTP: "... HTTP/x.y", or HTTP/0.9's "GET ...". */
static bool is_http(const uint8_t *p, size_t n)
{
    struct str rest = { (const char *)p, n };
    struct str line = str_split(&rest, '\n');
    if (str_starts(line, STR("GET")))
        return true;
    for (; line.n >= 5; line = str_from(line, 1))
        if (str_eq_nocase((struct str){ line.p, 5 }, STR("HTTP/")))
            return true;
    return false;
}

/* The head is p[0..n). */
static void take_head(struct http1_conn *c, const uint8_t *p, size_t n)
{
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x) {
        http1_conn_close(c, ENOMEM, true);
        return;
    }
    x->c = c;
    x->s.ops = &http1_server_ops;
    x->s.trusted = c->options.trusted;
    const char *why;
    int status = http1_parse_request(&x->s.arena, p, n, c->limits->fields, &x->m, &why);
    if (status) {
        arena_deinit(&x->s.arena);
        free(x);
        /* Who speaks another protocol, HTTP/2 with a preface that is none for example, cannot read
         * our answer and may take it for something else. */
        if (is_http(p, n))
            http1_conn_refuse(c, status, why);
        else
            http1_conn_linger(c);
        return;
    }
    start_exchange(c, x);
}

/* Look for the end of a head in p[0..n); returns how many bytes were used. */
static size_t step_head(struct http1_conn *c, const uint8_t *p, size_t n)
{
    if (!c->timing) {
        c->timing = true;
        http1_conn_timer(c, c->limits->head_ms);
    }
    if (c->fresh && c->options.h2c) {
        enum http1_preface is = http1_preface_check(p, n);
        if (is == HTTP1_PREFACE_YES)
            http1_h2c_start(c);
        if (is != HTTP1_PREFACE_NO)
            return 0;
    }
    c->fresh = false;
    size_t limit = c->limits->head_bytes;
    enum http1_scan_result found = http1_scan_head(&c->scan, p, n < limit ? n : limit);
    switch (found) {
    case HTTP1_SCAN_BAD:
        http1_conn_refuse(c, 400, "malformed request head");
        return n;
    case HTTP1_SCAN_MORE:
        if (n >= limit || c->scan.lines > c->limits->fields) {
            http1_conn_refuse(c, 431, "the request's head is too large");
            return n;
        }
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
        http1_conn_linger(c); /* discarding */
    } else if (x->answered) {
        http1_conn_close(c, EPROTO, true);
    } else {
        x->error = EPROTO;
        http1_conn_refuse(c, 400, "malformed request body");
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
            http1_conn_next(c);
        else if (c->discarded > HTTP1_DISCARD_MAX)
            http1_conn_linger(c);
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

/* One http1_conn_step on what was received; returns the bytes used, 0 when nothing can be done with
 * them. */
size_t http1_conn_step(struct http1_conn *c, const uint8_t *p, size_t n)
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
            http1_conn_close(c, ECONNRESET, false);
        return n;
    case RX_HTTP2:
        http1_h2c_input(c, p, n);
        return n;
    case RX_ANSWER:
        break;
    }
    return 0;
}

/* The request without a body, or the raw bytes, have come to their end. */