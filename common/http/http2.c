/*
 * An HTTP/2 session: owner's calls, output, end.
 *
 * Who may be called from where: the user's events run inside http2_session_input() (which is called
 * from the loop) and from deferred work, never inside a call of the user's. nghttp2 must not be
 * entered again from its own callbacks, so everything that writes only submits, and http2_kick()
 * sees to the rest. Memory goes in run_work() alone, when nothing of the session is on the stack.
 *
 * The end: OPEN -> (GOAWAY both ways and no live stream, or an error) -> on_over -> free;
 *          OPEN -> http2_session_abort() -> last on_close -> free.
 */
#include "common/http/http2_internal.h"

#include "common/base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void run_work(struct deferred *d);

const uint8_t HTTP2_LAST_PING[8] = { 'l', 'a', 's', 't', 'p', 'i', 'n', 'g' };

void http2_kick(struct http2_session *h)
{
    if (!h->in_input && !h->muted)
        defer(h->defer, &h->work, run_work);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct http2_session *h = handle->data;
    if (--h->handles == 0)
        free(h);
}

static void on_late_time(uv_timer_t *timer)
{
    struct http2_session *h = container_of(timer, struct http2_session, late_timer);
    uint64_t now = uv_now(h->loop);
    while (!list_empty(&h->late)) {
        struct http2_stream *st = container_of(h->late.next, struct http2_stream, late);
        if (now - st->late_ms < HTTP2_LATE_MS) {
            uv_timer_start(timer, on_late_time, HTTP2_LATE_MS - (now - st->late_ms), 0);
            break;
        }
        list_remove(&st->late);
        if (h->ng)
            nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
    }
    http2_kick(h);
}

void http2_late_add(struct http2_stream *st)
{
    struct http2_session *h = st->h;
    if (!h->timers_open) {
        nghttp2_submit_rst_stream(h->ng, NGHTTP2_FLAG_NONE, st->id, NGHTTP2_NO_ERROR);
        return;
    }
    if (list_linked(&st->late))
        return;
    if (list_empty(&h->late))
        uv_timer_start(&h->late_timer, on_late_time, HTTP2_LATE_MS, 0);
    st->late_ms = uv_now(h->loop);
    list_push_back(&h->late, &st->late);
}

static void session_free(struct http2_session *h)
{
    assert(list_empty(&h->streams));
    defer_cancel(&h->work);
    http2_strict_deinit(h);
    if (h->timers_open) {
        uv_close((uv_handle_t *)&h->idle, on_timer_closed);
        uv_close((uv_handle_t *)&h->late_timer, on_timer_closed);
    } else {
        free(h);
    }
}

/* nghttp2's part goes; no stream is known to it any more. */
static void session_drop_ng(struct http2_session *h)
{
    if (!h->ng)
        return;
    nghttp2_session_del(h->ng);
    h->ng = NULL;
    list_for_each_safe (node, &h->streams) {
        struct http2_stream *st = container_of(node, struct http2_stream, node);
        if (!st->in_ng)
            continue;
        http2_stream_close(st, ECONNRESET); /* one whose head never became complete */
        http2_stream_left_ng(st);
    }
}

void http2_fail(struct http2_session *h, int errnum)
{
    if (h->error || h->aborted)
        return;
    h->error = errnum;
    h->draining = true;
    list_for_each_safe (node, &h->streams) {
        struct http2_stream *st = container_of(node, struct http2_stream, node);
        http2_stream_lose(st, errnum);
    }
    http2_kick(h);
}

void http2_enforce_held(struct http2_session *h)
{
    while (h->held > HTTP2_HELD_MAX && !list_empty(&h->waiting)) {
        struct http2_stream *st = container_of(h->waiting.next, struct http2_stream, waiting);
        if (!h->enforced) /* once: the peer can make it happen as often as it likes */
            log_warn("http2: streams without progress are reset, too much is held",
                     LOG_INT("held", h->held));
        h->enforced = true;
        http2_stream_reset(st, NGHTTP2_ENHANCE_YOUR_CALM, ECONNRESET);
    }
}

/* Write what nghttp2 has, within the bounds of one turn. */
static void session_output(struct http2_session *h)
{
    uint8_t chunk[HTTP2_WRITE_SIZE];
    size_t n = 0;
    size_t budget = HTTP2_TURN_BYTES;
    bool more = true;
    if (!h->ng || h->in_output)
        return;
    h->in_output = true;
    while (more && budget > 0 && io_pending(h->io) < HTTP2_TURN_BYTES) {
        const uint8_t *piece;
        ssize_t got = nghttp2_session_mem_send(h->ng, &piece);
        if (got < 0) {
            http2_fail(h, got == NGHTTP2_ERR_NOMEM ? ENOMEM : EPROTO);
            break;
        }
        more = got > 0;
        size_t take = (size_t)got;
        budget -= take < budget ? take : budget;
        if (n > 0 && (!more || n + take > sizeof(chunk))) {
            io_write(h->io, chunk, n);
            n = 0;
        }
        if (take > sizeof(chunk)) {
            io_write(h->io, piece, take);
        } else if (take > 0) {
            memcpy(chunk + n, piece, take);
            n += take;
        }
    }
    if (n > 0)
        io_write(h->io, chunk, n);
    h->in_output = false;
    /* With bytes queued the io tells when they are gone; else the next turn goes on. */
    if (more && !h->error && io_pending(h->io) == 0)
        http2_kick(h);
}

