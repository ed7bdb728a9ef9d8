/*
 * envd's end of the guest link, by the rule of docs/guest-link.md.
 *
 * The port is opened once and never closed while envd runs, since closing discards what the host
 * has already sent. All input goes through the scanner; a marker ends whatever session there was
 * and begins a new one. Hang-ups and ends of file on the port mean nothing.
 */
#include "envd/guest/link_internal.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/link/link_limits.h"
#include "envd/guest/identity.h"
#include "envd/guest/service.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
// clang-format off
#include <sys/socket.h>
#include <linux/vm_sockets.h>
// clang-format on

static struct link_end *end_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct link_end, fd);
}

static void abort_session(struct http2_session **session)
{
    if (*session)
        http2_session_abort(TAKE(*session), ECONNRESET);
}

/* The session is over. One without streams has no more to say: its memory can wait, for a restored
 * guest that is waited for. */
static void end_session_leave(struct link_end *end)
{
    abort_session(&end->last);
    if (!end->session || http2_session_streams(end->session) > 0) {
        abort_session(&end->session);
        return;
    }
    end->last = TAKE(end->session);
    http2_session_mute(end->last);
}

static void on_over(struct http2_session *h, int errnum)
{
    struct link_end *end = http2_session_user(h);
    end->session = NULL;
    if (errnum)
        log_warn("guest link: session broken", LOG_INT("errno", errnum));
    /* The port waits for the next marker. A vsock connection has no next session. */
    if (!end->marked && io_pending(&end->fd.io) == 0)
        link_end_close(end);
}

static const struct http2_events session_events = { .on_over = on_over };

static struct http2_session *make_session(struct link_end *end)
{
    const struct http2_options options = {
        .defer = &end->l->e->defer,
        .limits = &LINK_LIMITS_GUEST,
        .acceptor = &end->l->own,
        .trusted = true,
        .held = true,
        .events = &session_events,
        .user = end,
    };
    return http2_session_new(end->l->e->loop, &end->fd.io, &options);
}

static void on_ahead(uv_timer_t *timer)
{
    struct link_end *end = container_of(timer, struct link_end, ahead);
    abort_session(&end->last);
    if (!end->next)
        end->next = make_session(end);
}

static void end_session_start(struct link_end *end)
{
    end->session = end->next ? TAKE(end->next) : make_session(end);
    if (end->session)
        http2_session_begin(end->session);
    if (end->marked)
        uv_timer_start(&end->ahead, on_ahead, LINK_AHEAD_MS, 0);
}

static void answer_first(struct link_end *end)
{
    struct buf answer = { 0 };
    if (guest_first_call(end->l->e, &end->call, &answer))
        io_write(&end->fd.io, buf_head(&answer), buf_len(&answer));
    buf_deinit(&answer);
}

/* Answer the calls that come before the session; the first byte of anything else begins that.
 * Returns how many bytes were taken. */
static size_t take_first_calls(struct link_end *end, const uint8_t *data, size_t n)
{
    size_t taken = 0;
    while (taken < n && end->calls) {
        size_t used;
        int rc = link_frame_feed(&end->call, data + taken, n - taken, &used);
        taken += used;
        if (rc > 0)
            answer_first(end);
        if (rc < 0)
            end->calls = false;
        if (rc == -EPROTO)
            end_session_start(end);
    }
    return taken;
}

/* Bytes that are no marker: a first call's, the session's, or nobody's. */
static void pass_on(void *user, const uint8_t *data, size_t n)
{
    struct link_end *end = user;
    if (end->calls) {
        size_t taken = take_first_calls(end, data, n);
        data += taken;
        n -= taken;
    }
    if (end->session && n > 0)
        http2_session_input(end->session, data, n);
}

static void on_hold(uv_timer_t *timer)
{
    struct link_end *end = container_of(timer, struct link_end, hold);
    link_scanner_release(&end->scanner, pass_on, end);
}

