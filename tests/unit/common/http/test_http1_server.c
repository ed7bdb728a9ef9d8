#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

static void test_request_is_described(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "POST /hold?a=b%20c HTTP/1.1\r\nHost: h:8\r\nX-One: 1\r\nConnection: keep-alive, "
                "x-hop\r\nX-Hop: secret\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\n"
                "X-One: 2\r\nContent-Length: 4\r\n\r\nbody");
    assert_int_equal(v.requests, 1);
    struct h1_seen *r = &v.seen[0];
    assert_string_equal(r->method, "POST");
    assert_string_equal(r->target, "/hold?a=b%20c");
    assert_string_equal(r->authority, "h:8");
    assert_string_equal(r->fields, "x-one=1;x-one=2;");
    assert_int_equal(r->content_length, 4);
    h1_stop(&v);
}

static void test_absolute_target_names_the_authority(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET http://b:9/ok HTTP/1.1\r\nHost: a\r\n\r\n");
    h1_send(&v, "GET http://b?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    h1_send(&v, "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(v.requests, 3);
    assert_string_equal(v.seen[0].authority, "b:9");
    assert_string_equal(v.seen[0].target, "/ok");
    assert_string_equal(v.seen[1].target, "/?x=1");
    assert_string_equal(v.seen[2].target, "*");
    h1_stop(&v);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    struct buf all = { 0 };
    for (int i = 0; i < 40; i++)
        buf_printf(&all, H1_GET("/%d"), i);
    h1_send_bytes(&v, buf_head(&all), buf_len(&all));
    LOOP_UNTIL(&v.t, h1_count(&v, "404 Not Found") == 40);
    for (int i = 0; i < 40; i++) {
        char target[8];
        snprintf(target, sizeof(target), "/%d", i);
        assert_string_equal(v.seen[i].target, target);
        assert_int_equal(v.seen[i].errnum, 0);
    }
    buf_deinit(&all);
    h1_stop(&v);
}

static void test_connection_close_is_honoured(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n" H1_GET("/ok"));
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.requests, 1);
    assert_true(test_peer_has(&v.peer, "connection: close\r\n"));
    assert_true(test_peer_has(&v.peer, "\r\n\r\nok"));
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);
}

static void test_body_by_length_and_chunks(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_POST("Content-Length: 5\r\n") "hello" H1_POST(
                    "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: v\r\n"
                                                      "Content-Length: 9\r\n\r\n" H1_GET("/ok"));
    assert_int_equal(v.requests, 3);
    assert_str(buf_str(&v.seen[0].body), "hello");
    assert_str(buf_str(&v.seen[1].body), "abcde");
    assert_int_equal(v.seen[1].content_length, -1);
    assert_string_equal(v.seen[1].trailer, "x-t=v");
    assert_true(test_peer_has(&v.peer, "\r\n\r\nhelloHTTP/1.1 200"));
    h1_stop(&v);
}

static void test_client_that_goes_away_is_noticed(void **state)
{
    (void)state;
    struct h1_server v;

    h1_start(&v, NULL); /* while the handler works */
    h1_send(&v, H1_GET("/hold"));
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);

    h1_start(&v, NULL); /* in the middle of a response */
    h1_send(&v, H1_GET("/hold"));
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_data(&v, &v.seen[0], "x", 1);
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);

    h1_start(&v, NULL); /* in the middle of a request */
    h1_send(&v, H1_POST("Content-Length: 10\r\n") "abc");
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    assert_false(v.seen[0].ended);
    h1_stop(&v);

    h1_start(&v, NULL); /* in the middle of a head */
    h1_send(&v, "GET /ok HT");
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.requests, 0);
    h1_stop(&v);
}

static void test_answered_requests_survive_a_half_close(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    for (int i = 0; i < 30; i++)
        assert_true(test_peer_send(&v.peer, H1_GET("/ok"), strlen(H1_GET("/ok"))));
    shutdown(v.peer.fd, SHUT_WR);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_count(&v, "\r\n\r\nok"), 30);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);
}

static void test_reset_closes_the_connection(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_reset(&v, &v.seen[0]);
    h1_reset(&v, &v.seen[0]);
    assert_false(v.seen[0].closed);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.seen[0].errnum, ECANCELED);
    assert_false(test_peer_has(&v.peer, "0\r\n\r\n"));
    h1_stop(&v);
}

static void test_continue_is_sent_when_the_handler_waits(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_POST("Expect: 100-Continue\r\nContent-Length: 3\r\n"));
    assert_true(v.seen[0].expected);
    test_peer_pull(&v.peer);
    assert_str(buf_str(&v.peer.got), "HTTP/1.1 100 Continue\r\n\r\n");
    h1_send(&v, "abc" H1_GET("/ok"));
    assert_int_equal(v.requests, 2);
    assert_int_equal(h1_count(&v, "100 Continue"), 1);
    h1_stop(&v);
}

static void test_continue_is_not_sent_after_a_refusal(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "POST /deny HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                "Content-Length: 30\r\n\r\n" H1_GET("/ok"));
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_last_status(&v), 403);
    assert_int_equal(h1_count(&v, "100 Continue"), 0);
    assert_true(test_peer_has(&v.peer, "connection: close"));
    assert_int_equal(v.requests, 1);
    h1_stop(&v);
}

static void test_expectation_without_a_body_is_ignored(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n" H1_GET("/ok"));
    assert_int_equal(v.requests, 2);
    assert_int_equal(h1_count(&v, "100 Continue"), 0);
    h1_stop(&v);
}

static void test_drain(void **state)
{
    (void)state;
    struct h1_server v;

    h1_start(&v, NULL); /* idle: ends at once */
    h1_send(&v, H1_GET("/ok"));
    http1_conn_drain(v.conn);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);

    h1_start(&v, NULL); /* the request in flight is answered first */
    h1_send(&v, H1_GET("/hold") H1_GET("/ok"));
    http1_conn_drain(v.conn);
    test_loop_settle(&v.t);
    assert_int_equal(v.gone, 0);
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_data(&v, &v.seen[0], "abc", 3);
    h1_end(&v, &v.seen[0]);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_true(test_peer_has(&v.peer, "connection: close\r\n"));
    assert_true(test_peer_has(&v.peer, "3\r\nabc\r\n0\r\n\r\n"));
    assert_int_equal(v.requests, 1);
    h1_stop(&v);
}

static void test_abort_tells_the_handler(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    v.inside = true;
    http1_conn_abort(v.conn);
    v.inside = false;
    assert_false(v.seen[0].closed);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_described),
        cmocka_unit_test(test_absolute_target_names_the_authority),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_connection_close_is_honoured),
        cmocka_unit_test(test_body_by_length_and_chunks),
        cmocka_unit_test(test_client_that_goes_away_is_noticed),
        cmocka_unit_test(test_answered_requests_survive_a_half_close),
        cmocka_unit_test(test_reset_closes_the_connection),
        cmocka_unit_test(test_continue_is_sent_when_the_handler_waits),
        cmocka_unit_test(test_continue_is_not_sent_after_a_refusal),
        cmocka_unit_test(test_expectation_without_a_body_is_ignored),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_abort_tells_the_handler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
