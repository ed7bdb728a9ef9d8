#include "tests/unit/common/http/h2_pair.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

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

void h2_pair_start(struct h2_pair *p, const struct http_limits *limits)
{
    int fds[2];
    *p = (struct h2_pair){ .limits = limits ? *limits : HTTP_LIMITS_DEFAULT };
    h2_echo_init(&p->echo);
    test_loop_init(&p->loop);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(io_fd_init(&p->client.fd, &p->loop.loop, fds[0], IO_FD_STREAM, &side_events),
                     0);
    assert_int_equal(io_fd_init(&p->server.fd, &p->loop.loop, fds[1], IO_FD_STREAM, &side_events),
                     0);
    struct http2_options options = {
        .defer = &p->loop.defer, .limits = &p->limits, .events = &session_events, .user = &p->client
    };
    p->client.h = http2_session_new(&p->loop.loop, &p->client.fd.io, &options);
    options.acceptor = &p->echo.acceptor;
    options.trusted = true;
    options.user = &p->server;
    p->server.h = http2_session_new(&p->loop.loop, &p->server.fd.io, &options);
    assert_non_null(p->client.h);
    assert_non_null(p->server.h);
    io_read_start(&p->client.fd.io);
    io_read_start(&p->server.fd.io);
}

void h2_pair_stop(struct h2_pair *p)
{
    if (p->client.h)
        http2_session_abort(TAKE(p->client.h), ECONNRESET);
    if (p->server.h)
        http2_session_abort(TAKE(p->server.h), ECONNRESET);
    io_close(&p->client.fd.io, false);
    io_close(&p->server.fd.io, false);
    LOOP_UNTIL(&p->loop, p->client.closed && p->server.closed);
    LOOP_UNTIL(&p->loop, p->echo.closes == p->echo.requests);
    LOOP_UNTIL(&p->loop, !uv_loop_alive(&p->loop.loop)); /* a file may still be read */
    test_loop_deinit(&p->loop);
}
