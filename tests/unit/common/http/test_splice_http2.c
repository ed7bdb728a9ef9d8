/* HTTP/1 requests spliced to an HTTP/2 session, as the proxy does for the guest's own API. */
#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/http/splice.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h2_pair.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

struct proxy {
    struct h2_pair pair; /* the upstream: an HTTP/2 client session and its server */
    struct http_acceptor acceptor;
    struct test_peer front;
    struct http1_conn *conn; /* NULL once gone */
    int failed, failed_errnum, done;
};

static void on_failed(struct http_splice *s, int errnum)
{
    struct proxy *p = s->user;
    p->failed++;
    p->failed_errnum = errnum;
    http_respond(s->server, 502, NULL, NULL, 0);
}

static void on_done(struct http_splice *s)
{
    ((struct proxy *)s->user)->done++;
}

static const struct http_splice_events events = { .on_failed = on_failed, .on_done = on_done };

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct proxy *p = container_of(a, struct proxy, acceptor);
    struct http_splice *splice = http_splice_new(s, head, &events, p);
    struct http_stream *up = http2_session_stream(p->pair.client.h, &HTTP_SPLICE_UPSTREAM, splice);
    assert_non_null(up);
    struct http_head copy = *head;
    copy.upgrade = STR("");
    assert_int_equal(http_splice_connect(splice, up, &copy), 0);
}

static void on_gone(struct http1_conn *c, void *user)
{
    struct proxy *p = user;
    assert_ptr_equal(c, p->conn);
    p->conn = NULL;
}

static void start(struct proxy *p)
{
    *p = (struct proxy){ .acceptor = { on_request } };
    h2_pair_start(&p->pair, NULL);
    int theirs;
    test_peer_pair(&p->front, &theirs);
    struct http1_server_options options = { .acceptor = &p->acceptor };
    p->conn = http1_serve_fd(&p->pair.loop.loop, &p->pair.loop.defer, theirs, &options, on_gone, p);
}

static void stop(struct proxy *p)
{
    if (p->conn)
        http1_conn_abort(p->conn);
    LOOP_UNTIL(&p->pair.loop, !p->conn);
    test_loop_settle(&p->pair.loop);
    test_peer_close(&p->front);
    h2_pair_stop(&p->pair);
}

static void say(struct proxy *p, const char *text)
{
    assert_true(test_peer_send(&p->front, text, strlen(text)));
    test_loop_settle(&p->pair.loop);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static void test_requests_pass(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, GET("/small"));
    LOOP_UNTIL(&p.pair.loop, test_peer_has(&p.front, "hello"));
    assert_true(test_peer_has(&p.front, "HTTP/1.1 200 OK\r\n"));
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    buf_clear(&p.front.got);

    say(&p, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
    say(&p, "cd");
    LOOP_UNTIL(&p.pair.loop, p.done == 2);
    test_peer_pull(&p.front);
    assert_non_null(memmem(buf_head(&p.front.got), buf_len(&p.front.got), "cd\r\n0\r\n\r\n", 9));
    buf_clear(&p.front.got);

    say(&p, "HEAD /small HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(&p.pair.loop, p.done == 3);
    assert_false(test_peer_has(&p.front, "hello"));
    assert_non_null(p.conn);
    assert_int_equal(p.pair.echo.requests, 3);
    stop(&p);
}

static void test_trailers_pass(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, GET("/trailers"));
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    test_peer_pull(&p.front);
    struct str got = buf_str(&p.front.got);
    const char *end = memmem(got.p, got.n, "\r\n0\r\n", 5);
    assert_non_null(end);
    assert_true(got.p + got.n - end > 9); /* something between the last chunk and the end */
    stop(&p);
}

static void test_client_abort_resets_the_stream(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, GET("/none"));
    assert_int_equal(p.pair.echo.requests, 1);
    assert_int_equal(p.pair.echo.closes, 0);
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.pair.loop, p.pair.echo.closes == 1);
    assert_int_equal(p.pair.echo.last_errnum, ECONNRESET);
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    assert_non_null(p.pair.client.h); /* the session lives */
    stop(&p);
}

/* A bound on what sockets, windows and queues may hold for one direction. */
#define HELD_MAX (4 * 1024 * 1024)

static void test_slow_reader_holds_the_upstream_back(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, GET("/big"));
    for (int i = 0; i < 20; i++)
        test_loop_settle(&p.pair.loop);
    test_peer_pull(&p.front);
    assert_in_range(buf_len(&p.front.got), 1, HELD_MAX);
    size_t before = buf_len(&p.front.got);
    LOOP_UNTIL(&p.pair.loop, (test_peer_pull(&p.front), buf_len(&p.front.got) > before + HELD_MAX));

    /* And a second request on the session is not held up by it. */
    struct h2_request r = { 0 };
    assert_true(h2_request_begin(p.pair.client.h, &r, "GET", "/small", 0));
    LOOP_UNTIL(&p.pair.loop, r.closed);
    assert_int_equal(r.status, 200);
    h2_request_deinit(&r);
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    stop(&p);
}

static void test_early_answer_ends_the_upload(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, "POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab");
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 "));
    assert_int_equal(p.failed, 0);
    stop(&p);
}

static void test_lost_session(void **state)
{
    (void)state;
    struct proxy p;
    start(&p);
    say(&p, GET("/none"));
    http2_session_abort(TAKE(p.pair.client.h), ECONNRESET);
    LOOP_UNTIL(&p.pair.loop, p.done == 1);
    assert_int_equal(p.failed, 1);
    assert_int_equal(p.failed_errnum, ECONNRESET);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 502"));
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_pass),
        cmocka_unit_test(test_trailers_pass),
        cmocka_unit_test(test_client_abort_resets_the_stream),
        cmocka_unit_test(test_slow_reader_holds_the_upstream_back),
        cmocka_unit_test(test_early_answer_ends_the_upload),
        cmocka_unit_test(test_lost_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
