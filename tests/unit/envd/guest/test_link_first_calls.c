/* What envd's end of the link does between a marker and the session. */
#include "common/base/cleanup.h"
#include "envd/guest/link_internal.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <guest.pb-c.h>

#define PREFACE  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define SETTINGS "\0\0\0\4\0\0\0\0\0" /* none of them */

static struct test_loop t;
static struct envd envd;
static struct envd_link *link_;
static struct test_peer host;
static struct http_acceptor nobody;

static int setup(void **state)
{
    (void)state;
    struct err err;
    int fd;
    test_loop_init(&t);
    envd = (struct envd){ .loop = &t.loop };
    defer_queue_init(&envd.defer, &t.loop);
    test_peer_pair(&host, &fd);
    assert_int_equal(envd_link_start_fd(&link_, &envd, &nobody, fd, &err), 0);
    envd.link = link_;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    envd_link_close(link_);
    test_loop_settle(&t);
    test_peer_close(&host);
    envd_clear_envs(&envd.envs);
    envd_clear_envs(&envd.internal_envs);
    defer_queue_close(&envd.defer);
    test_loop_deinit(&t);
    return 0;
}

static struct buf configure_frame(const char *id)
{
    Sandpit__Guest__V1__ConfigureRequest m = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    uint8_t packed[256];
    struct buf b = { 0 };
    m.sandbox_id = (char *)(uintptr_t)id;
    assert_true(protobuf_c_message_get_packed_size(&m.base) < sizeof(packed));
    size_t n = protobuf_c_message_pack(&m.base, packed);
    link_frame_put(&b, LINK_FRAME_CONFIGURE, (struct str){ (const char *)packed, n });
    return b;
}

static void send_all(const void *data, size_t n, size_t piece)
{
    for (size_t at = 0; at < n; at += piece) {
        assert_true(
            test_peer_send(&host, (const uint8_t *)data + at, n - at < piece ? n - at : piece));
        if (piece < n)
            test_loop_settle(&t);
    }
}

/* A marker, and its acknowledgement. */
static void begin(void)
{
    static const uint8_t nonce[LINK_NONCE_SIZE] = "0123456789abcde";
    send_all(LINK_SECRET_INITIAL, LINK_SECRET_SIZE, LINK_SECRET_SIZE);
    send_all(nonce, sizeof(nonce), sizeof(nonce));
    size_t n = LINK_ACK_SIZE + sizeof(nonce);
    LOOP_UNTIL(&t, (test_peer_pull(&host), buf_len(&host.got) >= n));
    assert_memory_equal(buf_head(&host.got), LINK_ACK, LINK_ACK_SIZE);
    buf_consume(&host.got, n);
}

/* The next frame is an answer of that type. */
static void expect(uint8_t type)
{
    LOOP_UNTIL(&t, (test_peer_pull(&host), buf_len(&host.got) >= LINK_FRAME_HEAD));
    const uint8_t *head = buf_head(&host.got);
    size_t size = LINK_FRAME_HEAD + (size_t)head[4];
    assert_int_equal(head[0], type);
    LOOP_UNTIL(&t, (test_peer_pull(&host), buf_len(&host.got) >= size));
    buf_consume(&host.got, size);
}

static void expect_session(void)
{
    send_all(PREFACE, sizeof(PREFACE) - 1, sizeof(PREFACE));
    send_all(SETTINGS, sizeof(SETTINGS) - 1, sizeof(SETTINGS));
    LOOP_UNTIL(&t, (test_peer_pull(&host), buf_len(&host.got) >= 9));
    assert_int_equal(buf_head(&host.got)[3], 4); /* the server's SETTINGS */
    buf_clear(&host.got);
}

static void test_calls_in_any_pieces(void **state)
{
    (void)state;
    struct buf frame = configure_frame("i1");
    size_t n = buf_len(&frame);
    for (size_t piece = 1; piece <= n; piece++) {
        envd.sandbox_id[0] = '\0';
        begin();
        assert_int_equal(buf_len(&host.got), 0); /* no session yet */
        send_all(buf_head(&frame), n, piece);
        expect(LINK_FRAME_CONFIGURE);
        assert_string_equal(envd.sandbox_id, "i1");
    }
    /* One after the other, then the session. */
    struct buf other = configure_frame("i2");
    buf_append_str(&frame, buf_str(&other));
    send_all(buf_head(&frame), buf_len(&frame), buf_len(&frame));
    expect(LINK_FRAME_CONFIGURE);
    expect(LINK_FRAME_CONFIGURE);
    assert_string_equal(envd.sandbox_id, "i2");
    expect_session();
    buf_deinit(&frame);
    buf_deinit(&other);
}

static void test_what_is_wrong_is_declined(void **state)
{
    (void)state;
    struct buf frame = configure_frame("");
    begin();
    send_all(buf_head(&frame), buf_len(&frame), 100);
    expect(LINK_FRAME_DECLINED);
    send_all("C\0\0\0\2\xff\xff", 7, 7);
    expect(LINK_FRAME_DECLINED);
    send_all("N\0\0\0\0", 5, 5);
    expect(LINK_FRAME_DECLINED);
    send_all("R\0\0\0\0", 5, 5);
    expect(LINK_FRAME_REFRESH);
    expect_session();
    buf_deinit(&frame);
}

/* In a session the same bytes are nothing but a protocol error. */
static void test_no_call_after_the_session_began(void **state)
{
    (void)state;
    struct buf frame = configure_frame("i1");
    begin();
    expect_session();
    send_all(buf_head(&frame), buf_len(&frame), 100);
    test_loop_settle(&t);
    assert_string_equal(envd.sandbox_id, "");
    buf_deinit(&frame);
}

static void test_one_that_is_too_long_waits_for_a_marker(void **state)
{
    (void)state;
    struct buf frame = configure_frame("i1");
    begin();
    send_all("C\0\1\0\1", 5, 5);
    test_loop_settle(&t);
    send_all(buf_head(&frame), buf_len(&frame), 100);
    test_loop_settle(&t);
    test_peer_pull(&host);
    assert_int_equal(buf_len(&host.got), 0);
    assert_string_equal(envd.sandbox_id, "");
    begin();
    send_all(buf_head(&frame), buf_len(&frame), 100);
    expect(LINK_FRAME_CONFIGURE);
    expect_session();
    buf_deinit(&frame);
}

/* The host of the first call is gone in the middle of it. */
static void test_a_marker_ends_half_a_call(void **state)
{
    (void)state;
    struct buf frame = configure_frame("i1");
    for (size_t n = 1; n < buf_len(&frame); n++) {
        begin();
        send_all(buf_head(&frame), n, n);
    }
    begin();
    assert_int_equal(buf_len(&host.got), 0);
    assert_string_equal(envd.sandbox_id, "");
    send_all(buf_head(&frame), buf_len(&frame), 100);
    expect(LINK_FRAME_CONFIGURE);
    expect_session();
    buf_deinit(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_calls_in_any_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_wrong_is_declined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_call_after_the_session_began, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_marker_ends_half_a_call, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_is_too_long_waits_for_a_marker, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