static void on_marked_data(struct link_end *end, const uint8_t *data, size_t n)
{
    uint8_t answer[LINK_ACK_SIZE + LINK_NONCE_SIZE];
    /* Not while a marker is half read: that one still counts. */
    if (end->secret_changed && end->scanner.nheld < LINK_SECRET_SIZE) {
        end->secret_changed = false;
        link_scanner_change(&end->scanner, end->l->secret, pass_on, end);
    }
    while (n > 0) {
        size_t used;
        bool found =
            link_scanner_feed(&end->scanner, data, n, pass_on, end, answer + LINK_ACK_SIZE, &used);
        data += used;
        n -= used;
        if (!found || end->l->closing)
            continue;
        /* What the old session left queued in the port goes before the answer; the host discards
         * everything up to it. */
        end_session_leave(end);
        memcpy(answer, LINK_ACK, LINK_ACK_SIZE);
        io_write(&end->fd.io, answer, sizeof(answer));
        link_frame_deinit(&end->call);
        end->calls = true;
    }
    if (end->l->closing)
        return;
    if (end->scanner.nheld > 0)
        uv_timer_start(&end->hold, on_hold, LINK_HOLD_MS, 0);
    else
        uv_timer_stop(&end->hold);
}

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct link_end *end = end_of(io);
    if (end->marked)
        on_marked_data(end, data, n);
    else
        pass_on(end, data, n);
}

static void on_eof(struct io *io)
{
    struct link_end *end = end_of(io);
    if (!end->marked)
        link_end_close(end);
}

static void on_drain(struct io *io)
{
    struct link_end *end = end_of(io);
    if (end->session)
        http2_session_writable(end->session);
    else if (!end->marked)
        link_end_close(end);
}

static void on_error(struct io *io, int errnum)
{
    struct link_end *end = end_of(io);
    if (end->marked)
        log_error("guest link: the port failed", LOG_INT("errno", errnum));
    link_end_close(end);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct link_end *end = handle->data;
    struct envd_link *l = end->l;
    if (--end->handles > 0)
        return;
    list_remove(&end->node);
    free(end);
    link_handle_closed(l);
}

static void on_closed(struct io *io)
{
    struct link_end *end = end_of(io);
    uv_close((uv_handle_t *)&end->hold, on_timer_closed);
    uv_close((uv_handle_t *)&end->ahead, on_timer_closed);
}

static void open_timers(struct link_end *end)
{
    uv_timer_init(end->l->e->loop, &end->hold);
    uv_timer_init(end->l->e->loop, &end->ahead);
    end->hold.data = end->ahead.data = end;
    end->handles = 2;
}

static const struct io_events end_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_closed = on_closed,
};

int link_end_add(struct envd_link *l, int fd, enum io_fd_kind kind, bool marked)
{
    AUTO_FREE struct link_end *end = calloc(1, sizeof(*end));
    if (!end)
        return -ENOMEM;
    end->l = l;
    end->marked = marked;
    int rc = io_fd_init(&end->fd, l->e->loop, fd, kind, &end_events);
    if (rc < 0)
        return rc;
    open_timers(end);
    link_scanner_init(&end->scanner, l->secret);
    list_push_back(&l->ends, &end->node);
    l->handles++;
    if (!marked)
        end_session_start(end);
    io_read_start(&end->fd.io);
    (void)TAKE(end);
    return 0;
}

void link_end_close(struct link_end *end)
{
    abort_session(&end->session);
    abort_session(&end->next);
    abort_session(&end->last);
    link_frame_deinit(&end->call);
    end->calls = false;
    uv_timer_stop(&end->hold);
    uv_timer_stop(&end->ahead);
    io_close(&end->fd.io, false);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct envd_link *l = container_of(a, struct envd_link, own);
    if (str_eq(head->method, STR("CONNECT"))) {
        identity_settle(l->e);
        link_connect_serve(l, s, head);
        return;
    }
    l->acceptor->on_request(l->acceptor, s, head);
}

