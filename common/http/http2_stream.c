/* One stream of an HTTP/2 session: the http_stream that users see. */
#include "common/http/http2_internal.h"

#include <errno.h>
#include <stdlib.h>

static void on_wake(struct deferred *d);

struct http2_stream *http2_stream_new(struct http2_session *h)
{
    struct http2_stream *st = calloc(1, sizeof(*st));
    if (!st)
        return NULL;
    st->s.ops = &http2_stream_ops;
    st->s.is_http2 = true;
    st->h = h;
    st->id = -1;
    st->head.content_length = -1;
    list_init(&st->files);
    list_push_back(&h->streams, &st->node);
    return st;
}

void http2_stream_maybe_free(struct http2_stream *st)
{
    struct http2_session *h = st->h;
    if (st->in_ng || !st->delivered || st->reading)
        return;
    list_remove(&st->node);
    list_remove(&st->waiting);
    list_remove(&st->late);
    defer_cancel(&st->wake);
    http2_file_drop_all(st);
    free(st->read_buf);
    buf_deinit(&st->out);
    arena_deinit(&st->s.arena);
    free(st);
    http2_kick(h);
}

void http2_stream_left_ng(struct http2_stream *st)
{
    st->in_ng = false;
    list_remove(&st->late);
    st->h->open--;
    http2_stream_maybe_free(st);
}

size_t http2_stream_pending(const struct http2_stream *st)
{
    return buf_len(&st->out) + st->behind;
}

size_t http2_stream_queued(const struct http_stream *s)
{
    return http2_stream_pending(container_of(s, const struct http2_stream, s));
}

void http2_stream_hold(struct http2_stream *st, size_t n)
{
    st->h->held += n;
    if (!list_linked(&st->waiting))
        list_push_back(&st->h->waiting, &st->waiting);
    if (st->h->held > HTTP2_HELD_MAX)
        http2_enforce_held(st->h);
}

void http2_stream_release(struct http2_stream *st, size_t n)
{
    st->h->held -= n;
    list_remove(&st->waiting);
    if (st->unconsumed + http2_stream_pending(st) > 0)
        list_push_back(&st->h->waiting, &st->waiting);
}

void http2_stream_close(struct http2_stream *st, int errnum)
{
    if (st->closing)
        return;
    st->closing = true;
    st->gone = true;
    st->close_errnum = errnum;
    st->h->held -= st->unconsumed + http2_stream_pending(st);
    list_remove(&st->waiting);
    st->unconsumed = 0;
    buf_deinit(&st->out);
    http2_file_drop_all(st);
    if (st->exposed) {
        defer(st->h->defer, &st->wake, on_wake);
        return;
    }
    st->delivered = true;
    http2_stream_maybe_free(st);
}

void http2_stream_lose(struct http2_stream *st, int errnum)
{
    http2_stream_close(st, !st->h->acceptor && !st->head_wired ? ECONNREFUSED : errnum);
}

void http2_stream_reset(struct http2_stream *st, uint32_t code, int errnum)
{
    struct http2_session *h = st->h;
    if (st->closing)
        return;
    if (st->in_ng && h->ng && !h->aborted)
        nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, st->id, code);
    http2_stream_close(st, errnum);
    http2_kick(h);
}

void http2_stream_sent(struct http2_stream *st)
{
    size_t pending = http2_stream_pending(st);
    if (st->gone || !list_empty(&st->files))
        return;
    if (pending == 0 || (st->was_full && pending <= HTTP2_OUT_HIGH / 2)) {
        st->was_full = false;
        st->writable_due = true;
        defer(st->h->defer, &st->wake, on_wake);
    }
}

static void on_wake(struct deferred *d)
{
    struct http2_stream *st = container_of(d, struct http2_stream, wake);
    if (st->closing) {
        st->delivered = true;
        st->h->live--;
        if (st->s.events && st->s.events->on_close)
            st->s.events->on_close(&st->s, st->close_errnum);
        arena_deinit(&st->s.arena);
        http2_kick(st->h);
        http2_stream_maybe_free(st);
    } else if (st->writable_due) {
        st->writable_due = false;
        if (!st->gone && (!st->end_out || st->tunnel) && st->s.events && st->s.events->on_writable)
            st->s.events->on_writable(&st->s);
    }
}

