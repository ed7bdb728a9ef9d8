/* What nghttp2 tells a session. Nothing here calls nghttp2_session_mem_send() or _recv(). */
#include "common/http/http2_internal.h"

#include <errno.h>

/* After any event the user may have given the whole session up. */
static int go_on(const struct http2_session *h)
{
    return h->aborted ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static struct http2_stream *stream_by_id(nghttp2_session *ng, int32_t id)
{
    return id > 0 ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
}

/* Among others a request that nghttp2 refuses: no stream comes of it. */
static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *frame, int error, void *user)
{
    (void)ng;
    (void)error;
    if (frame->hd.type == NGHTTP2_HEADERS)
        http2_strict_note_reset(user, frame->hd.stream_id);
    return 0;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *h = user;
    if (!h->acceptor || frame->hd.type != NGHTTP2_HEADERS ||
        frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct http2_stream *st = http2_stream_new(h);
    if (!st)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    st->id = frame->hd.stream_id;
    st->in_ng = true;
    h->open++;
    nghttp2_session_set_stream_user_data(ng, st->id, st);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    (void)flags;
    (void)user;
    struct http2_stream *st = stream_by_id(ng, frame->hd.stream_id);
    if (!st || st->gone)
        return 0;
    struct str n = { (const char *)name, name_n };
    struct str v = { (const char *)value, value_n };
    return http2_head_take(st, n, v) == 0 ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                             void *user)
{
    (void)ng, (void)frame, (void)name, (void)name_n, (void)value, (void)value_n, (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the stream is reset, PROTOCOL_ERROR */
}

/* Whether what comes from the peer is of no interest any more: a request that was answered. */
static bool is_deaf(const struct http2_stream *st)
{
    return st->gone || (st->h->acceptor && st->end_out && !st->tunnel);
}

static void stream_ended(struct http2_stream *st)
{
    if (st->gone || st->end_in)
        return;
    st->end_in = true;
    if (!is_deaf(st) && st->s.events && st->s.events->on_end)
        st->s.events->on_end(&st->s, st->in.items, st->in.n);
}

/* A server answers heads that are too large itself; nobody has seen the request. */
static void refuse_head(struct http2_stream *st)
{
    const nghttp2_nv nv[] = {
        http2_nv(STR(":status"), STR("431")),
        http2_nv(STR("content-length"), STR("0")),
    };
    st->gone = true;
    if (nghttp2_submit_response(st->h->ng, st->id, nv, 2, NULL) != 0)
        http2_stream_reset(st, NGHTTP2_ENHANCE_YOUR_CALM, EPROTO);
}

static void request_arrived(struct http2_stream *st)
{
    struct http2_session *h = st->h;
    if (st->in.too_large) {
        refuse_head(st);
        return;
    }
    if (http2_head_finish(st) != 0) {
        http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR, EPROTO);
        return;
    }
    st->head_in = true;
    st->exposed = true;
    h->live++;
    st->s.trusted = h->trusted;
    const nghttp2_extpri small = { .urgency = HTTP2_URGENCY_SMALL, .inc = 1 };
    nghttp2_session_change_extpri_stream_priority(h->ng, st->id, &small, 1);
    h->acceptor->on_request(h->acceptor, &st->s, &st->head);
    if (st->head.expect_continue && !st->gone && !st->head_out) {
        const nghttp2_nv nv = http2_nv(STR(":status"), STR("100"));
        nghttp2_submit_headers(h->ng, NGHTTP2_FLAG_NONE, st->id, NULL, &nv, 1, NULL);
    }
}

static void response_arrived(struct http2_stream *st)
{
    if (st->in.too_large || http2_head_finish(st) != 0) {
        http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR, EPROTO);
        return;
    }
    if (st->head.status < 200) {
        if (++st->informational > HTTP2_INFORMATIONAL_MAX)
            http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR, EPROTO);
        st->head = (struct http_head){ .content_length = -1 };
        return;
    }
    st->head_in = true;
    st->tunnel = st->is_connect && st->head.status < 300;
    if (st->s.events->on_head)
        st->s.events->on_head(&st->s, &st->head);
}

