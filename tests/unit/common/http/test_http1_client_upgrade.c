/* Requests that ask for another protocol. */
#include "common/base/cleanup.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_client.h"

#include <sys/socket.h>

static void start_upgrade(struct h1_client_end *e, struct h1_call *c)
{
    h1_call_open(e, c);
    struct http_head head = { .method = STR("GET"),
                              .target = STR("/ws"),
                              .authority = STR("h"),
                              .upgrade = STR("websocket"),
                              .content_length = 0 };
    assert_int_equal(http_send_head(c->s, &head, false), 0);
    assert_true(test_peer_has(&e->peer, "host: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                                        "\r\n"));
}

static void test_upgrade(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    start_upgrade(&e, &c);
    assert_false(http_writable(c.s));
    h1_client_answer(
        &e, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
            "\r\nraw");
    assert_int_equal(c.status, 101);
    assert_string_equal(c.upgrade, "WebSocket");
    assert_str(buf_str(&c.body), "raw");
    http_send_data(c.s, "up", 2);
    assert_true(test_peer_has(&e.peer, "\r\n\r\nup"));
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    h1_client_answer(&e, "down");
    assert_str(buf_str(&c.body), "rawdown");
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.ends, 1);
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_raw_bytes_are_sent_after_the_peers_end(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    start_upgrade(&e, &c);
    buf_clear(&e.peer.got);
    h1_client_answer(
        &e, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.ends == 1);
    AUTO_FREE uint8_t *big = calloc(1, 2000000);
    http_send_data(c.s, big, 2000000);
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_int_equal(buf_len(&e.peer.got), 2000000);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    h1_client_stop(&e);
}

static void test_upgrade_refused(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    start_upgrade(&e, &c);
    h1_client_answer(&e, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    assert_int_equal(c.status, 403);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, 0);
    assert_true(http1_client_reusable(e.client));
    h1_call_done(&c);
    h1_client_stop(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_raw_bytes_are_sent_after_the_peers_end),
        cmocka_unit_test(test_upgrade_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
