/* Requests that ask for another protocol. */
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <errno.h>
#include <sys/socket.h>

#define UPGRADE                                                                                    \
    "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "             \
    "websocket\r\n\r\n"

static void test_upgrade_makes_raw_bytes(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, UPGRADE "early");
    struct h1_seen *r = &v.seen[0];
    assert_string_equal(r->upgrade, "websocket");
    assert_false(r->ended);
    assert_int_equal(buf_len(&r->body), 0);
    assert_int_equal(h1_head(&v, r, 101, -1, false), 0);
    h1_data(&v, r, "GET", 3);
    test_loop_settle(&v.t);
    assert_str(buf_str(&r->body), "early");
    assert_true(test_peer_has(&v.peer, "101 Switching Protocols\r\n"));
    assert_true(test_peer_has(&v.peer, "connection: upgrade\r\nupgrade: websocket\r\n\r\nGET"));
    h1_send(&v, H1_GET("/ok"));
    assert_str(buf_str(&r->body), "early" H1_GET("/ok"));
    assert_int_equal(v.requests, 1);

    /* Each side ends for itself. */
    shutdown(v.peer.fd, SHUT_WR);
    LOOP_UNTIL(&v.t, r->ended);
    assert_false(r->closed);
    h1_data(&v, r, "last", 4);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, r->closed && test_peer_ended(&v.peer));
    assert_int_equal(r->errnum, 0);
    assert_true(test_peer_has(&v.peer, "GETlast"));
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);
}

static void test_upgrade_ended_by_the_handler_first(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, UPGRADE);
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 101, -1, false);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    h1_send(&v, "more");
    v.peer.eof = false;
    assert_true(test_peer_send(&v.peer, "more", 4));
    LOOP_UNTIL(&v.t, buf_len(&r->body) == 4);
    assert_false(r->closed);
    shutdown(v.peer.fd, SHUT_WR);
    LOOP_UNTIL(&v.t, r->closed);
    assert_int_equal(r->errnum, 0);
    h1_stop(&v);
}

static void test_upgrade_with_another_answer(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, UPGRADE H1_GET("/ok"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 400, 3, false);
    LOOP_UNTIL(&v.t, r->ended);
    h1_data(&v, r, "abc", 3);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, v.requests == 2 && v.seen[1].closed);
    h1_stop(&v);
}

static void test_upgrade_that_nobody_wants_is_a_plain_request(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /hold HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_true(v.seen[0].ended);
    assert_int_equal(h1_head(&v, &v.seen[0], 101, -1, false), -EINVAL);
    h1_head(&v, &v.seen[0], 204, 0, true);
    /* Neither one without the connection option, nor h2c, nor one with a body. */
    h1_send(&v, "GET /upgrade HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n");
    assert_string_equal(v.seen[1].upgrade, "");
    assert_int_equal(h1_head(&v, &v.seen[1], 101, -1, false), -EINVAL);
    h1_head(&v, &v.seen[1], 204, 0, true);
    h1_send(&v, "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert_string_equal(v.seen[2].upgrade, "");
    h1_head(&v, &v.seen[2], 204, 0, true);
    h1_send(&v, "POST /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n"
                "Content-Length: 2\r\n\r\nab");
    assert_string_equal(v.seen[3].upgrade, "");
    assert_true(v.seen[3].ended);
    h1_stop(&v);
}

static void test_window_holds_raw_bytes_back(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.window = 1000;
    struct h1_server v;
    h1_start(&v, &limits);
    v.hold = true;
    static char bytes[5000];
    h1_send(&v, UPGRADE);
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 101, -1, false);
    assert_true(test_peer_send(&v.peer, bytes, sizeof(bytes)));
    shutdown(v.peer.fd, SHUT_WR);
    test_loop_settle(&v.t);
    assert_int_equal(buf_len(&r->body), 1000);
    assert_false(r->ended);
    while (r->unconsumed > 0) {
        h1_consume(&v, r, r->unconsumed);
        test_loop_settle(&v.t);
    }
    assert_int_equal(buf_len(&r->body), 5000);
    assert_true(r->ended);
    h1_stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upgrade_makes_raw_bytes),
        cmocka_unit_test(test_upgrade_ended_by_the_handler_first),
        cmocka_unit_test(test_upgrade_with_another_answer),
        cmocka_unit_test(test_upgrade_that_nobody_wants_is_a_plain_request),
        cmocka_unit_test(test_window_holds_raw_bytes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
