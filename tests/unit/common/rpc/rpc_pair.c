#include "tests/unit/common/rpc/rpc_pair.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct rpc_side *side_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct rpc_side, fd);
}

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    if (side_of(io)->h)
        http2_session_input(side_of(io)->h, data, n);
}

static void lose(struct rpc_side *side)
{
    if (side->h)
        http2_session_abort(TAKE(side->h), ECONNRESET);
}

static void on_eof(struct io *io)
{
    lose(side_of(io));
}

static void on_error(struct io *io, int errnum)
{
    (void)errnum;
    lose(side_of(io));
}

static void on_drain(struct io *io)
{
    if (side_of(io)->h)
        http2_session_writable(side_of(io)->h);
}

static void on_closed(struct io *io)
{
    side_of(io)->closed = true;
}

static const struct io_events io_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void on_over(struct http2_session *h, int errnum)
{
    (void)errnum;
    ((struct rpc_side *)http2_session_user(h))->h = NULL;
}

static const struct http2_events session_events = { .on_over = on_over };

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct rpc_pair *p = container_of(a, struct rpc_pair, acceptor);
    if (!p->raw) {
        rpc_server_accept(&p->fixture->server, s, head);
        return;
    }
    struct str body = str_of(p->raw);
    struct http_field type = { STR("content-type"), str_split(&body, '\n') };
    struct http_field trailers[] = {
        { STR("grpc-status"), str_of(p->grpc_status) },
        { STR("grpc-message"), str_of(p->grpc_message ? p->grpc_message : "") },
    };
    struct http_head answer = {
        .status = p->status, .content_length = -1, .fields = &type, .nfields = 1
    };
    s->events = &HTTP_EVENTS_NONE;
    if (!p->status)
        return;
    http_send_head(s, &answer, false);
    if (body.n)
        http_send_data(s, body.p, body.n);
    http_send_trailers(s, trailers, p->grpc_status ? ARRAY_LEN(trailers) : 0);
}

int rpc_pair_setup(void **state)
{
    struct rpc_pair *p = calloc(1, sizeof(*p));
    void *fixture;
    int fds[2];
    rpc_fixture_setup(&fixture);
    p->fixture = fixture;
    p->acceptor.on_request = on_request;
    test_loop_init(&p->loop);
    p->fixture->server.loop = &p->loop.loop;
    p->fixture->server.defer = &p->loop.defer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    uv_loop_t *loop = &p->loop.loop;
    assert_int_equal(io_fd_init(&p->client.fd, loop, fds[0], IO_FD_STREAM, &io_events), 0);
    assert_int_equal(io_fd_init(&p->server.fd, loop, fds[1], IO_FD_STREAM, &io_events), 0);
    struct http2_options options = { .defer = &p->loop.defer,
                                     .events = &session_events,
                                     .user = &p->client };
    p->client.h = http2_session_new(loop, &p->client.fd.io, &options);
    options.acceptor = &p->acceptor;
    options.trusted = true;
    options.user = &p->server;
    p->server.h = http2_session_new(loop, &p->server.fd.io, &options);
    assert_non_null(p->client.h);
    assert_non_null(p->server.h);
    io_read_start(&p->client.fd.io);
    io_read_start(&p->server.fd.io);
    *state = p;
    return 0;
}

void rpc_pair_lose_client(struct rpc_pair *p)
{
    lose(&p->client);
}

int rpc_pair_teardown(void **state)
{
    struct rpc_pair *p = *state;
    void *fixture = p->fixture;
    lose(&p->client);
    lose(&p->server);
    io_close(&p->client.fd.io, false);
    io_close(&p->server.fd.io, false);
    LOOP_UNTIL(&p->loop, p->client.closed && p->server.closed);
    test_loop_settle(&p->loop);
    test_loop_deinit(&p->loop);
    rpc_fixture_teardown(&fixture);
    free(p);
    return 0;
}