static void session_goaway(struct http2_session *h)
{
    if (h->goaway_asked || !h->ng)
        return;
    h->goaway_asked = true;
    int rc = nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
                                   nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
                                   NULL, 0);
    if (rc != 0)
        http2_fail(h, rc == NGHTTP2_ERR_NOMEM ? ENOMEM : EPROTO);
}

/*
 * The last words, once no stream is left. A client that drains asks for a sign that the server got
 * everything before it: nghttp2 reads nothing more after a GOAWAY that leaves no stream.
 */
static void session_say_goodbye(struct http2_session *h)
{
    if (h->live > 0 || !h->ng || h->error)
        return;
    if (h->goaway_received || h->ping_acked) {
        if (!h->untold)
            session_goaway(h);
    } else if (h->draining && !h->acceptor && !h->ping_asked) {
        h->ping_asked = true;
        if (nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, HTTP2_LAST_PING) != 0)
            http2_fail(h, ENOMEM);
    }
}

static bool session_is_over(const struct http2_session *h)
{
    if (h->live > 0)
        return false;
    if (h->error)
        return true;
    return h->goaway_sent || (h->untold && (h->ping_acked || h->goaway_received));
}

static void on_idle_time(uv_timer_t *timer)
{
    struct http2_session *h = container_of(timer, struct http2_session, idle);
    h->idle_on = false;
    if (h->live == 0)
        http2_session_drain(h);
}

/* The time without a request runs while there is none. */
static void session_watch_idle(struct http2_session *h)
{
    bool want = h->timers_open && h->limits->idle_ms > 0 && h->live == 0 && !h->draining;
    if (want && !h->idle_on)
        uv_timer_start(&h->idle, on_idle_time, h->limits->idle_ms, 0);
    else if (!want && h->idle_on)
        uv_timer_stop(&h->idle);
    h->idle_on = want;
}

/* What follows from anything that happened: answers to GOAWAY, output, the end. */
static void session_settle(struct http2_session *h)
{
    session_say_goodbye(h);
    session_output(h);
    if (h->ng && !h->error && !nghttp2_session_want_read(h->ng) &&
        !nghttp2_session_want_write(h->ng) && !h->goaway_asked && !h->goaway_received)
        http2_fail(h, EPROTO);
    session_watch_idle(h);
    if (session_is_over(h))
        http2_kick(h);
}

static void run_work(struct deferred *d)
{
    struct http2_session *h = container_of(d, struct http2_session, work);
    if (!h->aborted)
        session_settle(h);
    if (!h->aborted && session_is_over(h)) {
        h->aborted = true; /* for the user the pointer is dead after on_over */
        h->events->on_over(h, h->error);
        session_drop_ng(h);
    }
    if (h->aborted) {
        session_drop_ng(h);
        if (list_empty(&h->streams))
            session_free(h);
    }
}

static nghttp2_option *make_options(const struct http2_session *h)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_peer_max_concurrent_streams(o, (uint32_t)h->limits->requests_kept);
    nghttp2_option_set_max_outbound_ack(o, HTTP2_ACKS_MAX);
    if (h->limits->raise_resets)
        nghttp2_option_set_stream_reset_rate_limit(o, HTTP2_RESETS_RAISED, HTTP2_RESETS_RAISED);
    return o;
}

static int submit_settings(struct http2_session *h)
{
    size_t window =
        h->limits->window < HTTP2_WINDOW_INITIAL ? h->limits->window : HTTP2_WINDOW_INITIAL;
    const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)window },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)h->limits->head_bytes },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        h->acceptor ? (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                                (uint32_t)h->limits->requests_kept }
                    : (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
    };
    int rc = nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, entries,
                                     sizeof(entries) / sizeof(entries[0]));
    if (rc != 0)
        return rc;
    return nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
                                                 HTTP2_CONNECTION_WINDOW);
}

static bool make_ng(struct http2_session *h)
{
    nghttp2_session_callbacks *callbacks = http2_callbacks_new();
    nghttp2_option *options = make_options(h);
    int rc = NGHTTP2_ERR_NOMEM;
    if (callbacks && options && h->acceptor)
        rc = nghttp2_session_server_new2(&h->ng, callbacks, h, options);
    else if (callbacks && options)
        rc = nghttp2_session_client_new2(&h->ng, callbacks, h, options);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    if (rc == 0 && submit_settings(h) == 0)
        return true;
    if (rc == 0)
        nghttp2_session_del(h->ng);
    return false;
}

