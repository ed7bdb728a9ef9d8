#include "common/base/cleanup.h"
#include "common/http/http2.h"
#include "common/http/listener.h"
#include "common/http/router.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct server {
    struct test_loop t;
    struct http_acceptor acceptor;
    struct http_listener *l;
    struct http_stream *held; /* of GET /hold */
    int requests, closed;
};

static void on_held_close(struct http_stream *s, int errnum)
{
    (void)errnum;
    struct server *v = s->user;
    v->held = NULL;
}

static struct http_stream_events held_events;

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct server *v = container_of(a, struct server, acceptor);
    v->requests++;
    assert_int_equal(head->content_length, 0); /* without a body, by either protocol */
    if (!str_eq(head->target, STR("/hold"))) {
        http_respond(s, 200, "text/plain", s->is_http2 ? "two" : "one", 3);
        return;
    }
    held_events = HTTP_EVENTS_NONE;
    held_events.on_close = on_held_close;
    s->events = &held_events;
    s->user = v;
    v->held = s;
}

static void start(struct server *v, struct http_listener_options o)
{
    *v = (struct server){ .acceptor = { on_request } };
    test_loop_init(&v->t);
    o.server = (struct http1_server_options){ .acceptor = &v->acceptor, .h2c = true };
    struct err err;
    if (http_listener_new(&v->l, &v->t.loop, &v->t.defer, &o, &err) < 0)
        fail_msg("%s", err.msg);
}

static void on_closed(void *user)
{
    ((struct server *)user)->closed++;
}

static void stop(struct server *v)
{
    http_listener_close(v->l, 0, on_closed, v);
    assert_int_equal(v->closed, 0);
    LOOP_UNTIL(&v->t, v->closed == 1);
    test_loop_deinit(&v->t);
    assert_int_equal(v->closed, 1);
}

