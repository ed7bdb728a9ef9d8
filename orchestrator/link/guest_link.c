/* The host's end of the guest link. The rule is in docs/guest-link.md, the states are in
 * link_internal.h. */
#include "orchestrator/link/link_internal.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/link/link_limits.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* From anywhere the link may be quiesced or closed. */
#define ANYTIME (SM_TO(LINK_QUIET) | SM_TO(LINK_CLOSED))

static const struct sm_rule link_rules[LINK_STATE_NR] = {
    [LINK_PAUSE] = { "pause", SM_TO(LINK_CONNECT) | ANYTIME },
    [LINK_CONNECT] = { "connect", SM_TO(LINK_GREETING) | SM_TO(LINK_ACKING) | SM_TO(LINK_UP) |
                                      SM_TO(LINK_PAUSE) | ANYTIME },
    [LINK_GREETING] = { "greeting", SM_TO(LINK_UP) | SM_TO(LINK_PAUSE) | ANYTIME },
    [LINK_ACKING] = { "acking",
                      SM_TO(LINK_ANSWERING) | SM_TO(LINK_UP) | SM_TO(LINK_PAUSE) | ANYTIME },
    [LINK_ANSWERING] = { "answering", SM_TO(LINK_UP) | SM_TO(LINK_PAUSE) | ANYTIME },
    [LINK_UP] = { "up", SM_TO(LINK_PAUSE) | SM_TO(LINK_DRAINING) | SM_TO(LINK_CLOSED) },
    [LINK_DRAINING] = { "draining", ANYTIME },
    [LINK_QUIET] = { "quiet", SM_TO(LINK_PAUSE) | SM_TO(LINK_QUIET) | SM_TO(LINK_CLOSED) },
    [LINK_CLOSED] = { "closed", 0 },
};

static void on_timer(uv_timer_t *timer);

/* The timer: a pause, or a deadline that may count running VM time only. */

static void timer_go(struct guest_link *l)
{
    l->timer_from = uv_now(l->loop);
    uv_timer_start(&l->timer, on_timer, l->timer_left, 0);
}

void link_timer_set(struct guest_link *l, uint64_t ms, bool waits)
{
    uv_timer_stop(&l->timer);
    uv_update_time(l->loop);
    l->timer_waits = waits;
    l->timer_left = ms;
    if (!waits || l->vm_running)
        timer_go(l);
}

static void timer_off(struct guest_link *l)
{
    uv_timer_stop(&l->timer);
    l->timer_waits = false;
}

void guest_link_set_vm_running(struct guest_link *l, bool running)
{
    if (running == l->vm_running)
        return;
    l->vm_running = running;
    if (!l->timer_waits)
        return;
    uv_update_time(l->loop);
    if (running) {
        timer_go(l);
        return;
    }
    uint64_t gone = uv_now(l->loop) - l->timer_from;
    l->timer_left = gone < l->timer_left ? l->timer_left - gone : 1;
    uv_timer_stop(&l->timer);
}

/* One connection. */

static struct link_conn *conn_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct link_conn, fd);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct link_conn *conn = container_of((uv_poll_t *)handle, struct link_conn, poll);
    close(conn->raw);
    free(conn);
}

/* Give session and connection up. */
static void link_cut(struct guest_link *l)
{
    struct link_conn *conn = TAKE(l->conn);
    guest_calls_forget_first(l);
    if (l->session)
        http2_session_abort(TAKE(l->session), ECONNRESET);
    if (!conn)
        return;
    conn->l = NULL;
    if (conn->raw >= 0 && uv_is_closing((uv_handle_t *)&conn->poll))
        return; /* on_poll_done() sees to it */
    if (conn->raw >= 0)
        uv_close((uv_handle_t *)&conn->poll, on_poll_closed);
    else
        io_close(&conn->fd.io, false);
}

/* Give the session up, and of a virtio-serial port not the connection: QEMU would tell the guest
 * that its host has gone, and a copy that was saved like that once more that it has one. */
