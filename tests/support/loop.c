#include "tests/support/loop.h"

#include "tests/support/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PULSE_MS     2
#define SETTLE_TURNS 64

static void on_pulse(uv_timer_t *timer)
{
    (void)timer;
}

void test_loop_init(struct test_loop *t)
{
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&t->loop), 0);
    defer_queue_init(&t->defer, &t->loop);
    uv_timer_init(&t->loop, &t->pulse);
    uv_timer_start(&t->pulse, on_pulse, PULSE_MS, PULSE_MS);
    uv_unref((uv_handle_t *)&t->pulse);
}

void test_loop_deinit(struct test_loop *t)
{
    test_loop_settle(t);
    defer_queue_close(&t->defer);
    uv_close((uv_handle_t *)&t->pulse, NULL);
    for (int i = 0; i < SETTLE_TURNS; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&t->loop), 0);
}

void test_loop_turn(struct test_loop *t)
{
    uv_run(&t->loop, UV_RUN_ONCE);
}

void test_loop_settle(struct test_loop *t)
{
    for (int i = 0; i < SETTLE_TURNS; i++)
        uv_run(&t->loop, UV_RUN_NOWAIT);
}

void test_peer_pair(struct test_peer *peer, int *theirs)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    *peer = (struct test_peer){ .fd = fds[0] };
    *theirs = fds[1];
}

void test_peer_tcp(struct test_peer *peer, int *theirs)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, n), 0);
    *theirs = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*theirs >= 0);
    close(listener);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    *peer = (struct test_peer){ .fd = fd };
}

void test_peer_close(struct test_peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
    buf_deinit(&peer->got);
}

bool test_peer_send(struct test_peer *peer, const void *data, size_t n)
{
    ssize_t sent = send(peer->fd, data, n, MSG_NOSIGNAL);
    return sent == (ssize_t)n;
}

void test_peer_pull(struct test_peer *peer)
{
    for (;;) {
        uint8_t *to = buf_reserve(&peer->got, 65536);
        assert_non_null(to);
        ssize_t n = read(peer->fd, to, 65536);
        if (n > 0) {
            buf_commit(&peer->got, (size_t)n);
            continue;
        }
        if (n == 0)
            peer->eof = true;
        else if (errno != EAGAIN)
            peer->error = errno;
        return;
    }
}

bool test_peer_has(struct test_peer *peer, const char *text)
{
    test_peer_pull(peer);
    return memmem(buf_head(&peer->got), buf_len(&peer->got), text, strlen(text)) != NULL;
}

bool test_peer_ended(struct test_peer *peer)
{
    test_peer_pull(peer);
    return peer->eof || peer->error;
}
