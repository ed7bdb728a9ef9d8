/* CONNECT through the link to TCP servers "in the guest", which here is this machine. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "common/http/tunnel.h"
#include "envd/guest/connect_target.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static struct test_loop t;
static struct fake_vm vm;
static struct fake_host host;

#define VISITORS 200

/* One end of a tunnel. */
struct visitor {
    struct io *io;
    bool opened, eof, closed;
    int open_errnum, error;
    struct buf got;
};
static struct visitor visitors[VISITORS];

/* A TCP server that echoes; one connection after the other is served by the loop of the test. */
static struct {
    int fd;
    uint16_t port;
    struct test_peer peers[VISITORS];
    size_t n;
} server;

static int listen_at(int family, const char *address, uint16_t *port)
{
    struct sockaddr_storage at = { .ss_family = (sa_family_t)family };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&at;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at;
    socklen_t n = family == AF_INET ? sizeof(*v4) : sizeof(*v6);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (family == AF_INET) {
        inet_pton(family, address, &v4->sin_addr);
        v4->sin_port = htons(*port);
    } else {
        inet_pton(family, address, &v6->sin6_addr);
        v6->sin6_port = htons(*port);
    }
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, VISITORS) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port);
    return fd;
}

/* Accept, echo, and pass ends on. */
static void serve(void)
{
    int fd = accept4(server.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        server.peers[server.n++].fd = fd;
    for (size_t i = 0; i < server.n; i++) {
        struct test_peer *peer = &server.peers[i];
        if (peer->fd < 0)
            continue;
        test_peer_pull(peer);
        while (buf_len(&peer->got) > 0) {
            ssize_t n = send(peer->fd, buf_head(&peer->got), buf_len(&peer->got), MSG_NOSIGNAL);
            if (n <= 0)
                break;
            buf_consume(&peer->got, (size_t)n);
        }
        if (peer->eof && buf_len(&peer->got) == 0) {
            close(peer->fd);
            peer->fd = -1;
        }
    }
}

static bool served(bool condition)
{
    serve();
    return condition;
}

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    (void)io;
    for (size_t i = 0; i < VISITORS; i++)
        if (visitors[i].io == io)
            buf_append(&visitors[i].got, data, n);
}

static struct visitor *visitor_of(struct io *io)
{
    for (size_t i = 0; i < VISITORS; i++)
        if (visitors[i].io == io)
            return &visitors[i];
    abort(); /* a stream that nobody opened */
}

static void on_eof(struct io *io)
{
    visitor_of(io)->eof = true;
}

static void on_drain(struct io *io)
{
    (void)io;
}

static void on_error(struct io *io, int errnum)
{
    visitor_of(io)->error = errnum;
}

static void on_closed(struct io *io)
{
    struct visitor *u = visitor_of(io);
    u->closed = true;
    u->io = NULL;
    tunnel_free(io);
}

static const struct io_events tunnel_events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void on_open(void *user, struct io *io, int errnum)
{
    struct visitor *u = user;
    u->opened = true;
    u->open_errnum = errnum;
    u->io = io;
    if (io) {
        io->events = &tunnel_events;
        io_read_start(io);
    }
}

static void open_begin(struct visitor *u, const char *name, uint16_t port)
{
    char target[80];
    snprintf(target, sizeof(target), "%s:%u", name, port);
    assert_non_null(tunnel_open(guest_link_session(host.l), &t.defer, str_of(target), on_open, u));
}

static void open_to(struct visitor *u, const char *name, uint16_t port)
{
    open_begin(u, name, port);
    LOOP_UNTIL(&t, served(u->opened));
}

static int start(void **state)
{
    (void)state;
    memset(visitors, 0, sizeof(visitors));
    memset(&server, 0, sizeof(server));
    server.fd = listen_at(AF_INET, "127.0.0.1", &server.port);
    assert_true(server.fd >= 0);
    test_loop_init(&t);
    fake_vm_start(&vm, &t);
    fake_host_start(&host, &vm);
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < VISITORS; i++) {
        if (visitors[i].io) {
            io_close(visitors[i].io, true);
            LOOP_UNTIL(&t, visitors[i].closed);
        }
        buf_deinit(&visitors[i].got);
    }
    guest_link_close(host.l);
    LOOP_UNTIL(&t, served(vm.link->connects == 0)); /* nothing is left in the guest */
    fake_vm_stop(&vm);
    test_loop_deinit(&t);
    for (size_t i = 0; i < server.n; i++)
        test_peer_close(&server.peers[i]);
    close(server.fd);
    return 0;
}