static void link_hush(struct guest_link *l)
{
    if (l->address.opener != LINK_VIRTIO_SERIAL || !l->conn)
        link_cut(l);
    else if (l->session)
        http2_session_abort(TAKE(l->session), ECONNRESET);
}

/* Try again later. */
static void link_pause(struct guest_link *l)
{
    link_cut(l);
    sm_move(&l->sm, LINK_PAUSE);
    link_timer_set(l, l->pause_ms, false);
}

void link_try_failed(struct guest_link *l, int errnum)
{
    log_debug("guest link: no session", LOG_STR("path", l->address.path), LOG_INT("errno", errnum),
              LOG_INT("garbage", l->garbage));
    if (errnum == ETIMEDOUT)
        l->pause_ms = LINK_PAUSE_MIN_MS;
    link_pause(l);
    if (errnum != ETIMEDOUT)
        l->pause_ms = l->pause_ms * 2 < LINK_PAUSE_MAX_MS ? l->pause_ms * 2 : LINK_PAUSE_MAX_MS;
}

static void tell_down(struct guest_link *l)
{
    if (l->events && l->events->on_down)
        l->events->on_down(l);
}

static void link_quieted(struct guest_link *l, int rc)
{
    void (*done)(void *, int) = l->quiesce_done;
    void *user = l->quiesce_user;
    l->quiesce_done = NULL;
    link_hush(l);
    timer_off(l);
    sm_move(&l->sm, LINK_QUIET);
    tell_down(l);
    if (sm_state(&l->sm) != LINK_CLOSED && done)
        done(user, rc);
}

/* The session, or the connection under it, is gone. */
static void link_lost(struct guest_link *l, int errnum)
{
    switch ((enum link_state)sm_state(&l->sm)) {
    case LINK_UP:
        log_warn("guest link lost", LOG_STR("path", l->address.path), LOG_INT("errno", errnum));
        if (uv_now(l->loop) - l->up_since >= LINK_STABLE_MS)
            l->pause_ms = LINK_PAUSE_MIN_MS;
        link_pause(l);
        l->pause_ms = l->pause_ms * 2 < LINK_PAUSE_MAX_MS ? l->pause_ms * 2 : LINK_PAUSE_MAX_MS;
        tell_down(l);
        break;
    case LINK_DRAINING:
        link_quieted(l, -errnum);
        break;
    case LINK_CONNECT:
    case LINK_GREETING:
    case LINK_ACKING:
    case LINK_ANSWERING:
        link_try_failed(l, errnum);
        break;
    case LINK_PAUSE:
    case LINK_QUIET:
    case LINK_CLOSED:
    case LINK_STATE_NR:
        break;
    }
}

static void on_over(struct http2_session *h, int errnum)
{
    struct guest_link *l = http2_session_user(h);
    l->session = NULL;
    if (sm_state(&l->sm) == LINK_DRAINING && errnum == 0)
        link_quieted(l, 0);
    else
        link_lost(l, errnum ? errnum : ECONNRESET);
}

static const struct http2_events session_events = { .on_over = on_over };

void link_up(struct guest_link *l)
{
    const struct http2_options options = {
        .defer = l->defer,
        .limits = &LINK_LIMITS_HOST,
        .events = &session_events,
        .user = l,
    };
    l->session = http2_session_new(l->loop, &l->conn->fd.io, &options);
    if (!l->session) {
        link_try_failed(l, ENOMEM);
        return;
    }
    timer_off(l);
    l->up_since = uv_now(l->loop);
    sm_move(&l->sm, LINK_UP);
    guest_calls_start(l);
    if (l->events && l->events->on_up)
        l->events->on_up(l);
}