static int dial(int family, uint16_t port, struct test_peer *peer)
{
    *peer = (struct test_peer){ .fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    struct sockaddr_in in4 = { .sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
                                .sin6_port = htons(port),
                                .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int rc = family == AF_INET ? connect(peer->fd, (struct sockaddr *)&in4, sizeof(in4))
                               : connect(peer->fd, (struct sockaddr *)&in6, sizeof(in6));
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    return rc;
}

static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
static const char get_hold[] = "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

static void ask(struct server *v, struct test_peer *peer)
{
    assert_true(test_peer_send(peer, get, sizeof(get) - 1));
    LOOP_UNTIL(&v->t, test_peer_has(peer, "\r\n\r\none"));
    buf_clear(&peer->got);
}

static void test_serves_ipv4_and_ipv6(void **state)
{
    (void)state;
    struct server v;
    struct test_peer peer;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    assert_true(http_listener_port(v.l) > 0);
    assert_int_equal(dial(AF_INET, http_listener_port(v.l), &peer), 0);
    ask(&v, &peer);
    assert_int_equal(http_listener_connections(v.l), 1);
    test_peer_close(&peer);
    LOOP_UNTIL(&v.t, http_listener_connections(v.l) == 0);
    stop(&v);

    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    bool has_ipv6 = probe >= 0 && bind(probe, (struct sockaddr *)&a, sizeof(a)) == 0;
    if (probe >= 0)
        close(probe);
    if (!has_ipv6)
        return;
    start(&v, (struct http_listener_options){ .host = "::1" });
    assert_int_equal(dial(AF_INET6, http_listener_port(v.l), &peer), 0);
    ask(&v, &peer);
    test_peer_close(&peer);
    stop(&v);
}

static void test_serves_a_unix_socket(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_listener_XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", dir);

    /* A socket file that a dead process left behind is replaced. */
    int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&a, sizeof(a)), 0);
    close(stale);

    struct server v;
    start(&v, (struct http_listener_options){ .unix_path = a.sun_path });
    struct test_peer peer = { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    assert_int_equal(connect(peer.fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fcntl(peer.fd, F_SETFL, O_NONBLOCK);
    ask(&v, &peer);
    test_peer_close(&peer);

    /* A live one is not. */
    struct http_listener *second;
    struct err err = { 0 };
    struct http_listener_options o = { .unix_path = a.sun_path };
    assert_int_equal(http_listener_new(&second, &v.t.loop, &v.t.defer, &o, &err), -EADDRINUSE);
    assert_non_null(strstr(err.msg, "is in use"));

    stop(&v);
    assert_int_equal(access(a.sun_path, F_OK), -1);
    assert_int_equal(rmdir(dir), 0);
}

static void check_refused(struct server *v, struct http_listener_options o, int rc,
                          const char *sentence)
{
    struct http_listener *l;
    struct err err = { 0 };
    assert_int_equal(http_listener_new(&l, &v->t.loop, &v->t.defer, &o, &err), rc);
    if (!strstr(err.msg, sentence))
        fail_msg("<%s> is not in <%s>", sentence, err.msg);
}

static void test_errors_are_sentences(void **state)
{
    (void)state;
    struct server v;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    uint16_t port = http_listener_port(v.l);
    char text[64];
    snprintf(text, sizeof(text), "port %u on 127.0.0.1 is in use", port);
    check_refused(&v, (struct http_listener_options){ .host = "127.0.0.1", .port = port },
                  -EADDRINUSE, text);
    check_refused(&v, (struct http_listener_options){ .host = "localhost" }, -EINVAL,
                  "localhost is no numeric IPv4 or IPv6 address");
    check_refused(&v, (struct http_listener_options){ .host = "198.51.100.7" }, -EADDRNOTAVAIL,
                  "this machine has no address 198.51.100.7");
    char path[300];
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    check_refused(&v, (struct http_listener_options){ .unix_path = path }, -ENAMETOOLONG,
                  "is too long (more than 107 bytes)");
    check_refused(&v, (struct http_listener_options){ .unix_path = "/nonexistent/s" }, -ENOENT,
                  "cannot listen on socket /nonexistent/s");
    stop(&v);
}

static void test_limit_of_connections(void **state)
{
    (void)state;
    struct server v;
    struct test_peer peers[3];
    start(&v, (struct http_listener_options){ .host = "127.0.0.1", .max_connections = 2 });
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dial(AF_INET, http_listener_port(v.l), &peers[i]), 0);
        assert_true(test_peer_send(&peers[i], get, sizeof(get) - 1));
    }
    LOOP_UNTIL(&v.t, v.requests == 2);
    test_loop_settle(&v.t);
    assert_int_equal(v.requests, 2);
    test_peer_close(&peers[0]);
    LOOP_UNTIL(&v.t, test_peer_has(&peers[2], "one")); /* it waited in the backlog */
    test_peer_close(&peers[1]);
    test_peer_close(&peers[2]);
    stop(&v);
}

static void test_out_of_descriptors_does_not_spin(void **state)
{
    (void)state;
    struct server v;
    struct test_peer peer;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    assert_int_equal(dial(AF_INET, http_listener_port(v.l), &peer), 0);
    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = (rlim_t)peer.fd + 1;
    int filler = open("/dev/null", O_RDONLY | O_CLOEXEC);
    none.rlim_cur = (rlim_t)filler + 1; /* every number below is taken, and there is none above */
    setrlimit(RLIMIT_NOFILE, &none);

    int64_t until = clock_mono_ms() + 60;
    int turns = 0;
    while (clock_mono_ms() < until) {
        test_loop_turn(&v.t);
        turns++;
    }
    assert_in_range(turns, 1, 100);
    assert_int_equal(http_listener_connections(v.l), 0);

    setrlimit(RLIMIT_NOFILE, &old);
    close(filler);
    ask(&v, &peer); /* accepted after all */
    test_peer_close(&peer);
    stop(&v);
}

static void test_close_waits_for_requests(void **state)
{
    (void)state;
    struct server v;
    struct test_peer idle, busy;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    uint16_t port = http_listener_port(v.l);
    dial(AF_INET, port, &idle);
    dial(AF_INET, port, &busy);
    ask(&v, &idle);
    assert_true(test_peer_send(&busy, get_hold, sizeof(get_hold) - 1));
    LOOP_UNTIL(&v.t, v.held);

    http_listener_close(v.l, 60000, on_closed, &v);
    LOOP_UNTIL(&v.t, test_peer_ended(&idle)); /* idle ones go at once */
    struct test_peer late;
    assert_int_equal(dial(AF_INET, port, &late), -1);
    test_peer_close(&late);
    assert_int_equal(v.closed, 0);
    http_respond(v.held, 200, NULL, "end", 3);
    LOOP_UNTIL(&v.t, test_peer_ended(&busy));
    assert_true(test_peer_has(&busy, "\r\n\r\nend"));
    test_peer_close(&busy);
    test_peer_close(&idle);
    LOOP_UNTIL(&v.t, v.closed == 1);
    test_loop_deinit(&v.t);
}

static void test_close_aborts_after_the_grace(void **state)
{
    (void)state;
    struct server v;
    struct test_peer busy;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    dial(AF_INET, http_listener_port(v.l), &busy);
    assert_true(test_peer_send(&busy, get_hold, sizeof(get_hold) - 1));
    LOOP_UNTIL(&v.t, v.held);
    http_listener_close(v.l, 20, on_closed, &v);
    LOOP_UNTIL(&v.t, v.closed == 1);
    assert_null(v.held);
    test_peer_close(&busy);
    test_loop_deinit(&v.t);
}

/* ---- HTTP/2 with prior knowledge ---- */

struct h2 {
    struct io_fd fd;
    struct http2_session *h;
    bool over, closed, ended;
    int status;
    struct buf body;
};

static void on_h2_data(struct io *io, const uint8_t *data, size_t n)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    http2_session_input(container_of(fd, struct h2, fd)->h, data, n);
}

