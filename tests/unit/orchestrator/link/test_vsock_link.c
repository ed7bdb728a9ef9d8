/* The link over vsock: Firecracker's unix socket, played by this test, and AF_VSOCK. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "orchestrator/link/link_internal.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
// clang-format off
#include <sys/socket.h>
#include <linux/vm_sockets.h>
// clang-format on
#include <sys/un.h>

static struct test_loop t;
static struct fake_host host;
static struct envd envd;
static struct h2_echo echo;
static struct envd_link *guest;
static struct tempdir dir;
static int listener;
static struct test_peer vmm; /* the host's connection, as the VMM has it */
static size_t accepted;

static void start_guest(void)
{
    memset(&envd, 0, sizeof(envd));
    envd.loop = &t.loop;
    envd.is_guest = true;
    defer_queue_init(&envd.defer, &t.loop);
    h2_echo_init(&echo);
    guest = link_alloc(&envd, &echo.acceptor);
    assert_non_null(guest);
}

static void stop_guest(void)
{
    envd_link_close(guest);
    LOOP_UNTIL(&t, echo.closes == echo.requests);
    test_loop_settle(&t);
    defer_queue_close(&envd.defer);
}

static int start(void **state)
{
    (void)state;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    test_loop_init(&t);
    start_guest();
    tempdir_init(&dir);
    str_copy(str_of(tempdir_path(&dir, "v.sock")), at.sun_path, sizeof(at.sun_path));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(listener, 4), 0);
    struct link_address address = { .opener = LINK_HYBRID_VSOCK, .port = LINK_VSOCK_PORT };
    memcpy(address.path, at.sun_path, sizeof(address.path));
    vmm = (struct test_peer){ .fd = -1 };
    accepted = 0;
    fake_host_start_at(&host, &t, address);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    guest_link_close(host.l);
    stop_guest();
    test_loop_deinit(&t);
    test_peer_close(&vmm);
    close(listener);
    tempdir_deinit(&dir);
    return 0;
}

/* A new connection has said which port it wants. */
static bool asked(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        test_peer_close(&vmm);
        vmm = (struct test_peer){ .fd = fd };
        accepted++;
    }
    return vmm.fd >= 0 && test_peer_has(&vmm, "CONNECT 49982\n");
}

static void forward(void)
{
    assert_int_equal(link_end_add(guest, TAKE_FD(vmm.fd), IO_FD_STREAM, false), 0);
    buf_deinit(&vmm.got);
}

static void test_session_follows_the_greeting(void **state)
{
    (void)state;
    LOOP_UNTIL(&t, asked());
    assert_int_equal(buf_len(&vmm.got), 14); /* and nothing after it */
    assert_true(test_peer_send(&vmm, "OK 107", 6));
    test_loop_settle(&t);
    assert_int_equal(host.ups, 0);
    assert_true(test_peer_send(&vmm, "3741824\n", 8));
    forward();
    fake_host_assert_alive(&host, &t);
    struct h2_request r = { 0 };
    assert_true(h2_request_begin(guest_link_session(host.l), &r, "POST", "/echo", 3U << 20));
    LOOP_UNTIL(&t, r.closed);
    assert_int_equal(r.received, 3U << 20);
    h2_request_deinit(&r);
    assert_int_equal(echo.untrusted, 0);
}

static void test_greeting_with_the_guests_first_bytes_in_one_piece(void **state)
{
    (void)state;
    LOOP_UNTIL(&t, asked());
    /* An empty SETTINGS frame follows the line at once: a server's first word. */
    assert_true(test_peer_send(&vmm, "OK 1\n\0\0\0\4\0\0\0\0\0", 14));
    LOOP_UNTIL(&t, host.ups == 1);
    test_loop_settle(&t);
    assert_int_equal(host.downs, 0);
    LOOP_UNTIL(&t, test_peer_has(&vmm, "PRI * HTTP/2.0"));
}

static void test_bad_greetings_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "NO\n",
        "OK\n",
        "OK x\n",
        "OK 4294967296\n",
        "OK -1\n",
        "\n",
        "OK 1 and forty bytes more than a line may have\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        LOOP_UNTIL(&t, asked());
        assert_int_equal(accepted, i + 1);
        assert_true(test_peer_send(&vmm, bad[i], strlen(bad[i])));
        LOOP_UNTIL(&t, test_peer_ended(&vmm)); /* the host gave it up */
        test_peer_close(&vmm);
        vmm.fd = -1;
        assert_int_equal(host.ups, 0);
    }
    LOOP_UNTIL(&t, asked());
    assert_true(test_peer_send(&vmm, "OK 1\n", 5));
    forward();
    fake_host_assert_alive(&host, &t);
}

