/* The link when ends die, stop, or talk nonsense. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "orchestrator/link/link_internal.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct test_loop t;
static struct fake_vm vm;
static struct fake_host host;
static struct h2_request many[16];

/* Of a test that a busy machine may not let run smoothly. */
#define PIECES_TRIES 200

static int start(void **state)
{
    (void)state;
    test_loop_init(&t);
    fake_vm_start(&vm, &t);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    guest_link_close(host.l);
    fake_vm_stop(&vm);
    test_loop_deinit(&t);
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        h2_request_deinit(&many[i]);
    memset(many, 0, sizeof(many));
    return 0;
}

/* No deadline runs out, however long this process is kept waiting: what is counted are the tries
 * that failed. */
static void assert_alive_at_this_try(void)
{
    guest_link_set_vm_running(host.l, false);
    fake_host_assert_alive(&host, &t);
    guest_link_set_vm_running(host.l, true);
}

/* A host of our own hands, at the socket. */
static void raw_connect(struct test_peer *peer)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    *peer = (struct test_peer){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    memcpy(at.sun_path, vm.path, sizeof(vm.path));
    assert_int_equal(connect(peer->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
}

static void raw_marker(struct test_peer *peer, const char *nonce)
{
    assert_true(test_peer_send(peer, LINK_SECRET_INITIAL, LINK_SECRET_SIZE));
    assert_true(test_peer_send(peer, nonce, LINK_NONCE_SIZE));
}

static bool raw_has_ack(struct test_peer *peer, const char *nonce)
{
    uint8_t want[LINK_ACK_SIZE + LINK_NONCE_SIZE];
    memcpy(want, LINK_ACK, LINK_ACK_SIZE);
    memcpy(want + LINK_ACK_SIZE, nonce, LINK_NONCE_SIZE);
    test_peer_pull(peer);
    return buf_len(&peer->got) > 0 &&
           memmem(buf_head(&peer->got), buf_len(&peer->got), want, sizeof(want));
}

/* Preface, SETTINGS and WINDOW_UPDATE with the largest windows, a request whose answer has no
 * end. */
static void raw_session(struct test_peer *peer)
{
    static const uint8_t head[] = { 0,    0, 11, 1,   4,   0,   0,   0,    1, 0x82,
                                    0x86, 4, 4,  '/', 'b', 'i', 'g', 0x41, 1, 'a' };
    assert_true(test_peer_send(peer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24));
    assert_true(test_peer_send(peer, "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff", 15));
    assert_true(test_peer_send(peer, "\0\0\4\x8\0\0\0\0\0\x7f\0\0\0", 13));
    assert_true(test_peer_send(peer, head, sizeof(head)));
}

static void test_new_host_after_one_that_died_in_the_middle_of_frames(void **state)
{
    (void)state;
    struct test_peer peer;
    raw_connect(&peer);
    raw_marker(&peer, "nonce-of-the-1st");
    LOOP_UNTIL(&t, raw_has_ack(&peer, "nonce-of-the-1st"));
    raw_session(&peer);
    LOOP_UNTIL(&t, vm.echo.requests == 1); /* the guest is sending frames that nobody reads */
    /* Half a DATA frame towards the guest: 16,384 bytes are announced, 5 come. */
    assert_true(test_peer_send(&peer, "\0\x40\0\0\0\0\0\0\1hello", 14));
    test_loop_settle(&t);
    test_peer_close(&peer);

    fake_host_start(&host, &vm);
    assert_alive_at_this_try();
    assert_int_equal(vm.clients, 2);  /* the first try was it */
    assert_true(host.l->garbage > 0); /* frames of the old session came before the ack */
    LOOP_UNTIL(&t, vm.echo.closes >= 1);
    assert_int_equal(vm.echo.requests, 2); /* nothing else was taken for a request */
}

/* false: a pause of this process was longer than the guest holds the beginning of a marker. */
static bool try_marker_in_pieces(size_t closes)
{
    struct test_peer peer;
    uint8_t marker[LINK_SECRET_SIZE + LINK_NONCE_SIZE];
    bool in_time = true;
    raw_connect(&peer);
    raw_marker(&peer, "nonce-of-the-1st");
    LOOP_UNTIL(&t, raw_has_ack(&peer, "nonce-of-the-1st"));
    LOOP_UNTIL(&t, vm.echo.closes == closes); /* of the try before */
    raw_session(&peer);
    LOOP_UNTIL(&t, vm.echo.requests == closes + 1);
    memcpy(marker, LINK_SECRET_INITIAL, LINK_SECRET_SIZE);
    memcpy(marker + LINK_SECRET_SIZE, "nonce-of-the-2nd", LINK_NONCE_SIZE);
    for (size_t i = 0; i < sizeof(marker) && in_time; i++) {
        int64_t began_ns = clock_mono_ns();
        assert_true(test_peer_send(&peer, marker + i, 1));
        for (int turn = 0; turn < 8; turn++)
            uv_run(&t.loop, UV_RUN_NOWAIT);
        in_time = clock_mono_ns() - began_ns < (LINK_HOLD_MS - 1) * INT64_C(1000000);
        assert_true(!in_time || i + 1 == sizeof(marker) || vm.echo.closes == closes);
    }
    if (in_time) {
        LOOP_UNTIL(&t, raw_has_ack(&peer, "nonce-of-the-2nd"));
        LOOP_UNTIL(&t, vm.echo.closes == closes + 1);
    }
    test_peer_close(&peer);
    return in_time;
}

static void test_marker_in_pieces_in_the_middle_of_a_session(void **state)
{
    (void)state;
    size_t tries = 0;
    while (!try_marker_in_pieces(tries))
        assert_true(++tries < PIECES_TRIES);
    fake_host_start(&host, &vm);
    fake_host_assert_alive(&host, &t);
}

static void test_marker_cut_by_death_costs_one_more_try(void **state)
{
    (void)state;
    struct test_peer peer;
    raw_connect(&peer);
    raw_marker(&peer, "nonce-of-the-1st");
    LOOP_UNTIL(&t, raw_has_ack(&peer, "nonce-of-the-1st"));
    assert_true(test_peer_send(&peer, LINK_SECRET_INITIAL, LINK_SECRET_SIZE));
    assert_true(test_peer_send(&peer, "non", 3));
    test_loop_settle(&t);
    test_peer_close(&peer);
    fake_host_start(&host, &vm);
    LOOP_UNTIL(&t, vm.clients == 3);
    assert_alive_at_this_try();
    assert_int_equal(vm.clients, 3);
}

static void test_hosts_killed_under_traffic(void **state)
{
    (void)state;
    for (size_t round = 0; round < 40; round++) {
        fake_host_start(&host, &vm);
        assert_alive_at_this_try();
        assert_int_equal(vm.clients, round + 1); /* always at the first try */
        for (size_t i = 0; i < 8; i++) {
            many[i].discard = true;
            assert_true(h2_request_begin(guest_link_session(host.l), &many[i], "GET", "/big", 0));
        }
        for (size_t i = 8; i < 16; i++) {
            many[i].discard = true;
            assert_true(h2_request_begin(guest_link_session(host.l), &many[i], "POST", "/echo",
                                         100U << 20));
        }
        for (size_t turns = 0; turns < 5 + round * 3; turns++)
            test_loop_turn(&t);
        guest_link_close(TAKE(host.l));
        for (size_t i = 0; i < 16; i++) {
            LOOP_UNTIL(&t, many[i].closed);
            assert_true(many[i].errnum == ECONNRESET || many[i].errnum == ECONNREFUSED);
        }
        memset(many, 0, sizeof(many));
    }
    fake_host_start(&host, &vm);
    fake_host_assert_alive(&host, &t);
}

static void test_stopped_vm_is_waited_for(void **state)
{
    (void)state;
    fake_vm_pause(&vm, true);
    fake_host_start(&host, &vm);
    guest_link_set_vm_running(host.l, false);
    LOOP_UNTIL(&t, vm.clients == 1);
    int64_t until = clock_mono_ms() + LINK_ACK_MS * 3 / 2;
    LOOP_UNTIL(&t, clock_mono_ms() > until);
    assert_int_equal(vm.clients, 1); /* no deadline has run out */
    fake_vm_pause(&vm, false);
    guest_link_set_vm_running(host.l, true);
    fake_host_assert_alive(&host, &t);
    assert_int_equal(vm.clients, 1);
}

static void test_vm_that_appears_late_is_found(void **state)
{
    (void)state;
    struct link_address address = fake_vm_address(&vm);
    str_copy(str_of(tempdir_path(&vm.dir, "later")), address.path, sizeof(address.path));
    fake_host_start_at(&host, &t, address);
    LOOP_UNTIL(&t, host.l->pause_ms >= 8 * LINK_PAUSE_MIN_MS); /* it becomes patient */
    assert_int_equal(rename(vm.path, address.path), 0);
    fake_host_assert_alive(&host, &t);
}

static void test_broken_guest_session_is_replaced(void **state)
{
    (void)state;
    fake_host_start(&host, &vm);
    fake_host_assert_alive(&host, &t);
    /* Bytes that are no HTTP/2, as if from the guest. */
    io_write(&vm.client->io, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    LOOP_UNTIL(&t, host.downs == 1);
    fake_host_assert_alive(&host, &t);
    assert_int_equal(host.ups, 2);
}

/* Guests of our own hands. */

static struct test_peer guest;

static int start_raw(void **state)
{
    (void)state;
    test_loop_init(&t);
    guest = (struct test_peer){ .fd = fake_vm_start_raw(&vm, &t) };
    fake_host_start(&host, &vm);
    return 0;
}

static int stop_raw(void **state)
{
    test_peer_close(&guest);
    return stop(state);
}

/* The nonce of the marker that the host has sent last. */
static bool guest_has_marker(uint8_t *nonce)
{
    test_peer_pull(&guest);
    size_t n = buf_len(&guest.got);
    if (n < LINK_SECRET_SIZE + LINK_NONCE_SIZE)
        return false;
    memcpy(nonce, buf_head(&guest.got) + n - LINK_NONCE_SIZE, LINK_NONCE_SIZE);
    return true;
}

static void test_host_sends_nothing_before_the_ack(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE], other[LINK_NONCE_SIZE] = "not of this host";
    LOOP_UNTIL(&t, guest_has_marker(nonce));
    assert_memory_equal(buf_head(&guest.got), LINK_SECRET_INITIAL, LINK_SECRET_SIZE);
    /* An old answer, noise, a wrong one: nothing but A N counts. */
    assert_true(test_peer_send(&guest, LINK_ACK, LINK_ACK_SIZE));
    assert_true(test_peer_send(&guest, other, sizeof(other)));
    assert_true(test_peer_send(&guest, "PRI * HTTP/2.0", 14));
    test_loop_settle(&t);
    assert_int_equal(host.ups, 0);
    assert_int_equal(buf_len(&guest.got), LINK_SECRET_SIZE + LINK_NONCE_SIZE);
    assert_true(test_peer_send(&guest, LINK_ACK, LINK_ACK_SIZE));
    assert_true(test_peer_send(&guest, nonce, sizeof(nonce)));
    LOOP_UNTIL(&t, host.ups == 1);
    LOOP_UNTIL(&t, test_peer_has(&guest, "PRI * HTTP/2.0"));
}

static void test_silent_guest_is_tried_again(void **state)
{
    (void)state;
    uint8_t first[LINK_NONCE_SIZE], second[LINK_NONCE_SIZE];
    LOOP_UNTIL(&t, guest_has_marker(first));
    LOOP_UNTIL(&t, vm.clients == 2);
    buf_clear(&guest.got);
    LOOP_UNTIL(&t, guest_has_marker(second));
    assert_memory_not_equal(first, second, LINK_NONCE_SIZE);
    assert_true(test_peer_send(&guest, LINK_ACK, LINK_ACK_SIZE));
    assert_true(test_peer_send(&guest, second, sizeof(second)));
    LOOP_UNTIL(&t, host.ups == 1);
}

static void test_garbage_before_the_ack_is_bounded(void **state)
{
    (void)state;
    static uint8_t zeros[65536];
    uint8_t nonce[LINK_NONCE_SIZE];
    LOOP_UNTIL(&t, guest_has_marker(nonce));
    guest_link_set_vm_running(host.l, false); /* so that no deadline ends it */
    size_t sent = 0;
    while (vm.clients < 2 && sent < 2 * LINK_GARBAGE_MAX) {
        ssize_t n = write(guest.fd, zeros, sizeof(zeros));
        sent += n > 0 ? (size_t)n : 0;
        test_loop_turn(&t);
    }
    assert_int_equal(vm.clients, 2);
    assert_true(sent > LINK_GARBAGE_MAX);
    assert_int_equal(host.ups, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
#define RAW(name)  cmocka_unit_test_setup_teardown(name, start_raw, stop_raw)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_new_host_after_one_that_died_in_the_middle_of_frames),
        CASE(test_marker_in_pieces_in_the_middle_of_a_session),
        CASE(test_marker_cut_by_death_costs_one_more_try),
        CASE(test_hosts_killed_under_traffic),
        CASE(test_stopped_vm_is_waited_for),
        CASE(test_vm_that_appears_late_is_found),
        CASE(test_broken_guest_session_is_replaced),
        RAW(test_host_sends_nothing_before_the_ack),
        RAW(test_silent_guest_is_tried_again),
        RAW(test_garbage_before_the_ack_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
