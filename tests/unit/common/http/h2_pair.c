#include "tests/unit/common/http/h2_pair.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RUN_MS   20000
#define BIG_SIZE (1ULL << 30)

struct served {
    uint32_t magic;
    struct h2_pair *p;
    uint64_t left; /* of /big */
    bool echo, trailers;
    size_t owed; /* echo: bytes to consume when there is room */
};
#define SERVED_MAGIC 0x5e4d

static struct h2_side *side_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct h2_side, fd);
}

static void side_on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct h2_side *side = side_of(io);
    if (side->h)
        http2_session_input(side->h, data, n);
}

static void side_down(struct io *io)
{
    struct h2_side *side = side_of(io);
    if (side->h)
        http2_session_abort(TAKE(side->h), ECONNRESET);
}

static void side_on_error(struct io *io, int errnum)
{
    (void)errnum;
    side_down(io);
}

static void side_on_drain(struct io *io)
{
    struct h2_side *side = side_of(io);
    if (side->h)
        http2_session_writable(side->h);
}

static void side_on_closed(struct io *io)
{
    side_of(io)->closed = true;
}

static const struct io_events side_events = {
    .on_data = side_on_data,
    .on_eof = side_down,
    .on_error = side_on_error,
    .on_drain = side_on_drain,
    .on_closed = side_on_closed,
};

static void on_over(struct http2_session *h, int errnum)
{
    struct h2_side *side = http2_session_user(h);
    side->h = NULL;
    side->overs++;
    side->over_errnum = errnum;
}

static const struct http2_events session_events = { .on_over = on_over };

static struct served *served_of(struct http_stream *s)
{
    struct served *v = s->user;
    assert_int_equal(v->magic, SERVED_MAGIC);
    return v;
}

static void served_go_on(struct http_stream *s)
{
    static const uint8_t zeros[16384];
    struct served *v = served_of(s);
    while (v->left > 0 && http_writable(s)) {
        size_t n = v->left < sizeof(zeros) ? (size_t)v->left : sizeof(zeros);
        http_send_data(s, zeros, n);
        v->left -= n;
        if (v->left == 0)
            http_send_end(s);
    }
    if (v->owed > 0 && http_writable(s)) {
        http_consume(s, v->owed);
        v->owed = 0;
    }
}

static void served_on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct served *v = served_of(s);
    if (!v->echo) {
        http_consume(s, n);
        return;
    }
    http_send_data(s, data, n);
    v->owed += n;
    served_go_on(s);
}

static void served_on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct served *v = served_of(s);
    if (v->trailers) {
        struct http_field back = { STR("x-count"), n > 0 ? trailers[0].value : STR("none") };
        http_send_trailers(s, &back, 1);
    } else if (v->echo) {
        http_send_end(s);
    }
}

static void served_on_close(struct http_stream *s, int errnum)
{
    struct served *v = served_of(s);
    v->p->server_closes++;
    v->p->last_server_errnum = errnum;
    v->magic = 0;
}

static const struct http_stream_events served_events = {
    .on_data = served_on_data,
    .on_end = served_on_end,
    .on_writable = served_go_on,
    .on_close = served_on_close,
};

static void serve_head(struct http_stream *s, const struct http_head *head)
{
    struct buf text = { 0 };
    buf_printf(&text, "%.*s %.*s %.*s %lld %d", STR_ARG(head->method), STR_ARG(head->target),
               STR_ARG(head->authority), (long long)head->content_length, head->expect_continue);
    for (size_t i = 0; i < head->nfields; i++)
        buf_printf(&text, "|%.*s=%.*s", STR_ARG(head->fields[i].name),
                   STR_ARG(head->fields[i].value));
    http_respond(s, 200, "text/plain", buf_head(&text), buf_len(&text));
    buf_deinit(&text);
}

static void serve_file(struct http_stream *s)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < 400000; i += 4)
        assert_int_equal(write(fd, &i, 4), 4);
    struct http_head head = { .status = 200, .content_length = 300004 };
    http_send_head(s, &head, false);
    http_send_file(s, fd, 4000, 300000);
    http_send_data(s, "tail", 4);
    http_send_end(s);
}

static void serve_huge(struct http_stream *s)
{
    static char text[40000];
    memset(text, 'a', sizeof(text));
    struct http_field fields[] = { { STR("a"), { text, sizeof(text) } },
                                   { STR("b"), { text, 20000 } } };
    struct http_head head = { .status = 200, .content_length = -1, .fields = fields, .nfields = 2 };
    assert_int_equal(http_send_head(s, &head, true), 0);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct h2_pair *p = container_of(a, struct h2_pair, acceptor);
    struct http_head ok = { .status = 200, .content_length = -1 };
    struct served *v = arena_zalloc(&s->arena, sizeof(*v));
    v->magic = SERVED_MAGIC;
    v->p = p;
    s->user = v;
    s->events = &served_events;
    p->requests++;
    if (str_eq(head->method, STR("CONNECT"))) {
        v->echo = str_eq(head->target, STR("echo:1"));
        ok.status = v->echo ? 200 : 502;
        http_send_head(s, &ok, !v->echo);
    } else if (str_eq(head->target, STR("/small"))) {
        http_respond(s, 200, "text/plain", "hello", 5);
    } else if (str_eq(head->target, STR("/echo")) || str_eq(head->target, STR("/trailers"))) {
        v->echo = true;
        v->trailers = str_eq(head->target, STR("/trailers"));
        http_send_head(s, &ok, false);
    } else if (str_eq(head->target, STR("/big"))) {
        v->left = BIG_SIZE;
        http_send_head(s, &ok, false);
        served_go_on(s);
    } else if (str_eq(head->target, STR("/head"))) {
        serve_head(s, head);
    } else if (str_eq(head->target, STR("/early"))) {
        http_respond(s, 413, NULL, "no", 2);
    } else if (str_eq(head->target, STR("/file"))) {
        serve_file(s);
    } else if (str_eq(head->target, STR("/huge"))) {
        serve_huge(s);
    } else if (!str_eq(head->target, STR("/none"))) {
        http_respond(s, 404, NULL, "", 0);
    }
}