static void headers_arrived(struct http2_session *h, struct http2_stream *st, bool end)
{
    if (st->gone)
        return;
    if (st->head_in) { /* trailers */
        if (st->in.too_large) {
            http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR, EPROTO);
            return;
        }
    } else {
        if (end && h->acceptor && !st->is_connect && st->head.content_length < 0)
            st->head.content_length = 0;
        if (h->acceptor)
            request_arrived(st);
        else
            response_arrived(st);
        st->in = (struct http2_fields){ 0 };
    }
    if (end)
        stream_ended(st);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *h = user;
    struct http2_stream *st = stream_by_id(ng, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && st) {
        headers_arrived(h, st, end);
    } else if (frame->hd.type == NGHTTP2_DATA && st) {
        if (end)
            stream_ended(st);
    } else if (frame->hd.type == NGHTTP2_RST_STREAM && st) {
        st->peer_reset = true;
        http2_stream_note_arrived(st, frame->rst_stream.error_code);
    } else if (frame->hd.type == NGHTTP2_PING) {
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && h->ping_asked &&
            memcmp(frame->ping.opaque_data, HTTP2_LAST_PING, sizeof(HTTP2_LAST_PING)) == 0)
            h->ping_acked = true;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        h->goaway_received = true;
        h->draining = h->draining || !h->acceptor;
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
            http2_fail(h, EPROTO);
    }
    return go_on(h);
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t n, void *user)
{
    (void)flags;
    struct http2_session *h = user;
    /* Connection credit at once: a reader that stalls keeps only its own stream's. */
    nghttp2_session_consume_connection(ng, n);
    struct http2_stream *st = stream_by_id(ng, id);
    if (!st || st->gone || n == 0)
        return 0;
    if (is_deaf(st))
        return 0; /* no credit: it has no more to send than fits in the window, or is reset */
    st->unconsumed += n;
    http2_stream_hold(st, n);
    if (!st->gone && st->s.events && st->s.events->on_data)
        st->s.events->on_data(&st->s, data, n);
    else if (!st->gone)
        http_consume(&st->s, n);
    return go_on(h);
}

static int close_errnum(const struct http2_stream *st, uint32_t code)
{
    if (code == NGHTTP2_NO_ERROR && (st->end_in || (st->h->acceptor && st->end_wired)))
        return 0;
    if (code == NGHTTP2_REFUSED_STREAM && !st->head_in)
        return ECONNREFUSED;
    bool protocol = code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
                    code == NGHTTP2_FRAME_SIZE_ERROR || code == NGHTTP2_COMPRESSION_ERROR ||
                    code == NGHTTP2_STREAM_CLOSED;
    return protocol && !st->peer_reset ? EPROTO : ECONNRESET;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    (void)user;
    struct http2_stream *st = stream_by_id(ng, id);
    if (!st)
        return 0;
    http2_stream_close(st, close_errnum(st, code));
    nghttp2_session_set_stream_user_data(ng, id, NULL);
    http2_stream_left_ng(st);
    return 0;
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    struct http2_session *h = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        h->goaway_sent = true;
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
            http2_fail(h, EPROTO);
        return 0;
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        http2_strict_note_reset(h, frame->hd.stream_id);
    struct http2_stream *st = stream_by_id(ng, frame->hd.stream_id);
    if (!st || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    st->head_wired = true;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    st->end_wired = true;
    /* The response is complete: what the client still sends of its request would wait forever. */
    if (h->acceptor && !st->tunnel && !nghttp2_session_get_stream_remote_close(ng, st->id))
        http2_late_add(st);
    return 0;
}

nghttp2_session_callbacks *http2_callbacks_new(void)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
    return c;
}