static void test_bytes_are_echoed_and_ends_pass_through(void **state)
{
    (void)state;
    static uint8_t data[3 << 20];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 11 % 249);
    struct visitor *u = &visitors[0];
    open_to(u, "127.0.0.1", server.port);
    assert_int_equal(u->open_errnum, 0);
    io_write(u->io, data, sizeof(data));
    io_shutdown(u->io);
    LOOP_UNTIL(&t, served(u->eof));
    assert_int_equal(buf_len(&u->got), sizeof(data));
    assert_memory_equal(buf_head(&u->got), data, sizeof(data));
    assert_int_equal(u->error, 0);
    LOOP_UNTIL(&t, vm.link->connects == 0); /* the guest is done by itself */
}

static void test_two_hundred_at_once(void **state)
{
    (void)state;
    static uint8_t data[5000];
    for (size_t i = 0; i < VISITORS; i++)
        open_begin(&visitors[i], "localhost", server.port);
    for (size_t i = 0; i < VISITORS; i++)
        LOOP_UNTIL(&t, served(visitors[i].opened));
    for (size_t i = 0; i < VISITORS; i++) {
        assert_int_equal(visitors[i].open_errnum, 0);
        io_write(visitors[i].io, data, sizeof(data));
    }
    for (size_t i = 0; i < VISITORS; i++)
        LOOP_UNTIL(&t, served(buf_len(&visitors[i].got) == sizeof(data)));
}

static void test_closed_port_is_refused(void **state)
{
    (void)state;
    uint16_t port = server.port;
    close(server.fd);
    open_begin(&visitors[0], "127.0.0.1", port);
    open_begin(&visitors[1], "localhost", port);
    LOOP_UNTIL(&t, visitors[0].opened && visitors[1].opened);
    assert_int_equal(visitors[0].open_errnum, ECONNREFUSED);
    assert_int_equal(visitors[1].open_errnum, ECONNREFUSED);
    server.fd = listen_at(AF_INET, "127.0.0.1", &port);
}

static void test_localhost_finds_a_server_that_has_only_ipv6(void **state)
{
    (void)state;
    uint16_t port = 0;
    int v6 = listen_at(AF_INET6, "::1", &port);
    if (v6 < 0) {
        print_message("no IPv6 loopback on this machine\n");
        skip();
    }
    close(server.fd);
    server.fd = v6;
    server.port = port;
    /* Bound and not listening: nobody else on this machine can answer there meanwhile. */
    struct sockaddr_in v4 = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    AUTO_CLOSE int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (taken < 0 || bind(taken, (struct sockaddr *)&v4, sizeof(v4)) < 0)
        skip();
    open_to(&visitors[0], "localhost", port);
    assert_int_equal(visitors[0].open_errnum, 0);
    open_to(&visitors[1], "[::1]", port);
    assert_int_equal(visitors[1].open_errnum, 0);
    io_write(visitors[1].io, "six", 3);
    LOOP_UNTIL(&t, served(buf_len(&visitors[1].got) == 3));
}

static void test_other_machines_are_out_of_reach(void **state)
{
    (void)state;
    open_to(&visitors[0], "192.0.2.1", 80);
    assert_int_equal(visitors[0].open_errnum, EACCES);
    open_to(&visitors[1], "example.org", 80);
    assert_int_equal(visitors[1].open_errnum, EACCES);
    open_to(&visitors[2], "[2001:db8::1]", 80);
    assert_int_equal(visitors[2].open_errnum, EACCES);
    open_to(&visitors[3], "127.0.0.1", 0);
    assert_int_equal(visitors[3].open_errnum, EINVAL);
}