struct envd_link *link_alloc(struct envd *e, struct http_acceptor *acceptor)
{
    struct envd_link *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->e = e;
    l->acceptor = acceptor;
    l->own.on_request = on_request;
    l->vsock = -1;
    list_init(&l->ends);
    memcpy(l->secret, LINK_SECRET_INITIAL, sizeof(l->secret));
    return l;
}

static int add_port(struct envd_link *l)
{
    AUTO_CLOSE int fd = link_port_open("/sys/class/virtio-ports", "/dev", LINK_PORT_NAME);
    if (fd < 0)
        return fd;
    int rc = link_end_add(l, fd, IO_FD_PORT, true);
    if (rc == 0)
        (void)TAKE_FD(fd);
    return rc;
}

static void on_search(uv_timer_t *timer)
{
    struct envd_link *l = container_of(timer, struct envd_link, search);
    int rc = add_port(l);
    if (rc == 0) {
        uv_timer_stop(timer);
    } else if (clock_mono_ms() > l->search_until_ms) {
        uv_timer_stop(timer);
        if (!l->vsock_open)
            log_error("no guest link: no port " LINK_PORT_NAME " and no vsock",
                      LOG_INT("errno", -rc));
    }
}

int envd_link_start(struct envd_link **out, struct envd *e, struct http_acceptor *acceptor,
                    struct err *err)
{
    struct envd_link *l = link_alloc(e, acceptor);
    if (!l)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    int rc = add_port(l);
    if (rc < 0 && link_vsock_listen(l, LINK_VSOCK_PORT, VMADDR_CID_HOST) < 0 && !e->is_guest) {
        free(l);
        return err_set(err, ERR_UNAVAILABLE, ENODEV, "no port %s and no vsock: %s", LINK_PORT_NAME,
                       strerror(-rc));
    }
    if (rc < 0 && uv_timer_init(e->loop, &l->search) == 0) {
        l->search_open = true;
        l->handles++;
        l->search_until_ms = clock_mono_ms() + LINK_SEARCH_MS;
        uv_timer_start(&l->search, on_search, LINK_SEARCH_PAUSE_MS, LINK_SEARCH_PAUSE_MS);
    }
    *out = l;
    return 0;
}

int envd_link_start_fd(struct envd_link **out, struct envd *e, struct http_acceptor *acceptor,
                       int fd, struct err *err)
{
    struct envd_link *l = link_alloc(e, acceptor);
    if (!l)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    int rc = link_end_add(l, fd, IO_FD_PORT, true);
    if (rc < 0) {
        free(l);
        return err_set(err, ERR_INTERNAL, -rc, "watch the link: %s", strerror(-rc));
    }
    *out = l;
    return 0;
}

void envd_link_set_secret(struct envd_link *l, const uint8_t *secret)
{
    memcpy(l->secret, secret, sizeof(l->secret));
    list_for_each (node, &l->ends)
        container_of(node, struct link_end, node)->secret_changed = true;
}

void link_handle_closed(struct envd_link *l)
{
    if (--l->handles > 0 || !l->closing)
        return;
    free(l);
}

static void on_search_closed(uv_handle_t *handle)
{
    link_handle_closed(container_of((uv_timer_t *)handle, struct envd_link, search));
}

static void on_vsock_closed(uv_handle_t *handle)
{
    link_handle_closed(container_of((uv_poll_t *)handle, struct envd_link, vsock_poll));
}

void envd_link_close(struct envd_link *l)
{
    if (l->closing)
        return;
    l->closing = true;
    l->handles++;
    list_for_each_safe (node, &l->ends)
        link_end_close(container_of(node, struct link_end, node));
    if (l->search_open)
        uv_close((uv_handle_t *)&l->search, on_search_closed);
    if (l->vsock_open) {
        uv_close((uv_handle_t *)&l->vsock_poll, on_vsock_closed);
        close(l->vsock);
    }
    link_handle_closed(l);
}