/* Up to n bytes of what was written. */
static size_t take_out(struct http2_stream *st, uint8_t *dst, size_t n)
{
    size_t take = buf_len(&st->out) < n ? buf_len(&st->out) : n;
    if (take == 0)
        return 0;
    memcpy(dst, buf_head(&st->out), take);
    buf_consume(&st->out, take);
    http2_stream_release(st, take);
    st->wired += take;
    return take;
}

/* nghttp2 asks for up to `length` bytes of body. */
static ssize_t read_body(nghttp2_session *ng, int32_t id, uint8_t *dst, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)user;
    struct http2_stream *st = source->ptr;
    st->deferred = true;
    if (st->gone)
        return NGHTTP2_ERR_DEFERRED;
    size_t n = take_out(st, dst, length);
    if (n == 0)
        n = http2_file_read(st, dst, length);
    if (n == 0)
        n = take_out(st, dst, length); /* what was written behind the file */
    if (st->gone)
        return NGHTTP2_ERR_DEFERRED; /* it is being reset */
    bool last = buf_len(&st->out) == 0 && list_empty(&st->files) && st->end_out;
    if (n == 0 && !last)
        return NGHTTP2_ERR_DEFERRED;
    st->deferred = false;
    if (last) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        nghttp2_nv *nv = st->ntrailers ? http2_trailers_write(st->trailers, st->ntrailers) : NULL;
        if (nv && nghttp2_submit_trailer(ng, id, nv, st->ntrailers) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        free(nv);
    }
    if (n > 0)
        http2_stream_sent(st);
    return (ssize_t)n;
}

nghttp2_data_provider http2_stream_provider(struct http2_stream *st)
{
    return (nghttp2_data_provider){ .source.ptr = st, .read_callback = read_body };
}

/* There is something new to send. */
void http2_stream_resume(struct http2_stream *st)
{
    if (st->deferred && st->in_ng && st->h->ng) {
        st->deferred = false;
        nghttp2_session_resume_data(st->h->ng, st->id);
    }
    http2_kick(st->h);
}

/* Streams that send much go behind those that send little, by what was queued within a second. */
void http2_stream_note_output(struct http2_stream *st, size_t n)
{
    struct http2_session *h = st->h;
    uint64_t now = uv_now(h->loop);
    if (!h->acceptor || !h->ng)
        return;
    if (now - st->burst_ms > HTTP2_BURST_MS) {
        st->burst = 0;
        st->burst_ms = now;
    }
    st->burst += n;
    bool bulk = st->burst > HTTP2_BULK_BYTES;
    if (bulk == st->bulk)
        return;
    st->bulk = bulk;
    const nghttp2_extpri pri = { .urgency = bulk ? HTTP2_URGENCY_BULK : HTTP2_URGENCY_SMALL,
                                 .inc = 1 };
    nghttp2_session_change_extpri_stream_priority(h->ng, st->id, &pri, 1);
}

/* From a user's call or a finished file read: bytes were appended to out. */
void http2_stream_filled(struct http2_stream *st, size_t n)
{
    if (http2_stream_pending(st) >= HTTP2_OUT_HIGH)
        st->was_full = true;
    http2_stream_hold(st, n);
    if (st->gone)
        return;
    http2_stream_note_output(st, n);
    http2_stream_resume(st);
}

static int send_request(struct http2_stream *st, const nghttp2_nv *nv, size_t n, bool end)
{
    nghttp2_data_provider provider = http2_stream_provider(st);
    int32_t id = nghttp2_submit_request(st->h->ng, NULL, nv, n, end ? NULL : &provider, st);
    if (id < 0)
        return -ENOMEM;
    st->id = id;
    st->in_ng = true;
    st->h->open++;
    return 0;
}

static int send_response(struct http2_stream *st, const nghttp2_nv *nv, size_t n, bool end)
{
    nghttp2_data_provider provider = http2_stream_provider(st);
    int rc = nghttp2_submit_response(st->h->ng, st->id, nv, n, end ? NULL : &provider);
    return rc == 0 ? 0 : -ENOMEM;
}

/* A response that has no body, whatever the handler sends. */
static bool is_bodyless(const struct http2_stream *st, const struct http_head *head)
{
    return st->h->acceptor &&
           (head->status == 204 || head->status == 304 || str_eq(st->head.method, STR("HEAD")));
}