static void test_reset_by_the_server_reaches_the_host_and_back(void **state)
{
    (void)state;
    struct linger now = { .l_onoff = 1 };
    open_to(&visitors[0], "127.0.0.1", server.port);
    open_to(&visitors[1], "127.0.0.1", server.port);
    LOOP_UNTIL(&t, served(server.n == 2));
    setsockopt(server.peers[0].fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    test_peer_close(&server.peers[0]);
    server.peers[0].fd = -1;
    LOOP_UNTIL(&t, visitors[0].error || visitors[1].error);
    struct visitor *hit = visitors[0].error ? &visitors[0] : &visitors[1];
    struct visitor *other = visitors[0].error ? &visitors[1] : &visitors[0];
    assert_int_equal(hit->error, ECONNRESET);
    /* And a host that gives up resets the server's connection. */
    io_close(other->io, true);
    LOOP_UNTIL(&t, other->closed);
    LOOP_UNTIL(&t, (test_peer_pull(&server.peers[1]), server.peers[1].error == ECONNRESET));
}

static void test_lost_link_closes_the_connections(void **state)
{
    (void)state;
    open_to(&visitors[0], "127.0.0.1", server.port);
    LOOP_UNTIL(&t, served(server.n == 1));
    guest_link_close(host.l);
    fake_host_start(&host, &vm);
    fake_host_assert_alive(&host, &t);
    LOOP_UNTIL(&t, visitors[0].error == ECONNRESET);
    LOOP_UNTIL(&t, test_peer_ended(&server.peers[0]));
    LOOP_UNTIL(&t, vm.link->connects == 0);
}

static void test_server_that_does_not_read_holds_one_window(void **state)
{
    (void)state;
    static const uint8_t zeros[65536];
    size_t wrote = 0;
    open_to(&visitors[0], "127.0.0.1", server.port);
    LOOP_UNTIL(&t, served(server.n == 1));
    /* The server is not served from here on. What fits: its socket's buffers and the windows. */
    while (wrote < 64U << 20) {
        if (io_pending(visitors[0].io) >= IO_HIGH_WATER)
            break;
        io_write(visitors[0].io, zeros, sizeof(zeros));
        wrote += sizeof(zeros);
        test_loop_settle(&t);
    }
    assert_true(wrote < 32U << 20);
    for (int i = 0; i < 20; i++)
        fake_host_assert_alive(&host, &t);
    io_shutdown(visitors[0].io);
    LOOP_UNTIL(&t, served(visitors[0].eof));
    assert_int_equal(buf_len(&visitors[0].got), wrote);
}

static int parse(const char *text, struct connect_target *out)
{
    return connect_target_parse(str_of(text), out);
}

static void test_targets(void **state)
{
    (void)state;
    struct connect_target c;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&c.at[0];
    assert_int_equal(parse("LocalHost:80", &c), 0);
    assert_int_equal(c.n, 2);
    assert_int_equal(c.at[0].ss_family, AF_INET);
    assert_int_equal(c.at[1].ss_family, AF_INET6);
    assert_int_equal(ntohs(v4->sin_port), 80);
    assert_int_equal(parse("127.3.2.1:65535", &c), 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(parse("[::1]:1", &c), 0);
    assert_int_equal(c.at[0].ss_family, AF_INET6);
    static const char *const bad[] = { "",
                                       ":80",
                                       "80",
                                       "127.0.0.1",
                                       "127.0.0.1:",
                                       "localhost:0",
                                       "localhost:65536",
                                       "localhost:-1",
                                       "localhost: 1",
                                       "[::1:80",
                                       "[]:80",
                                       "[localhost]:80",
                                       "a:b:80" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (parse(bad[i], &c) != 400)
            fail_msg("%s was taken", bad[i]);
    static const char *const foreign[] = {
        "0.0.0.0:80", "10.255.255.254:80",     "169.254.169.254:80",
        "[::]:80",    "[::ffff:192.0.2.1]:80", "localhost.:80"
    };
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (parse(foreign[i], &c) != 403)
            fail_msg("%s was allowed", foreign[i]);
    char nul[] = "127.0.0.1\0x:80";
    assert_int_equal(connect_target_parse((struct str){ nul, sizeof(nul) - 1 }, &c), 400);
}

static void test_port_is_found_by_name(void **state)
{
    (void)state;
    struct tempdir d;
    tempdir_init(&d);
    tempdir_write(&d, "sys/vport1p1/name", "org.qemu.guest_agent.0\n");
    tempdir_write(&d, "sys/vport1p2/name", LINK_PORT_NAME "\n");
    tempdir_write(&d, "dev/vport1p1", "");
    const char *sys = tempdir_path(&d, "sys"), *dev = tempdir_path(&d, "dev");
    assert_int_equal(link_port_open(sys, dev, LINK_PORT_NAME), -ENOENT); /* no device node yet */
    tempdir_write(&d, "dev/vport1p2", "this one");
    int fd = link_port_open(sys, dev, LINK_PORT_NAME);
    char text[8];
    assert_true(fd >= 0);
    assert_int_equal(read(fd, text, 8), 8);
    assert_memory_equal(text, "this one", 8);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    close(fd);
    assert_int_equal(link_port_open(sys, dev, "sandpit.link"), -ENOENT);
    assert_int_equal(link_port_open(tempdir_path(&d, "none"), dev, LINK_PORT_NAME), -ENOENT);
    tempdir_deinit(&d);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_bytes_are_echoed_and_ends_pass_through),
        CASE(test_two_hundred_at_once),
        CASE(test_closed_port_is_refused),
        CASE(test_localhost_finds_a_server_that_has_only_ipv6),
        CASE(test_other_machines_are_out_of_reach),
        CASE(test_reset_by_the_server_reaches_the_host_and_back),
        CASE(test_lost_link_closes_the_connections),
        CASE(test_server_that_does_not_read_holds_one_window),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_port_is_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
