/* What a peer may take of memory and time. */
#include "common/base/cleanup.h"
#include "common/http/http1_conn.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <stdio.h>
#include <sys/socket.h>

static void test_reading_ahead_is_bounded(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    /* The peer goes on sending requests until the socket takes no more. */
    size_t sent = 0, stuck = 0;
    while (stuck < 100) {
        if (test_peer_send(&v.peer, H1_GET("/ok"), strlen(H1_GET("/ok")))) {
            sent++;
            stuck = 0;
        } else {
            stuck++;
        }
        test_loop_turn(&v.t);
    }
    assert_int_equal(v.requests, 1);
    assert_true(sent > HTTP1_READ_AHEAD / strlen(H1_GET("/ok")));
    size_t held = buf_len(&v.conn->in);
    assert_in_range(held, HTTP1_READ_AHEAD, HTTP1_READ_AHEAD + IO_FD_READ_SIZE);
    h1_stop(&v);
}

static void test_window_holds_the_peer_back(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.window = 100000;
    struct h1_server v;
    h1_start(&v, &limits);
    v.hold = true;
    size_t total = 3000000, sent = 0, stuck = 0;
    char head[128];
    snprintf(head, sizeof(head), H1_POST("Content-Length: %zu\r\n"), total);
    assert_true(test_peer_send(&v.peer, head, strlen(head)));
    static uint8_t piece[10000];
    memset(piece, 'x', sizeof(piece));
    while (stuck < 100) {
        stuck++;
        ssize_t n = send(v.peer.fd, piece, sizeof(piece), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            stuck = 0;
        }
        test_loop_turn(&v.t);
    }
    struct h1_seen *r = &v.seen[0];
    assert_int_equal(buf_len(&r->body), limits.window);
    assert_true(sent < total);

    /* Given back little by little, all of it arrives. */
    r->hold = false;
    h1_consume(&v, r, r->unconsumed);
    int64_t deadline = clock_mono_ms() + TEST_LOOP_MS;
    while (sent < total && clock_mono_ms() < deadline) {
        size_t want = total - sent < sizeof(piece) ? total - sent : sizeof(piece);
        ssize_t n = send(v.peer.fd, piece, want, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        test_loop_turn(&v.t);
    }
    LOOP_UNTIL(&v.t, (test_peer_pull(&v.peer), buf_len(&v.peer.got) > total));
    assert_int_equal(buf_len(&r->body), total);
    h1_stop(&v);
}

static void test_slow_reader_holds_the_handler_back(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 200, -1, false);
    static uint8_t piece[16384];
    size_t sent = 0;
    while (http_writable(r->s)) {
        h1_data(&v, r, piece, sizeof(piece));
        sent += sizeof(piece);
        assert_true(sent < 16 * 1024 * 1024);
    }
    test_loop_settle(&v.t);
    assert_int_equal(r->writables, 0);
    assert_false(http_writable(r->s));
    LOOP_UNTIL(&v.t, (test_peer_pull(&v.peer), r->writables == 1));
    assert_true(http_writable(r->s));
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n0\r\n\r\n"));
    h1_stop(&v);
}

static void test_pipelining_peer_that_reads_nothing(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    /* Answers of 1 MB each, none of which is read: the second request waits for room. */
    h1_send(&v, H1_GET("/hold") H1_GET("/hold"));
    AUTO_FREE uint8_t *big = calloc(1, 1000000);
    h1_head(&v, &v.seen[0], 200, 1000000, false);
    h1_data(&v, &v.seen[0], big, 1000000);
    h1_end(&v, &v.seen[0]);
    for (int i = 0; i < 64; i++)
        test_loop_turn(&v.t);
    assert_true(v.seen[0].closed);
    assert_int_equal(v.requests, 1);
    LOOP_UNTIL(&v.t, (test_peer_pull(&v.peer), v.requests == 2));
    h1_stop(&v);
}

static void test_head_limits(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.head_bytes = 1000;
    limits.fields = 5;
    struct h1_server v;
    static const char line[] = "X-Field: 0123456789\r\n";

    h1_start(&v, &limits); /* as many fields as are allowed */
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nA:1\r\nB:1\r\nC:1\r\nD:1\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 200);
    h1_stop(&v);

    h1_start(&v, &limits); /* one more */
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nA:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 431);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.requests, 0);
    h1_stop(&v);

    h1_start(&v, &limits); /* too many, and no end of them */
    h1_send(&v, "GET /ok HTTP/1.1\r\n");
    for (int i = 0; i < 7; i++)
        h1_send(&v, line);
    assert_int_equal(h1_last_status(&v), 431);
    h1_stop(&v);

    char big[1200];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    h1_start(&v, &limits); /* one long line */
    h1_send(&v, "GET /");
    h1_send(&v, big);
    assert_int_equal(h1_last_status(&v), 431);
    assert_true(test_peer_has(&v.peer, "{\"code\":431,\"message\":\""));
    h1_stop(&v);

    h1_start(&v, &limits); /* complete, but too long */
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nA: ");
    h1_send(&v, big);
    h1_send(&v, "\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 431);
    assert_int_equal(v.requests, 0);
    h1_stop(&v);
}