static void on_h2_drain(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    http2_session_writable(container_of(fd, struct h2, fd)->h);
}

static void on_h2_eof(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    struct h2 *c = container_of(fd, struct h2, fd);
    if (!c->over)
        http2_session_abort(c->h, ECONNRESET);
    c->over = true;
    io_close(io, false);
}

static void on_h2_error(struct io *io, int errnum)
{
    (void)errnum;
    on_h2_eof(io);
}

static void on_h2_closed(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    container_of(fd, struct h2, fd)->closed = true;
}

static const struct io_events h2_io_events = { on_h2_data, on_h2_eof, on_h2_drain, on_h2_error,
                                               on_h2_closed };

static void on_over(struct http2_session *h, int errnum)
{
    (void)errnum;
    struct h2 *c = http2_session_user(h);
    c->over = true;
    io_close(&c->fd.io, false);
}

static void on_h2_head(struct http_stream *s, const struct http_head *head)
{
    ((struct h2 *)s->user)->status = head->status;
}

static void on_h2_body(struct http_stream *s, const uint8_t *data, size_t n)
{
    buf_append(&((struct h2 *)s->user)->body, data, n);
    http_consume(s, n);
}

static void on_h2_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    ((struct h2 *)s->user)->ended = true;
}

static void h2_start(struct server *v, struct h2 *c, const char *target)
{
    *c = (struct h2){ 0 };
    struct test_peer peer;
    assert_int_equal(dial(AF_INET, http_listener_port(v->l), &peer), 0);
    assert_int_equal(io_fd_init(&c->fd, &v->t.loop, peer.fd, IO_FD_STREAM, &h2_io_events), 0);
    static const struct http2_events events = { on_over };
    struct http2_options options = { .defer = &v->t.defer, .events = &events, .user = c };
    c->h = http2_session_new(&v->t.loop, &c->fd.io, &options);
    io_read_start(&c->fd.io);
    static struct http_stream_events stream_events;
    stream_events = HTTP_EVENTS_NONE;
    stream_events.on_head = on_h2_head;
    stream_events.on_data = on_h2_body;
    stream_events.on_end = on_h2_end;
    struct http_stream *s = http2_session_stream(c->h, &stream_events, c);
    assert_non_null(s);
    struct http_head head = { .method = STR("GET"),
                              .target = str_of(target),
                              .authority = STR("a") };
    assert_int_equal(http_send_head(s, &head, true), 0);
}

