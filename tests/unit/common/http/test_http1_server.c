#include "common/base/cleanup.h"
#include "common/http/http1_conn.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define GET(target)  "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(fields) "POST /echo HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

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
        buf_printf(&all, GET("/%d"), i);
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

static void test_reading_ahead_is_bounded(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold"));
    /* The peer goes on sending requests until the socket takes no more. */
    size_t sent = 0, stuck = 0;
    while (stuck < 100) {
        if (test_peer_send(&v.peer, GET("/ok"), strlen(GET("/ok")))) {
            sent++;
            stuck = 0;
        } else {
            stuck++;
        }
        test_loop_turn(&v.t);
    }
    assert_int_equal(v.requests, 1);
    assert_true(sent > HTTP1_READ_AHEAD / strlen(GET("/ok")));
    size_t held = buf_len(&v.conn->in);
    assert_in_range(held, HTTP1_READ_AHEAD, HTTP1_READ_AHEAD + IO_FD_READ_SIZE);
    h1_stop(&v);
}

static void test_connection_close_is_honoured(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n" GET("/ok"));
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.requests, 1);
    assert_true(test_peer_has(&v.peer, "connection: close\r\n"));
    assert_true(test_peer_has(&v.peer, "\r\n\r\nok"));
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);
}

static void test_http10_gets_no_chunks(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_data(&v, &v.seen[0], "abc", 3);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\nabc"));
    assert_false(test_peer_has(&v.peer, "chunked"));
    h1_end(&v, &v.seen[0]);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.seen[0].errnum, 0);
    h1_stop(&v);
}

static void test_response_data_is_not_held_back(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold") GET("/ok"));
    struct h1_seen *r = &v.seen[0];
    assert_true(r->ended);
    h1_head(&v, r, 200, -1, false);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "transfer-encoding: chunked\r\n"));
    h1_data(&v, r, "hello", 5);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\n5\r\nhello\r\n"));
    h1_data(&v, r, "", 0);
    h1_data(&v, r, "!", 1);
    const struct http_field trailer = { STR("x-sum"), STR("7") };
    http_send_trailers(r->s, &trailer, 1);
    assert_false(r->closed);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "hello\r\n1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n"));
    LOOP_UNTIL(&v.t, v.requests == 2 && v.seen[1].closed);
    assert_int_equal(r->errnum, 0);
    h1_stop(&v);
}

/* Status, announced length, end at once; what must and must not be in the answer's head. */
static void check_framing(const char *request, int status, int64_t length, bool end,
                          const char *has, const char *has_not)
{
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, request);
    assert_int_equal(h1_head(&v, &v.seen[0], status, length, end), 0);
    if (!end) {
        h1_data(&v, &v.seen[0], "abcdef", 6);
        h1_end(&v, &v.seen[0]);
    }
    h1_send(&v, GET("/ok"));
    assert_int_equal(v.requests, 2);
    if (has && !test_peer_has(&v.peer, has))
        fail_msg("no <%s> in <%.*s>", has, STR_ARG(buf_str(&v.peer.got)));
    if (has_not)
        assert_false(test_peer_has(&v.peer, has_not));
    h1_stop(&v);
}

static void test_framing_of_responses(void **state)
{
    (void)state;
    const char *get = GET("/hold"), *head = "HEAD /hold HTTP/1.1\r\nHost: a\r\n\r\n";
    check_framing(get, 200, 6, false, "content-length: 6\r\n\r\nabcdefHTTP/1.1 200", NULL);
    check_framing(get, 200, 4, false, "content-length: 4\r\n\r\nabcdHTTP/1.1 200", NULL);
    check_framing(get, 200, -1, false, "6\r\nabcdef\r\n0\r\n\r\nHTTP/1.1 200", "content-length: 6");
    check_framing(get, 200, -1, true, "content-length: 0\r\n\r\nHTTP/1.1 200", "chunked");
    check_framing(get, 204, -1, true, "\r\n\r\nHTTP/1.1 200", "chunked");
    check_framing(get, 204, 6, false, "\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(get, 304, -1, false, "\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, 6, false, "content-length: 6\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, -1, false, "chunked\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, 6, true, "content-length: 6\r\n\r\nHTTP/1.1 200", NULL);
    check_framing(head, 200, -1, true, "\r\n\r\nHTTP/1.1 200", "content-length: 0");
}

static void test_short_response_is_not_taken_for_whole(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold"));
    h1_head(&v, &v.seen[0], 200, 10, false);
    h1_data(&v, &v.seen[0], "abc", 3);
    h1_end(&v, &v.seen[0]);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.seen[0].errnum, EPROTO);
    h1_stop(&v);
}