static size_t take_greeting(struct guest_link *l, const uint8_t *data, size_t n)
{
    size_t used;
    int rc = hybrid_greeting_feed(&l->greeting, data, n, &used);
    if (rc > 0)
        link_up(l);
    else if (rc < 0)
        link_try_failed(l, -rc);
    return used;
}

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct link_conn *conn = conn_of(io);
    while (n > 0 && conn->l) { /* any step may give the connection up */
        struct guest_link *l = conn->l;
        size_t used = n;
        if (sm_state(&l->sm) == LINK_ACKING)
            used = link_take_ack(l, data, n);
        else if (sm_state(&l->sm) == LINK_ANSWERING)
            used = link_take_answer(l, data, n);
        else if (sm_state(&l->sm) == LINK_GREETING)
            used = take_greeting(l, data, n);
        else if (l->session)
            http2_session_input(l->session, data, n);
        data += used;
        n -= used;
    }
}

static void on_eof(struct io *io)
{
    struct link_conn *conn = conn_of(io);
    if (conn->l)
        link_lost(conn->l, ECONNRESET);
}

static void on_error(struct io *io, int errnum)
{
    struct link_conn *conn = conn_of(io);
    if (conn->l)
        link_lost(conn->l, errnum);
}

static void on_drain(struct io *io)
{
    struct link_conn *conn = conn_of(io);
    if (conn->l && conn->l->session)
        http2_session_writable(conn->l->session);
}

static void on_closed(struct io *io)
{
    free(conn_of(io));
}

static const struct io_events conn_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void send_greeting(struct guest_link *l)
{
    char line[HYBRID_LINE_MAX];
    int n = snprintf(line, sizeof(line), "CONNECT %u\n", l->address.port);
    l->greeting = (struct hybrid_greeting){ 0 };
    sm_move(&l->sm, LINK_GREETING);
    link_timer_set(l, LINK_GREETING_MS, true);
    io_write(&l->conn->fd.io, line, (size_t)n);
}

static void link_connected(struct guest_link *l, int fd)
{
    struct link_conn *conn = l->conn;
    int rc = io_fd_init(&conn->fd, l->loop, fd, IO_FD_STREAM, &conn_events);
    if (rc < 0) {
        close(fd);
        free(TAKE(l->conn));
        link_try_failed(l, -rc);
        return;
    }
    io_read_start(&conn->fd.io);
    if (l->address.opener == LINK_VIRTIO_SERIAL)
        link_send_marker(l);
    else if (l->address.opener == LINK_HYBRID_VSOCK)
        send_greeting(l);
    else
        link_up(l);
}

/* The connection is made: its descriptor goes over to the io, once libuv has let go of it. */
static void on_poll_done(uv_handle_t *handle)
{
    struct link_conn *conn = container_of((uv_poll_t *)handle, struct link_conn, poll);
    int fd = TAKE_FD(conn->raw);
    if (conn->l) {
        link_connected(conn->l, fd);
        return;
    }
    close(fd);
    free(conn);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
    struct link_conn *conn = container_of(poll, struct link_conn, poll);
    int errnum = 0;
    socklen_t n = sizeof(errnum);
    (void)events;
    if (getsockopt(conn->raw, SOL_SOCKET, SO_ERROR, &errnum, &n) < 0)
        errnum = errno;
    if (errnum == 0 && status < 0)
        errnum = -status;
    if (errnum) {
        link_try_failed(conn->l, errnum);
        return;
    }
    uv_close((uv_handle_t *)poll, on_poll_done);
}

static void link_connect(struct guest_link *l)
{
    bool connecting;
    sm_move(&l->sm, LINK_CONNECT);
    AUTO_CLOSE int fd = stream_open(&l->address, &connecting);
    if (fd < 0) {
        link_try_failed(l, -fd);
        return;
    }
    l->conn = calloc(1, sizeof(*l->conn));
    if (!l->conn) {
        link_try_failed(l, ENOMEM);
        return;
    }
    l->conn->l = l;
    l->conn->raw = -1;
    if (!connecting) {
        link_connected(l, TAKE_FD(fd));
        return;
    }
    int rc = uv_poll_init(l->loop, &l->conn->poll, fd);
    if (rc < 0) {
        free(TAKE(l->conn));
        link_try_failed(l, -rc);
        return;
    }
    l->conn->raw = TAKE_FD(fd);
    uv_poll_start(&l->conn->poll, UV_WRITABLE, on_connected);
    link_timer_set(l, LINK_CONNECT_MS, true);
}