static void test_trailer_limit(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.trailer_bytes = 50;
    struct h1_server v;
    h1_start(&v, &limits);
    h1_send(&v, H1_POST("Transfer-Encoding: chunked\r\n") "0\r\nX: 0123456789\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 200);
    h1_send(&v, H1_POST("Transfer-Encoding: chunked\r\n") "0\r\nX: 0123456789\r\nX: 0123456789\r\n"
                                                          "X: 0123456789\r\nX: 0123456789\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 400);
    assert_int_equal(v.seen[1].errnum, EPROTO);
    h1_stop(&v);
}

static void test_slow_head_is_refused(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.head_ms = 50;
    struct h1_server v;
    h1_start(&v, &limits);
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 1000 && !test_peer_ended(&v.peer); i++) {
        test_peer_send(&v.peer, i == 0 ? "G" : "E", 1); /* bytes do not buy time */
        test_loop_turn(&v.t);
        test_loop_turn(&v.t);
    }
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_last_status(&v), 408);
    assert_true(clock_mono_ms() - began < 10000);
    h1_stop(&v);
}

static void test_unfinished_heads_are_counted(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\n");
    assert_int_equal(v.heads, 27);
    h1_send(&v, "X: y\r\n");
    assert_int_equal(v.heads, 33);
    h1_send(&v, "\r\n");
    assert_int_equal(h1_last_status(&v), 200);
    assert_int_equal(v.heads, 0);
    h1_send(&v, "GET");
    assert_int_equal(v.heads, 3);
    h1_stop(&v);
    assert_int_equal(v.heads, 0);
}

/* Others hold all that may be held: a whole head is served, a part of one is not kept. */
static void test_too_many_unfinished_heads(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    v.heads = HTTP1_HEADS_MAX - 2;
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 200);
    h1_send(&v, "GE");
    assert_int_equal(v.heads, HTTP1_HEADS_MAX);
    h1_send(&v, "T");
    assert_int_equal(h1_last_status(&v), 503);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.heads, HTTP1_HEADS_MAX - 2);
    assert_int_equal(v.requests, 1);
    h1_stop(&v);
    assert_int_equal(v.heads, HTTP1_HEADS_MAX - 2);
}

static void test_idle_connection_is_closed(void **state)
{
    (void)state;
    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.idle_ms = 30;
    struct h1_server v;
    h1_start(&v, &limits);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(buf_len(&v.peer.got), 0);
    h1_stop(&v);

    h1_start(&v, &limits); /* a request in flight is not idle */
    h1_send(&v, H1_GET("/hold"));
    int64_t until = clock_mono_ms() + 100;
    while (clock_mono_ms() < until)
        test_loop_turn(&v.t);
    assert_false(v.seen[0].closed);
    h1_head(&v, &v.seen[0], 200, 0, true);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_last_status(&v), 200);
    h1_stop(&v);
}

static void test_rest_of_a_refused_upload_is_discarded(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    static const char head[] = "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    static uint8_t body[100000];
    h1_send(&v, head);
    assert_int_equal(h1_last_status(&v), 403);
    assert_true(v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, 0);
    h1_send_bytes(&v, body, sizeof(body));
    h1_send(&v, H1_GET("/ok")); /* the connection lives */
    assert_int_equal(v.requests, 2);
    assert_int_equal(h1_last_status(&v), 200);
    h1_stop(&v);

    struct http_limits limits = HTTP_LIMITS_DEFAULT;
    limits.head_ms = 3600000;
    h1_start(&v, &limits); /* too much of it ends the connection */
    h1_send(&v, "POST /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    for (int i = 0; i < 100 && !v.peer.eof && !v.peer.error; i++)
        h1_send_bytes(&v, body, sizeof(body));
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_last_status(&v), 403);
    h1_stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_ahead_is_bounded),
        cmocka_unit_test(test_window_holds_the_peer_back),
        cmocka_unit_test(test_slow_reader_holds_the_handler_back),
        cmocka_unit_test(test_pipelining_peer_that_reads_nothing),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_trailer_limit),
        cmocka_unit_test(test_slow_head_is_refused),
        cmocka_unit_test(test_unfinished_heads_are_counted),
        cmocka_unit_test(test_too_many_unfinished_heads),
        cmocka_unit_test(test_idle_connection_is_closed),
        cmocka_unit_test(test_rest_of_a_refused_upload_is_discarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