static void test_heads_that_cannot_be_expressed(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold"));
    struct h1_seen *r = &v.seen[0];
    const struct http_field bad[] = {
        { STR("x"), STR("a\r\nb: c") },
        { STR("x"), STR("a\nb") },
        { STR("x"), STR("a\rb") },
        { STR("x"), STR("a\0b") },
        { STR("x y"), STR("1") },
        { STR("x:"), STR("1") },
        { STR(""), STR("1") },
        { STR("x\r\n"), STR("1") },
        { STR("connection"), STR("x") },
        { STR("Host"), STR("x") },
        { STR("content-length"), STR("3") },
        { STR("Transfer-Encoding"), STR("chunked") },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_head head = { .status = 200,
                                  .fields = (struct http_field *)(uintptr_t)&bad[i],
                                  .nfields = 1 };
        assert_int_equal(http_send_head(r->s, &head, true), -EINVAL);
    }
    assert_int_equal(h1_head(&v, r, 100, 0, true), -EINVAL);
    assert_int_equal(h1_head(&v, r, 1000, 0, true), -EINVAL);
    assert_int_equal(h1_head(&v, r, 101, 0, false), -EINVAL);
    assert_int_equal(h1_head(&v, r, 200, 3, true), -EINVAL);
    test_peer_pull(&v.peer);
    assert_int_equal(buf_len(&v.peer.got), 0);
    assert_int_equal(h1_head(&v, r, 200, 0, false), 0);
    assert_int_equal(h1_head(&v, r, 200, 0, false), -EINVAL);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, r->closed);
    h1_stop(&v);
}

static void test_body_by_length_and_chunks(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, POST("Content-Length: 5\r\n") "hello" POST(
                    "Transfer-Encoding: chunked\r\n") "3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: v\r\n"
                                                      "Content-Length: 9\r\n\r\n" GET("/ok"));
    assert_int_equal(v.requests, 3);
    assert_str(buf_str(&v.seen[0].body), "hello");
    assert_str(buf_str(&v.seen[1].body), "abcde");
    assert_int_equal(v.seen[1].content_length, -1);
    assert_string_equal(v.seen[1].trailer, "x-t=v");
    assert_true(test_peer_has(&v.peer, "\r\n\r\nhelloHTTP/1.1 200"));
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
    snprintf(head, sizeof(head), POST("Content-Length: %zu\r\n"), total);
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
    h1_send(&v, GET("/hold"));
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
    h1_send(&v, GET("/hold") GET("/hold"));
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

static void test_client_that_goes_away_is_noticed(void **state)
{
    (void)state;
    struct h1_server v;

    h1_start(&v, NULL); /* while the handler works */
    h1_send(&v, GET("/hold"));
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);

    h1_start(&v, NULL); /* in the middle of a response */
    h1_send(&v, GET("/hold"));
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_data(&v, &v.seen[0], "x", 1);
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, v.seen[0].closed);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);

    h1_start(&v, NULL); /* in the middle of a request */
    h1_send(&v, POST("Content-Length: 10\r\n") "abc");
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
        assert_true(test_peer_send(&v.peer, GET("/ok"), strlen(GET("/ok"))));
    shutdown(v.peer.fd, SHUT_WR);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(h1_count(&v, "\r\n\r\nok"), 30);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);
}