static void test_http2_on_the_same_port(void **state)
{
    (void)state;
    struct server v;
    struct h2 c;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    h2_start(&v, &c, "/");
    LOOP_UNTIL(&v.t, c.ended);
    assert_int_equal(c.status, 200);
    assert_str(buf_str(&c.body), "two");
    buf_deinit(&c.body);
    http2_session_drain(c.h); /* the client goes */
    LOOP_UNTIL(&v.t, c.over && c.closed);
    LOOP_UNTIL(&v.t, http_listener_connections(v.l) == 0);

    h2_start(&v, &c, "/hold"); /* the server goes, with a request open */
    LOOP_UNTIL(&v.t, v.held);
    http_listener_close(v.l, 60000, on_closed, &v);
    test_loop_settle(&v.t);
    assert_int_equal(v.closed, 0);
    http_respond(v.held, 200, NULL, "end", 3);
    LOOP_UNTIL(&v.t, c.ended);
    assert_str(buf_str(&c.body), "end");
    buf_deinit(&c.body);
    LOOP_UNTIL(&v.t, v.closed == 1 && c.closed);
    test_loop_deinit(&v.t);
}

static void test_http2_abort(void **state)
{
    (void)state;
    struct server v;
    struct h2 c;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    h2_start(&v, &c, "/hold");
    LOOP_UNTIL(&v.t, v.held);
    stop(&v); /* after no grace at all the stream has its on_close, too */
    assert_null(v.held);
}

static void test_preface_in_pieces(void **state)
{
    (void)state;
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct server v;
    struct test_peer peer;
    start(&v, (struct http_listener_options){ .host = "127.0.0.1" });
    dial(AF_INET, http_listener_port(v.l), &peer);
    for (size_t i = 0; i < sizeof(preface) - 1; i++) {
        assert_true(test_peer_send(&peer, preface + i, 1));
        test_loop_settle(&v.t);
    }
    /* The answer is a SETTINGS frame, no HTTP/1 response. */
    LOOP_UNTIL(&v.t, (test_peer_pull(&peer), buf_len(&peer.got) >= 9));
    assert_int_equal(buf_head(&peer.got)[3], 4);
    test_peer_close(&peer);
    LOOP_UNTIL(&v.t, http_listener_connections(v.l) == 0);

    dial(AF_INET, http_listener_port(v.l), &peer); /* nearly a preface */
    assert_true(test_peer_send(&peer, "PRI * HTTP/1.1\r\n\r\n", 18));
    LOOP_UNTIL(&v.t, test_peer_has(&peer, "HTTP/1.1 400"));
    test_peer_close(&peer);
    stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_ipv4_and_ipv6),
        cmocka_unit_test(test_serves_a_unix_socket),
        cmocka_unit_test(test_errors_are_sentences),
        cmocka_unit_test(test_limit_of_connections),
        cmocka_unit_test(test_out_of_descriptors_does_not_spin),
        cmocka_unit_test(test_close_waits_for_requests),
        cmocka_unit_test(test_close_aborts_after_the_grace),
        cmocka_unit_test(test_http2_on_the_same_port),
        cmocka_unit_test(test_http2_abort),
        cmocka_unit_test(test_preface_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