static int stream_send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    struct http2_stream *st = http2_stream_of(s);
    struct http2_session *h = st->h;
    if (st->gone || !h->ng)
        return 0; /* on_close is on its way */
    if (st->head_out)
        return -EINVAL;
    size_t n;
    int rc;
    nghttp2_nv *nv = http2_head_write(st, head, &n, &rc);
    if (!nv)
        return rc;
    end = end || is_bodyless(st, head);
    rc = h->acceptor ? send_response(st, nv, n, end) : send_request(st, nv, n, end);
    free(nv);
    if (rc < 0)
        return rc;
    st->head_out = true;
    st->end_out = end;
    if (h->acceptor)
        st->tunnel = st->is_connect && head->status < 300;
    http2_kick(h);
    return 0;
}

static bool takes_output(const struct http2_stream *st)
{
    return !st->gone && st->head_out && !st->end_out;
}

static void stream_send_data(struct http_stream *s, const void *data, size_t n)
{
    struct http2_stream *st = http2_stream_of(s);
    if (!takes_output(st) || n == 0)
        return;
    struct buf *to = &st->out;
    st->sent += n;
    if (!list_empty(&st->files)) {
        to = &container_of(st->files.prev, struct http2_file, node)->behind;
        st->behind += n;
    }
    if (!buf_append(to, data, n)) {
        st->behind -= to == &st->out ? 0 : n;
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
        return;
    }
    http2_stream_filled(st, n);
}

static void stream_send_file(struct http_stream *s, int fd, int64_t offset, size_t n)
{
    struct http2_stream *st = http2_stream_of(s);
    if (!takes_output(st)) {
        close(fd);
        return;
    }
    st->was_full = true;
    http2_file_add(st, fd, offset, n);
    if (st->gone)
        return;
    http2_stream_note_output(st, n);
    http2_stream_resume(st);
}

static void stream_send_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct http2_stream *st = http2_stream_of(s);
    if (!takes_output(st))
        return;
    if (!http2_trailers_keep(st, trailers, n)) {
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, EINVAL);
        return;
    }
    st->end_out = true;
    http2_stream_resume(st);
}

static void stream_consume(struct http_stream *s, size_t n)
{
    struct http2_stream *st = http2_stream_of(s);
    struct http2_session *h = st->h;
    if (n > st->unconsumed)
        n = st->unconsumed;
    if (st->gone || n == 0)
        return;
    st->unconsumed -= n;
    http2_stream_release(st, n);
    if (!st->in_ng || !h->ng || st->end_in)
        return;
    nghttp2_session_consume_stream(h->ng, st->id, n);
    if (!st->grown && h->limits->window > HTTP2_WINDOW_INITIAL && h->held < HTTP2_HELD_MAX / 2) {
        st->grown = true;
        nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, st->id,
                                              (int32_t)h->limits->window);
    }
    http2_kick(h);
}

static bool stream_writable(const struct http_stream *s)
{
    const struct http2_stream *st = container_of(s, const struct http2_stream, s);
    return takes_output(st) && list_empty(&st->files) && http2_stream_pending(st) < HTTP2_OUT_HIGH;
}

static void stream_reset(struct http_stream *s)
{
    http2_stream_reset(http2_stream_of(s), NGHTTP2_CANCEL, ECANCELED);
}

static void stream_give_up(struct http_stream *s, uint64_t delivered)
{
    struct http2_stream *st = http2_stream_of(s);
    uint32_t code = HTTP2_CODE_DELIVERED | (uint32_t)(delivered % HTTP2_CODE_DELIVERED);
    http2_stream_reset(st, st->h->acceptor ? NGHTTP2_CANCEL : code, ECANCELED);
}

void http2_stream_note_arrived(struct http2_stream *st, uint32_t code)
{
    if (!st->h->acceptor || !st->h->trusted || !(code & HTTP2_CODE_DELIVERED))
        return;
    /* The largest number with these last bits that is not more than what was sent. */
    uint64_t behind = (st->wired - code) % HTTP2_CODE_DELIVERED;
    st->arrived = behind <= st->wired ? st->wired - behind : 0;
    st->told = true;
}

static void stream_progress(const struct http_stream *s, uint64_t *sent, uint64_t *delivered)
{
    const struct http2_stream *st = container_of(s, const struct http2_stream, s);
    *sent = st->sent;
    if (delivered)
        *delivered = st->told ? st->arrived : st->wired;
}

const struct http_stream_ops http2_stream_ops = {
    .progress = stream_progress,
    .give_up = stream_give_up,
    .send_head = stream_send_head,
    .send_data = stream_send_data,
    .send_file = stream_send_file,
    .send_end = stream_send_end,
    .consume = stream_consume,
    .writable = stream_writable,
    .reset = stream_reset,
};
