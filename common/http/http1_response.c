#include "common/http/http1_conn.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>

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
    http1_conn_schedule(x->c);
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
        http1_conn_schedule(c);
    }
    buf_deinit(&out);
    return rc;
}

/* Whether the connection ends with this response, which overtakes the request's body: said in its
 * head, so that the client sends no other request while the connection is being closed. */
static bool cannot_go_on(const struct http1_conn *c, const struct exchange *x)
{
    /* A client that was not told to continue may send its body or not. */
    if (x->m.head.expect_continue)
        return true;
    return c->body.framing == HTTP1_LENGTH && c->body.left > HTTP1_DISCARD_MAX;
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

    if (c->rx == RX_BODY && cannot_go_on(c, x))
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
            http1_conn_schedule(c);
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

static void send_pieces(struct http_stream *s, const struct iovec *iov, int n)
{
    struct exchange *x = of_stream(s);
    if (is_over(x) || !x->answered)
        return;
    http1_out_pieces(&x->c->out, iov, n);
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
        http1_conn_schedule(x->c);
}

static void send_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct exchange *x = of_stream(s);
    struct http1_conn *c = x->c;
    if (is_over(x))
        return;
    if (!x->answered || http1_out_end(&c->out, trailers, n) == -EPIPE) {
        /* Shorter than announced: the client must not take it for whole. */
        http1_conn_close(c, EPROTO, true);
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
    http1_conn_schedule(x->c);
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
    http1_conn_schedule(x->c);
}

static void progress(const struct http_stream *s, uint64_t *sent, uint64_t *delivered)
{
    const struct exchange *x = container_of(s, const struct exchange, s);
    http1_out_progress(&x->c->out, sent, delivered);
}

const struct http_stream_ops http1_server_ops = {
    .progress = progress,
    .send_head = send_head,
    .send_data = send_data,
    .send_pieces = send_pieces,
    .send_file = send_file,
    .send_end = send_end,
    .consume = consume,
    .writable = writable,
    .reset = reset,
};