static void test_silent_and_closing_peers_are_tried_again(void **state)
{
    (void)state;
    LOOP_UNTIL(&t, asked());
    LOOP_UNTIL(&t, test_peer_ended(&vmm)); /* after LINK_GREETING_MS */
    test_peer_close(&vmm);
    vmm.fd = -1;
    LOOP_UNTIL(&t, asked());
    test_peer_close(&vmm); /* as Firecracker does when nobody listens in the guest */
    vmm.fd = -1;
    LOOP_UNTIL(&t, asked());
    assert_true(test_peer_send(&vmm, "OK 7\n", 5));
    forward();
    fake_host_assert_alive(&host, &t);
    assert_int_equal(accepted, 3);
}

static void test_new_connection_after_a_killed_host(void **state)
{
    (void)state;
    struct link_address address = host.l->address;
    struct h2_request r = { .stall = true };
    LOOP_UNTIL(&t, asked());
    assert_true(test_peer_send(&vmm, "OK 1\n", 5));
    forward();
    LOOP_UNTIL(&t, host.ups == 1);
    assert_true(h2_request_begin(guest_link_session(host.l), &r, "GET", "/big", 0));
    LOOP_UNTIL(&t, r.received > 0);
    guest_link_close(host.l);
    fake_host_start_at(&host, &t, address);
    LOOP_UNTIL(&t, asked());
    assert_true(test_peer_send(&vmm, "OK 2\n", 5));
    forward();
    fake_host_assert_alive(&host, &t);
    LOOP_UNTIL(&t, echo.closes == 2); /* the guest noticed too: a vsock has real ends */
}

/* AF_VSOCK on this machine's own loopback, where it has one. */

#define TEST_PORT 49983

static int start_vsock(void **state)
{
    (void)state;
    test_loop_init(&t);
    start_guest();
    return 0;
}

static int stop_vsock(void **state)
{
    (void)state;
    if (host.l)
        guest_link_close(TAKE(host.l));
    stop_guest();
    test_loop_deinit(&t);
    return 0;
}

/* NULL, or why a connection to ourselves cannot be made. */
static const char *vsock_missing(void)
{
    struct link_address self = { .opener = LINK_AF_VSOCK,
                                 .cid = VMADDR_CID_LOCAL,
                                 .port = TEST_PORT };
    bool connecting;
    AUTO_CLOSE int fd = stream_open(&self, &connecting);
    if (fd < 0)
        return strerror(-fd);
    struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };
    int errnum = 0;
    socklen_t n = sizeof(errnum);
    if (connecting && poll(&poll_fd, 1, 1000) != 1)
        return "no answer from the loopback";
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &n);
    return errnum ? strerror(errnum) : NULL;
}

static void test_af_vsock_carries_the_link(void **state)
{
    (void)state;
    host.l = NULL;
    int rc = link_vsock_listen(guest, TEST_PORT, VMADDR_CID_LOCAL);
    const char *why = rc < 0 ? strerror(-rc) : vsock_missing();
    if (why) {
        print_message("skipped: no AF_VSOCK loopback here: %s\n", why);
        skip();
    }
    fake_host_start_at(&host, &t,
                       (struct link_address){
                           .opener = LINK_AF_VSOCK, .cid = VMADDR_CID_LOCAL, .port = TEST_PORT });
    fake_host_assert_alive(&host, &t);
    guest_link_close(host.l);
    fake_host_start_at(&host, &t,
                       (struct link_address){
                           .opener = LINK_AF_VSOCK, .cid = VMADDR_CID_LOCAL, .port = TEST_PORT });
    fake_host_assert_alive(&host, &t);
}

static void test_af_vsock_that_nobody_answers_is_tried_again(void **state)
{
    (void)state;
    bool connecting;
    struct link_address nobody = { .opener = LINK_AF_VSOCK, .cid = 77, .port = 1 };
    int fd = stream_open(&nobody, &connecting);
    if (fd == -EAFNOSUPPORT) {
        print_message("skipped: no AF_VSOCK here\n");
        skip();
    }
    if (fd >= 0)
        close(fd);
    fake_host_start_at(&host, &t, nobody);
    int64_t until = clock_mono_ms() + 100;
    LOOP_UNTIL(&t, clock_mono_ms() > until);
    assert_int_equal(host.ups, 0);
}

#define CASE(name)  cmocka_unit_test_setup_teardown(name, start, stop)
#define VSOCK(name) cmocka_unit_test_setup_teardown(name, start_vsock, stop_vsock)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_session_follows_the_greeting),
        CASE(test_greeting_with_the_guests_first_bytes_in_one_piece),
        CASE(test_bad_greetings_are_refused),
        CASE(test_silent_and_closing_peers_are_tried_again),
        CASE(test_new_connection_after_a_killed_host),
        VSOCK(test_af_vsock_carries_the_link),
        VSOCK(test_af_vsock_that_nobody_answers_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