static void open_timers(struct http2_session *h)
{
    uv_timer_init(h->loop, &h->idle);
    uv_timer_init(h->loop, &h->late_timer);
    h->idle.data = h->late_timer.data = h;
    h->handles = 2;
    h->timers_open = true;
}

struct http2_session *http2_session_new(uv_loop_t *loop, struct io *io,
                                        const struct http2_options *options)
{
    struct http2_session *h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->loop = loop;
    h->io = io;
    h->defer = options->defer;
    h->limits = options->limits ? options->limits : &HTTP_LIMITS_DEFAULT;
    h->acceptor = options->acceptor;
    h->trusted = options->trusted;
    h->events = options->events;
    h->user = options->user;
    list_init(&h->streams);
    list_init(&h->waiting);
    list_init(&h->late);
    if (!make_ng(h)) {
        free(h);
        return NULL;
    }
    http2_strict_init(h);
    if (h->acceptor)
        open_timers(h);
    if (!options->held)
        http2_session_begin(h);
    return h;
}

void http2_session_begin(struct http2_session *h)
{
    session_output(h);
    session_watch_idle(h);
}

void *http2_session_user(const struct http2_session *h)
{
    return h->user;
}

size_t http2_session_streams(const struct http2_session *h)
{
    return h->live;
}

static ssize_t feed(struct http2_session *h, const uint8_t *data, size_t n)
{
    ssize_t used = n > 0 ? nghttp2_session_mem_recv(h->ng, data, n) : 0;
    return h->aborted && used >= 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : used;
}

/* Give bytes to nghttp2, stopping where a frame is to be checked in the light of those before. */
static ssize_t take_input(struct http2_session *h, const uint8_t *data, size_t n)
{
    size_t seen = 0, fed = 0;
    while (http2_strict_walk(h, data, n, &seen)) {
        size_t start = seen > HTTP2_FRAME_HEAD ? seen - HTTP2_FRAME_HEAD : 0;
        if (start > fed) {
            ssize_t used = feed(h, data + fed, start - fed);
            if (used < 0)
                return used;
            fed = start;
        }
        http2_strict_check(h);
    }
    return feed(h, data + fed, n - fed);
}

void http2_session_input(struct http2_session *h, const uint8_t *data, size_t n)
{
    if (h->aborted || h->error || !h->ng || h->in_input)
        return;
    h->in_input = true;
    ssize_t used = take_input(h, data, n);
    h->in_input = false;
    if (h->aborted) { /* by an event */
        http2_kick(h);
        return;
    }
    if (used < 0)
        http2_fail(h, used == NGHTTP2_ERR_NOMEM ? ENOMEM : EPROTO);
    else if (nghttp2_session_get_outbound_queue_size(h->ng) > HTTP2_FRAMES_MAX)
        http2_fail(h, EPROTO);
    session_settle(h);
}

void http2_session_writable(struct http2_session *h)
{
    if (!h->aborted && !h->in_input)
        session_settle(h);
}

struct http_stream *http2_session_stream(struct http2_session *h,
                                         const struct http_stream_events *events, void *user)
{
    if (h->acceptor || h->aborted || h->draining || !h->ng)
        return NULL;
    size_t most =
        nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (most > h->limits->requests_kept)
        most = h->limits->requests_kept;
    if (h->open >= most || h->live >= most)
        return NULL;
    if (!nghttp2_session_check_request_allowed(h->ng)) { /* out of stream numbers */
        http2_session_drain(h);
        return NULL;
    }
    struct http2_stream *st = http2_stream_new(h);
    if (!st)
        return NULL;
    st->exposed = true;
    h->live++;
    st->s.events = events;
    st->s.user = user;
    return &st->s;
}

void http2_session_drain(struct http2_session *h)
{
    if (h->aborted || h->error)
        return;
    h->draining = true;
    if (h->acceptor)
        session_goaway(h);
    http2_kick(h);
}

void http2_session_drain_untold(struct http2_session *h)
{
    h->untold = !h->acceptor;
    http2_session_drain(h);
}

void http2_session_mute(struct http2_session *h)
{
    assert(h->live == 0 && !h->aborted);
    h->muted = h->aborted = h->draining = true;
    defer_cancel(&h->work);
    if (h->timers_open)
        uv_timer_stop(&h->idle);
}

void http2_session_abort(struct http2_session *h, int errnum)
{
    if (h->aborted && !h->muted)
        return;
    h->muted = false;
    h->aborted = true;
    h->draining = true;
    list_for_each_safe (node, &h->streams) {
        struct http2_stream *st = container_of(node, struct http2_stream, node);
        http2_stream_lose(st, errnum);
    }
    defer(h->defer, &h->work, run_work);
}