void h2_pair_start(struct h2_pair *p, const struct http_limits *limits)
{
    int fds[2];
    *p = (struct h2_pair){ .acceptor.on_request = on_request,
                           .limits = limits ? *limits : HTTP_LIMITS_DEFAULT };
    assert_int_equal(uv_loop_init(&p->loop), 0);
    defer_queue_init(&p->defer, &p->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(io_fd_init(&p->client.fd, &p->loop, fds[0], IO_FD_STREAM, &side_events), 0);
    assert_int_equal(io_fd_init(&p->server.fd, &p->loop, fds[1], IO_FD_STREAM, &side_events), 0);
    struct http2_options options = {
        .defer = &p->defer, .limits = &p->limits, .events = &session_events, .user = &p->client
    };
    p->client.h = http2_session_new(&p->loop, &p->client.fd.io, &options);
    options.acceptor = &p->acceptor;
    options.trusted = true;
    options.user = &p->server;
    p->server.h = http2_session_new(&p->loop, &p->server.fd.io, &options);
    assert_non_null(p->client.h);
    assert_non_null(p->server.h);
    io_read_start(&p->client.fd.io);
    io_read_start(&p->server.fd.io);
}

static bool both_closed(void *arg)
{
    struct h2_pair *p = arg;
    return p->client.closed && p->server.closed && p->server_closes == p->requests;
}

void h2_pair_stop(struct h2_pair *p)
{
    if (p->client.h)
        http2_session_abort(TAKE(p->client.h), ECONNRESET);
    if (p->server.h)
        http2_session_abort(TAKE(p->server.h), ECONNRESET);
    io_close(&p->client.fd.io, false);
    io_close(&p->server.fd.io, false);
    h2_run_until(&p->loop, both_closed, p);
    defer_queue_close(&p->defer);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&p->loop), 0); /* nothing is left */
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_tick_closed(uv_handle_t *handle)
{
    *(bool *)handle->data = true;
}

void h2_run_until(uv_loop_t *loop, bool (*done)(void *arg), void *arg)
{
    bool closed = false;
    uv_timer_t tick; /* wakes the loop, so that the deadline is seen */
    int64_t end = clock_mono_ms() + RUN_MS;
    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, on_tick, 100, 100);
    while (!done(arg)) {
        if (clock_mono_ms() > end)
            fail_msg("not reached within %d ms", RUN_MS);
        uv_run(loop, UV_RUN_ONCE);
    }
    tick.data = &closed;
    uv_close((uv_handle_t *)&tick, on_tick_closed);
    while (!closed)
        uv_run(loop, UV_RUN_NOWAIT);
}

static void request_on_head(struct http_stream *s, const struct http_head *head)
{
    struct h2_request *r = s->user;
    assert_int_equal(r->status, 0);
    r->status = head->status;
}

static void request_on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct h2_request *r = s->user;
    assert_false(r->ended);
    r->received += n;
    if (!r->discard && !r->stall)
        buf_append(&r->body, data, n);
    if (!r->stall)
        http_consume(s, n);
}

static void request_on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct h2_request *r = s->user;
    assert_false(r->ended);
    r->ended = true;
    if (n > 0)
        str_copy(trailers[0].value, r->trailer, sizeof(r->trailer));
}

static void request_go_on(struct http_stream *s)
{
    struct h2_request *r = s->user;
    uint8_t chunk[10000];
    while (r->sent < r->to_send && http_writable(s)) {
        size_t n = r->to_send - r->sent < sizeof(chunk) ? r->to_send - r->sent : sizeof(chunk);
        for (size_t i = 0; i < n; i++)
            chunk[i] = (uint8_t)((r->sent + i) % 251);
        http_send_data(s, chunk, n);
        r->sent += n;
        size_t queued = http2_stream_queued(s);
        r->most_queued = queued > r->most_queued ? queued : r->most_queued;
        if (r->sent == r->to_send)
            http_send_end(s);
    }
}

static void request_on_close(struct http_stream *s, int errnum)
{
    struct h2_request *r = s->user;
    assert_false(r->closed);
    r->closed = true;
    r->errnum = errnum;
    r->s = NULL;
}

static const struct http_stream_events request_events = {
    .on_head = request_on_head,
    .on_data = request_on_data,
    .on_end = request_on_end,
    .on_writable = request_go_on,
    .on_close = request_on_close,
};

bool h2_request_start(struct h2_pair *p, struct h2_request *r, const char *method, const char *path,
                      size_t upload)
{
    r->to_send = upload;
    r->s = http2_session_stream(p->client.h, &request_events, r);
    if (!r->s)
        return false;
    struct http_head head = { .method = str_of(method),
                              .target = str_of(path),
                              .authority = STR("guest.test"),
                              .content_length = upload > 0 ? (int64_t)upload : -1 };
    assert_int_equal(http_send_head(r->s, &head, upload == 0), 0);
    request_go_on(r->s);
    return true;
}

void h2_request_deinit(struct h2_request *r)
{
    buf_deinit(&r->body);
}

bool h2_request_closed(void *arg)
{
    return ((struct h2_request *)arg)->closed;
}