static void test_last_response_is_sent_whole(void **state)
{
    (void)state;
    struct h1_server v;
    AUTO_FREE uint8_t *big = calloc(1, 1000000);
    for (int half_close = 0; half_close < 2; half_close++) {
        h1_start(&v, NULL);
        h1_send(&v, "GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        h1_head(&v, &v.seen[0], 200, 1000000, false);
        h1_data(&v, &v.seen[0], big, 1000000);
        h1_end(&v, &v.seen[0]);
        test_loop_settle(&v.t);
        assert_true(v.seen[0].closed);
        if (half_close)
            shutdown(v.peer.fd, SHUT_WR);
        test_loop_settle(&v.t);
        assert_int_equal(v.gone, 0); /* it waits for the reader */
        LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
        assert_true(buf_len(&v.peer.got) > 1000000);
        /* And then for the peer's end, but not for ever. */
        LOOP_UNTIL(&v.t, v.gone == 1);
        h1_stop(&v);
    }
}

static void test_reset_closes_the_connection(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold"));
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
    h1_send(&v, POST("Expect: 100-Continue\r\nContent-Length: 3\r\n"));
    assert_true(v.seen[0].expected);
    test_peer_pull(&v.peer);
    assert_str(buf_str(&v.peer.got), "HTTP/1.1 100 Continue\r\n\r\n");
    h1_send(&v, "abc" GET("/ok"));
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
                "Content-Length: 30\r\n\r\n" GET("/ok"));
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
    h1_send(&v, "GET /ok HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n" GET("/ok"));
    assert_int_equal(v.requests, 2);
    assert_int_equal(h1_count(&v, "100 Continue"), 0);
    h1_stop(&v);
}

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
    h1_send(&v, GET("/ok"));
    assert_str(buf_str(&r->body), "early" GET("/ok"));
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
    h1_send(&v, UPGRADE GET("/ok"));
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
    h1_send(&v, POST("Transfer-Encoding: chunked\r\n") "0\r\nX: 0123456789\r\n\r\n");
    assert_int_equal(h1_last_status(&v), 200);
    h1_send(&v, POST("Transfer-Encoding: chunked\r\n") "0\r\nX: 0123456789\r\nX: 0123456789\r\n"
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
    h1_send(&v, GET("/hold"));
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
    h1_send(&v, GET("/ok")); /* the connection lives */
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

static void test_drain(void **state)
{
    (void)state;
    struct h1_server v;

    h1_start(&v, NULL); /* idle: ends at once */
    h1_send(&v, GET("/ok"));
    http1_conn_drain(v.conn);
    LOOP_UNTIL(&v.t, v.gone == 1);
    h1_stop(&v);

    h1_start(&v, NULL); /* the request in flight is answered first */
    h1_send(&v, GET("/hold") GET("/ok"));
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
    h1_send(&v, GET("/hold"));
    v.inside = true;
    http1_conn_abort(v.conn);
    v.inside = false;
    assert_false(v.seen[0].closed);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.seen[0].errnum, ECONNRESET);
    h1_stop(&v);
}

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void test_files_keep_their_place(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold") GET("/ok"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 200, -1, false);
    h1_data(&v, r, "a", 1);
    http_send_file(r->s, memory_file("0123456789"), 2, 5);
    h1_data(&v, r, "b", 1);
    http_send_file(r->s, memory_file("xyz"), 0, 3);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, v.requests == 2 && v.seen[1].closed);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\nok"));
    assert_true(test_peer_has(&v.peer, "\r\n\r\n1\r\na\r\n5\r\n23456\r\n1\r\nb\r\n3\r\nxyz\r\n0\r\n"
                                       "\r\nHTTP/1.1 200 OK"));
    h1_stop(&v);
}

static void test_file_that_is_too_short_ends_the_connection(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, GET("/hold"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 200, 100, false);
    http_send_file(r->s, memory_file("0123456789"), 0, 100);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(r->errnum, ECONNRESET);
    h1_stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_described),
        cmocka_unit_test(test_absolute_target_names_the_authority),
        cmocka_unit_test(test_pipelined_requests_are_answered_in_order),
        cmocka_unit_test(test_reading_ahead_is_bounded),
        cmocka_unit_test(test_connection_close_is_honoured),
        cmocka_unit_test(test_http10_gets_no_chunks),
        cmocka_unit_test(test_response_data_is_not_held_back),
        cmocka_unit_test(test_framing_of_responses),
        cmocka_unit_test(test_short_response_is_not_taken_for_whole),
        cmocka_unit_test(test_heads_that_cannot_be_expressed),
        cmocka_unit_test(test_body_by_length_and_chunks),
        cmocka_unit_test(test_window_holds_the_peer_back),
        cmocka_unit_test(test_slow_reader_holds_the_handler_back),
        cmocka_unit_test(test_pipelining_peer_that_reads_nothing),
        cmocka_unit_test(test_client_that_goes_away_is_noticed),
        cmocka_unit_test(test_answered_requests_survive_a_half_close),
        cmocka_unit_test(test_last_response_is_sent_whole),
        cmocka_unit_test(test_reset_closes_the_connection),
        cmocka_unit_test(test_continue_is_sent_when_the_handler_waits),
        cmocka_unit_test(test_continue_is_not_sent_after_a_refusal),
        cmocka_unit_test(test_expectation_without_a_body_is_ignored),
        cmocka_unit_test(test_upgrade_makes_raw_bytes),
        cmocka_unit_test(test_upgrade_ended_by_the_handler_first),
        cmocka_unit_test(test_upgrade_with_another_answer),
        cmocka_unit_test(test_upgrade_that_nobody_wants_is_a_plain_request),
        cmocka_unit_test(test_window_holds_raw_bytes_back),
        cmocka_unit_test(test_head_limits),
        cmocka_unit_test(test_trailer_limit),
        cmocka_unit_test(test_slow_head_is_refused),
        cmocka_unit_test(test_unfinished_heads_are_counted),
        cmocka_unit_test(test_too_many_unfinished_heads),
        cmocka_unit_test(test_idle_connection_is_closed),
        cmocka_unit_test(test_rest_of_a_refused_upload_is_discarded),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_abort_tells_the_handler),
        cmocka_unit_test(test_files_keep_their_place),
        cmocka_unit_test(test_file_that_is_too_short_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
