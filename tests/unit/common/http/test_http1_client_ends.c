/* Responses that are cut or broken, connections that are lost. */
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_client.h"

#include <errno.h>
#include <sys/socket.h>

static void test_body_until_the_end(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, "HTTP/1.0 200 OK\r\n\r\nabc");
    h1_client_answer(&e, "def");
    assert_int_equal(c.ends, 0);
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.ends, 1);
    assert_str(buf_str(&c.body), "abcdef");
    assert_false(http1_client_reusable(e.client));
    assert_null(http1_client_stream(e.client, &h1_call_events, &c));
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void check_cut(const char *text, int errnum, int heads)
{
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, text);
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    if (c.errnum != errnum || c.heads != heads)
        fail_msg("errnum %d, %d heads after <%s>", c.errnum, c.heads, text);
    assert_int_equal(c.ends, 0);
    assert_false(http1_client_reusable(e.client));
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_cut_responses(void **state)
{
    (void)state;
    check_cut("", ECONNRESET, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Le", ECONNRESET, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", ECONNRESET, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ECONNRESET, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", ECONNRESET,
              1);
}

static void test_broken_responses(void **state)
{
    (void)state;
    check_cut("hello\r\n\r\n", EPROTO, 0);
    check_cut("SSH-2.0", EPROTO, 0);
    check_cut("HTTP/2.0 200 OK\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 20 OK\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\n\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", EPROTO,
              0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
              EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", EPROTO, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx", EPROTO, 1);
}

static void test_head_limit(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    e.limits.head_bytes = 500;
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 30 && c.closes == 0; i++)
        h1_client_answer(&e, "X-Field: 0123456789\r\n");
    assert_int_equal(c.errnum, EPROTO);
    h1_client_stop(&e);
}

static void test_bytes_that_answer_nothing(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false); /* before any request */
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\n\r\n");
    assert_false(http1_client_reusable(e.client));
    h1_client_stop(&e);

    h1_client_start(&e, false); /* behind a response */
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(c.errnum, 0);
    assert_str(buf_str(&c.body), "ok");
    assert_false(http1_client_reusable(e.client));
    h1_call_done(&c);
    h1_client_stop(&e);

    h1_client_start(&e, false); /* before the head was sent */
    h1_call_open(&e, &c);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(c.errnum, EPROTO);
    h1_client_stop(&e);
}

static void test_lost_connections(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };

    h1_client_start(&e, false); /* before the request: it had no effect */
    h1_call_open(&e, &c);
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNREFUSED);
    h1_client_stop(&e);

    h1_client_start(&e, true); /* after it: who knows */
    h1_call_begin(&e, &c, "GET", 0, true);
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNRESET);
    h1_client_stop(&e);

    h1_client_start(&e, false); /* an idle one is not offered again */
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, !http1_client_reusable(e.client));
    assert_null(http1_client_stream(e.client, &h1_call_events, &c));
    h1_client_stop(&e);
}

static void test_answer_before_the_upload_failed(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, true);
    h1_call_begin(&e, &c, "POST", 50000000, false);
    static uint8_t piece[100000];
    for (int i = 0; i < 100; i++)
        http_send_data(c.s, piece, sizeof(piece));
    /* The server answers, reads nothing and closes: its bytes must not be lost in the reset. */
    static const char text[] =
        "HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    assert_true(test_peer_send(&e.peer, text, sizeof(text) - 1));
    test_loop_settle(&e.t);
    assert_int_equal(c.status, 413);
    assert_str(buf_str(&c.body), "big");
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNRESET);
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_held_response_outlives_its_connection(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { .hold = true };
    h1_client_start(&e, false);
    e.limits.window = 50000;
    h1_call_begin(&e, &c, "GET", 0, true);
    static char text[60000] = "HTTP/1.1 200 OK\r\nContent-Length: 59958\r\n\r\n";
    assert_true(test_peer_send(&e.peer, text, sizeof(text)));
    test_loop_settle(&e.t);
    assert_int_equal(buf_len(&c.body), 50000);
    test_peer_close(&e.peer); /* the request was not read: a reset */
    test_loop_settle(&e.t);
    assert_int_equal(c.closes, 0);
    c.unconsumed = 0;
    http_consume(c.s, 50000);
    c.hold = false;
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(buf_len(&c.body), 59958);
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_reset(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    e.inside = true;
    http_reset(c.s);
    e.inside = false;
    assert_int_equal(c.closes, 0);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECANCELED);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_false(http1_client_reusable(e.client));
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_close_with_a_request_in_flight(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", 0, true);
    e.inside = true;
    http1_client_close(e.client);
    e.inside = false;
    LOOP_UNTIL(&e.t, c.closes == 1 && !e.fd);
    assert_int_equal(c.errnum, ECANCELED);
    test_peer_close(&e.peer);
    test_loop_deinit(&e.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_body_until_the_end),
        cmocka_unit_test(test_cut_responses),
        cmocka_unit_test(test_broken_responses),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_bytes_that_answer_nothing),
        cmocka_unit_test(test_lost_connections),
        cmocka_unit_test(test_answer_before_the_upload_failed),
        cmocka_unit_test(test_held_response_outlives_its_connection),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_close_with_a_request_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