static void on_timer(uv_timer_t *timer)
{
    struct guest_link *l = container_of(timer, struct guest_link, timer);
    if (sm_state(&l->sm) == LINK_PAUSE)
        link_connect(l);
    else
        link_lost(l, ETIMEDOUT);
}

/* The owner's calls. */

struct guest_link *guest_link_new(uv_loop_t *loop, struct defer_queue *defer,
                                  const struct link_address *address,
                                  const uint8_t secret[static LINK_SECRET_SIZE],
                                  const struct guest_link_events *events, void *user)
{
    struct guest_link *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    if (uv_timer_init(loop, &l->timer) != 0) {
        free(l);
        return NULL;
    }
    l->loop = loop;
    l->defer = defer;
    l->address = *address;
    l->events = events;
    l->user = user;
    l->vm_running = true;
    l->pause_ms = LINK_PAUSE_MIN_MS;
    l->ack_ms = LINK_ACK_FIRST_MS;
    list_init(&l->calls);
    guest_link_set_secret(l, secret);
    size_t n = strlen(l->address.path);
    size_t shown = sizeof(l->sm.id) - 1;
    sm_init(&l->sm, "link", n > shown ? l->address.path + n - shown : l->address.path, link_rules,
            LINK_PAUSE);
    link_timer_set(l, 0, false);
    return l;
}

void *guest_link_user(const struct guest_link *l)
{
    return l->user;
}

bool guest_link_is_up(const struct guest_link *l)
{
    return sm_state(&l->sm) == LINK_UP;
}

struct http2_session *guest_link_session(struct guest_link *l)
{
    return guest_link_is_up(l) ? l->session : NULL;
}

struct http_stream *guest_link_stream(struct guest_link *l, const struct http_stream_events *events,
                                      void *user)
{
    return guest_link_is_up(l) ? http2_session_stream(l->session, events, user) : NULL;
}

static void on_nothing_to_quiesce(struct deferred *d)
{
    struct guest_link *l = container_of(d, struct guest_link, quiesce);
    void (*done)(void *, int) = l->quiesce_done;
    l->quiesce_done = NULL;
    done(l->quiesce_user, -ENOTCONN);
}

void guest_link_quiesce(struct guest_link *l, unsigned timeout_ms, enum guest_link_end end,
                        void (*done)(void *user, int rc), void *user)
{
    assert(!l->quiesce_done);
    l->quiesce_done = done;
    l->quiesce_user = user;
    if (guest_link_is_up(l)) {
        sm_move(&l->sm, LINK_DRAINING);
        link_timer_set(l, timeout_ms, false);
        if (end == GUEST_LINK_END_TOLD)
            http2_session_drain(l->session);
        else
            http2_session_drain_untold(l->session);
        return;
    }
    link_cut(l);
    timer_off(l);
    sm_move(&l->sm, LINK_QUIET);
    defer(l->defer, &l->quiesce, on_nothing_to_quiesce);
}

void guest_link_resume(struct guest_link *l)
{
    if (sm_state(&l->sm) != LINK_QUIET)
        return;
    link_cut(l);
    l->pause_ms = LINK_PAUSE_MIN_MS;
    l->ack_ms = LINK_ACK_FIRST_MS;
    sm_move(&l->sm, LINK_PAUSE);
    link_timer_set(l, 0, false);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct guest_link, timer));
}

void guest_link_close(struct guest_link *l)
{
    if (sm_state(&l->sm) == LINK_CLOSED)
        return;
    sm_move(&l->sm, LINK_CLOSED);
    link_cut(l);
    guest_calls_fail(l);
    defer_cancel(&l->quiesce);
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
