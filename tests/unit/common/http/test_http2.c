#include "tests/unit/common/http/h2_pair.h"

#include "common/base/cleanup.h"
#include "common/http/http2_internal.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>

static struct h2_pair p;
static struct h2_request r;

static int start(void **state)
{
    (void)state;
    r = (struct h2_request){ 0 };
    h2_pair_start(&p, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    h2_pair_stop(&p);
    h2_request_deinit(&r);
    return 0;
}

static void get(const char *path)
{
    assert_true(h2_request_begin(p.client.h, &r, "GET", path, 0));
    LOOP_UNTIL(&p.loop, r.closed);
}

/* The session still answers. */
static void assert_alive(void)
{
    struct h2_request ping = { 0 };
    assert_non_null(p.client.h);
    assert_true(h2_request_begin(p.client.h, &ping, "GET", "/small", 0));
    LOOP_UNTIL(&p.loop, ping.closed);
    assert_int_equal(ping.errnum, 0);
    assert_int_equal(ping.status, 200);
    h2_request_deinit(&ping);
}

static void test_request_brings_status_and_body(void **state)
{
    (void)state;
    get("/small");
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 200);
    assert_true(r.ended);
    assert_str(buf_str(&r.body), "hello");
    LOOP_UNTIL(&p.loop, p.echo.closes == 1);
    assert_int_equal(p.echo.last_errnum, 0);
    assert_int_equal(p.echo.untrusted, 0);
}

static void assert_pattern(const struct buf *body, size_t n)
{
    assert_int_equal(buf_len(body), n);
    for (size_t i = 0; i < n; i++)
        if (buf_head(body)[i] != i % 251)
            fail_msg("byte %zu differs", i);
}

static void test_upload_is_echoed_whole_within_bounds(void **state)
{
    (void)state;
    assert_true(h2_request_begin(p.client.h, &r, "POST", "/echo", 5U << 20));
    LOOP_UNTIL(&p.loop, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_pattern(&r.body, 5U << 20);
    assert_in_range(r.most_queued, 1, HTTP2_OUT_HIGH + 10000);
}

static void test_head_arrives_as_it_was_meant(void **state)
{
    (void)state;
    const struct http_stream_events *events;
    get("/small"); /* for its events */
    events = NULL;
    struct h2_request q = { 0 };
    assert_true(h2_request_begin(p.client.h, &q, "GET", "/none", 0));
    events = q.s->events;
    struct h2_request t = { 0 };
    t.s = http2_session_stream(p.client.h, events, &t);
    struct http_field fields[] = {
        { STR("cookie"), STR("a=1") },   { STR("x-one"), STR("1") },
        { STR("cookie"), STR("b=2") },   { STR("te"), STR("trailers") },
        { STR("x-empty"), { NULL, 0 } },
    };
    struct http_head head = { .method = STR("PUT"),
                              .target = STR("/head"),
                              .authority = STR("49983-abc.localhost:3002"),
                              .content_length = 3,
                              .fields = fields,
                              .nfields = ARRAY_LEN(fields) };
    assert_int_equal(http_send_head(t.s, &head, false), 0);
    http_send_data(t.s, "abc", 3);
    http_send_end(t.s);
    LOOP_UNTIL(&p.loop, t.closed);
    assert_str(buf_str(&t.body), "PUT /head 49983-abc.localhost:3002 3 0|cookie=a=1; b=2|x-one=1|"
                                 "x-empty=");
    http_reset(q.s);
    h2_request_deinit(&t);
    LOOP_UNTIL(&p.loop, q.closed);
    assert_int_equal(q.errnum, ECANCELED);
}

static int try_head(struct http_head head)
{
    struct h2_request t = { 0 };
    assert_true(h2_request_begin(p.client.h, &t, "GET", "/small", 0));
    LOOP_UNTIL(&p.loop, t.closed);
    h2_request_deinit(&t);
    static const struct http_stream_events none = { 0 };
    struct http_stream *s = http2_session_stream(p.client.h, &none, NULL);
    int rc = http_send_head(s, &head, true);
    http_reset(s);
    return rc;
}

static void test_send_head_refuses_what_cannot_be_expressed(void **state)
{
    (void)state;
    const struct http_head good = {
        .method = STR("GET"), .target = STR("/small"), .authority = STR("a"), .content_length = -1
    };
    static struct http_field bad[] = {
        { STR("x"), STR("a\r\nb") },
        { STR("X-Upper"), STR("a") },
        { STR(""), STR("a") },
        { STR(":path"), STR("/") },
        { STR("connection"), STR("close") },
        { STR("host"), STR("b") },
        { STR("transfer-encoding"), STR("chunked") },
        { STR("te"), STR("gzip") },
        { STR("content-length"), STR("1") },
        { STR("a b"), STR("c") },
    };
    assert_int_equal(try_head(good), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct http_head head = good;
        head.fields = &bad[i];
        head.nfields = 1;
        if (try_head(head) != -EINVAL)
            fail_msg("field %zu was sent", i);
    }
    struct http_head head = good;
    head.target = STR("/a b");
    assert_int_equal(try_head(head), -EINVAL);
    head.target = (struct str){ NULL, 0 };
    assert_int_equal(try_head(head), -EINVAL);
    head = good;
    head.method = STR("GE T");
    assert_int_equal(try_head(head), -EINVAL);
    head = good;
    head.authority = STR("a b");
    assert_int_equal(try_head(head), -EINVAL);
    assert_alive();
}

static void test_trailers_go_both_ways(void **state)
{
    (void)state;
    struct h2_request q = { 0 };
    assert_true(h2_request_begin(p.client.h, &q, "GET", "/none", 0));
    r.s = http2_session_stream(p.client.h, q.s->events, &r);
    struct http_head head = { .method = STR("POST"),
                              .target = STR("/trailers"),
                              .authority = STR("a"),
                              .content_length = -1 };
    struct http_field trailer = { STR("x-sum"), STR("42") };
    assert_int_equal(http_send_head(r.s, &head, false), 0);
    http_send_data(r.s, "body", 4);
    http_send_trailers(r.s, &trailer, 1);
    LOOP_UNTIL(&p.loop, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_str(buf_str(&r.body), "body");
    assert_string_equal(r.trailer, "42");
    http_reset(q.s);
    LOOP_UNTIL(&p.loop, q.closed);
}

static void test_file_is_sent_before_what_was_written_behind_it(void **state)
{
    (void)state;
    get("/file");
    assert_int_equal(r.errnum, 0);
    assert_int_equal(buf_len(&r.body), 300004);
    for (unsigned i = 0; i < 300000; i += 4) {
        unsigned v;
        memcpy(&v, buf_head(&r.body) + i, 4);
        if (v != i + 4000)
            fail_msg("at %u", i);
    }
    assert_memory_equal(buf_head(&r.body) + 300000, "tail", 4);
}

static void test_file_that_is_not_cached_is_read_on_the_thread_pool(void **state)
{
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "http2.read-cached", 1);
    test_file_is_sent_before_what_was_written_behind_it(state);
    h2_request_deinit(&r);
    r = (struct h2_request){ 0 };
    get("/short-file");
    assert_int_equal(r.errnum, ECONNRESET);
    assert_alive();
    /* One that is given up while it is being read. */
    h2_request_deinit(&r);
    r = (struct h2_request){ 0 };
    assert_true(h2_request_begin(p.client.h, &r, "GET", "/file", 0));
    LOOP_UNTIL(&p.loop, r.status == 200);
    http_reset(r.s);
    LOOP_UNTIL(&p.loop, r.closed);
    unsetenv("SANDPIT_FAULTS");
}

static void test_file_that_is_too_short_ends_in_an_error(void **state)
{
    (void)state;
    get("/short-file");
    assert_int_equal(r.errnum, ECONNRESET);
    assert_false(r.ended);
    assert_alive();
}

static void test_early_answer_ends_the_upload(void **state)
{
    (void)state;
    assert_true(h2_request_begin(p.client.h, &r, "POST", "/early", 100U << 20));
    LOOP_UNTIL(&p.loop, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 413);
    assert_in_range(r.sent, 0, 1U << 20);
    LOOP_UNTIL(&p.loop, p.echo.closes == p.echo.requests);
    assert_int_equal(p.echo.last_errnum, 0);
    assert_alive();
}

static void test_heads_over_the_limit_are_refused(void **state)
{
    (void)state;
    char *big = malloc(30000);
    memset(big, 'a', 30000);
    struct http_field fields[3] = { { STR("x-a"), { big, 30000 } },
                                    { STR("x-b"), { big, 30000 } },
                                    { STR("x-c"), { big, 10000 } } };
    struct http_head head = { .method = STR("GET"),
                              .target = STR("/small"),
                              .authority = STR("a"),
                              .content_length = -1,
                              .fields = fields,
                              .nfields = 2 };
    struct h2_request q = { 0 };
    p.limits.head_bytes = 40000;
    assert_true(h2_request_begin(p.client.h, &q, "GET", "/none", 0));
    r.s = http2_session_stream(p.client.h, q.s->events, &r);
    assert_int_equal(http_send_head(r.s, &head, true), 0);
    LOOP_UNTIL(&p.loop, r.closed);
    assert_int_equal(r.status, 431);
    assert_int_equal(p.echo.requests, 1); /* /none: the other one was not shown to anybody */

    /* And a response's: the client gives the stream up, not the session. */
    struct h2_request huge = { 0 };
    assert_true(h2_request_begin(p.client.h, &huge, "GET", "/huge", 0));
    LOOP_UNTIL(&p.loop, huge.closed);
    assert_int_equal(huge.errnum, EPROTO);
    assert_int_equal(huge.status, 0);
    assert_alive();
    http_reset(q.s);
    LOOP_UNTIL(&p.loop, q.closed);
    free(big);
}

#define MANY 1000
static struct h2_request many[MANY];

static void many_free(size_t n)
{
    for (size_t i = 0; i < n; i++)
        h2_request_deinit(&many[i]);
    memset(many, 0, sizeof(many));
}

static size_t many_closed(size_t n)
{
    size_t closed = 0;
    for (size_t i = 0; i < n; i++)
        closed += many[i].closed;
    return closed;
}

static int start_many(void **state)
{
    (void)state;
    static struct http_limits limits;
    limits = HTTP_LIMITS_DEFAULT;
    limits.requests_kept = 2048;
    limits.raise_resets = true;
    r = (struct h2_request){ 0 };
    memset(many, 0, sizeof(many));
    h2_pair_start(&p, &limits);
    return 0;
}

static void test_thousand_streams_are_all_answered(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        assert_true(h2_request_begin(p.client.h, &many[i], "POST", "/echo", 5000));
    assert_int_equal(http2_session_streams(p.client.h), MANY);
    LOOP_UNTIL(&p.loop, many_closed(MANY) == MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(many[i].errnum, 0);
        assert_int_equal(many[i].received, 5000);
    }
    many_free(MANY);
}

static void test_streams_are_limited(void **state)
{
    (void)state;
    size_t n = 0;
    while (n < MANY && h2_request_begin(p.client.h, &many[n], "GET", "/none", 0))
        n++;
    assert_int_equal(n, HTTP_LIMITS_DEFAULT.requests_kept);
    http_reset(many[0].s);
    LOOP_UNTIL(&p.loop, many[0].closed);
    assert_alive();
}

static void test_stalled_readers_hold_their_window_and_nobody_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        many[i].stall = true;
        assert_true(h2_request_begin(p.client.h, &many[i], "GET", "/big", 0));
    }
    for (size_t i = 0; i < 100; i++)
        LOOP_UNTIL(&p.loop, many[i].received == HTTP2_WINDOW_INITIAL);
    for (int i = 0; i < 20; i++)
        assert_alive();
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(many[i].received, HTTP2_WINDOW_INITIAL);
    /* One begins to read: its window grows. */
    http_consume(many[0].s, HTTP2_WINDOW_INITIAL);
    LOOP_UNTIL(&p.loop, many[0].received == HTTP2_WINDOW_INITIAL + HTTP_LIMITS_DEFAULT.window);
    many[1].stall = false;
    many[1].discard = true;
    http_consume(many[1].s, HTTP2_WINDOW_INITIAL);
    LOOP_UNTIL(&p.loop, many[1].received > 10U << 20);
    assert_alive();
    many_free(0);
}

static void test_session_holds_a_bounded_amount(void **state)
{
    (void)state;
    for (size_t i = 0; i < 400; i++) {
        many[i].stall = true;
        assert_true(h2_request_begin(p.client.h, &many[i], "GET", "/big", 0));
    }
    LOOP_UNTIL(&p.loop, many_closed(400) >= 400 - HTTP2_HELD_MAX / HTTP2_WINDOW_INITIAL);
    assert_in_range(p.client.h->held, 1, HTTP2_HELD_MAX);
    assert_alive();
    for (size_t i = 0; i < 400; i++)
        if (many[i].closed)
            assert_int_equal(many[i].errnum, ECONNRESET);
    many_free(0);
}

static void test_aborted_requests_do_not_end_the_session(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < 100; i++)
            assert_true(h2_request_begin(p.client.h, &many[i], "GET", "/none", 0));
        LOOP_UNTIL(&p.loop, p.echo.requests == (round + 1) * 100);
        for (size_t i = 0; i < 100; i++)
            http_reset(many[i].s);
        LOOP_UNTIL(&p.loop, many_closed(100) == 100);
        for (size_t i = 0; i < 100; i++)
            assert_int_equal(many[i].errnum, ECANCELED);
        memset(many, 0, sizeof(many));
    }
    LOOP_UNTIL(&p.loop, p.echo.closes == 5000);
    assert_int_equal(p.echo.last_errnum, ECONNRESET);
    assert_alive();
    assert_int_equal(p.client.overs + p.server.overs, 0);
}

static void test_public_session_ends_a_reset_flood(void **state)
{
    (void)state;
    /* Without raise_resets: CVE-2023-44487. */
    for (size_t round = 0; round < 50 && p.server.overs == 0; round++) {
        size_t n = 0;
        while (n < 100 && p.client.h && h2_request_begin(p.client.h, &many[n], "GET", "/none", 0))
            n++;
        LOOP_UNTIL(&p.loop, p.server.overs > 0 || p.echo.requests == (round + 1) * 100);
        for (size_t i = 0; i < n; i++)
            if (many[i].s)
                http_reset(many[i].s);
        LOOP_UNTIL(&p.loop, many_closed(n) == n);
        memset(many, 0, sizeof(many));
    }
    LOOP_UNTIL(&p.loop, p.server.overs == 1);
    assert_int_equal(p.server.over_errnum, EPROTO);
}

static void test_drain_waits_for_streams_and_ends_in_order(void **state)
{
    (void)state;
    struct h2_request late = { 0 };
    assert_true(h2_request_begin(p.client.h, &r, "POST", "/echo", 300000));
    LOOP_UNTIL(&p.loop, r.status == 200);
    http2_session_drain(p.client.h);
    assert_false(h2_request_begin(p.client.h, &late, "GET", "/small", 0));
    LOOP_UNTIL(&p.loop, p.client.overs == 1);
    assert_true(r.closed);
    assert_int_equal(r.errnum, 0);
    assert_pattern(&r.body, 300000);
    assert_int_equal(p.client.over_errnum, 0);
    LOOP_UNTIL(&p.loop, p.server.overs == 1);
    assert_int_equal(p.server.over_errnum, 0);
}

static void test_server_drain_refuses_what_it_did_not_begin(void **state)
{
    (void)state;
    struct h2_request late = { 0 };
    assert_true(h2_request_begin(p.client.h, &r, "GET", "/none", 0));
    LOOP_UNTIL(&p.loop, p.echo.requests == 1);
    http2_session_drain(p.server.h);
    /* On its way before the client knows. */
    assert_true(h2_request_begin(p.client.h, &late, "GET", "/small", 0));
    LOOP_UNTIL(&p.loop, late.closed);
    assert_int_equal(late.errnum, ECONNREFUSED);
    assert_int_equal(p.echo.requests, 1);
    assert_int_equal(p.server.overs, 0); /* one is still answered */
    http_reset(r.s);
    LOOP_UNTIL(&p.loop, p.server.overs == 1 && p.client.overs == 1);
    assert_int_equal(p.client.over_errnum, 0);
}

static void test_abort_tells_lost_from_never_sent(void **state)
{
    (void)state;
    struct h2_request unsent = { 0 };
    assert_true(h2_request_begin(p.client.h, &r, "GET", "/none", 0));
    LOOP_UNTIL(&p.loop, p.echo.requests == 1);
    assert_true(h2_request_begin(p.client.h, &unsent, "GET", "/small", 0));
    http2_session_abort(TAKE(p.client.h), ECONNRESET);
    assert_false(r.closed); /* never from inside */
    LOOP_UNTIL(&p.loop, r.closed && unsent.closed);
    assert_int_equal(r.errnum, ECONNRESET);
    assert_int_equal(unsent.errnum, ECONNREFUSED);
    assert_int_equal(p.client.overs, 0);
    assert_int_equal(p.echo.requests, 1);
}

static void test_garbage_ends_the_session(void **state)
{
    (void)state;
    assert_true(h2_request_begin(p.client.h, &r, "GET", "/none", 0));
    LOOP_UNTIL(&p.loop, p.echo.requests == 1);
    io_write(&p.client.fd.io, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    LOOP_UNTIL(&p.loop, p.server.overs == 1);
    assert_int_equal(p.server.over_errnum, EPROTO);
    assert_int_equal(p.echo.closes, 1);
    assert_int_equal(p.echo.last_errnum, EPROTO);
    LOOP_UNTIL(&p.loop, p.client.overs == 1); /* the GOAWAY says so */
    assert_int_equal(p.client.over_errnum, EPROTO);
    assert_true(r.closed);
}

static void test_pings_to_a_peer_that_never_reads_are_bounded(void **state)
{
    (void)state;
    static const uint8_t ping[17] = { 0, 0, 8, 6 };
    http2_session_abort(TAKE(p.client.h), ECONNRESET);
    io_read_stop(&p.client.fd.io);
    for (size_t i = 0; i < 2000000 && p.server.overs == 0; i++) {
        io_write(&p.client.fd.io, ping, sizeof(ping));
        if (io_pending(&p.client.fd.io) > 65536)
            test_loop_turn(&p.loop);
    }
    assert_int_equal(p.server.overs, 1);
    assert_int_equal(p.server.over_errnum, EPROTO);
}

static int start_idle(void **state)
{
    (void)state;
    static struct http_limits limits;
    limits = HTTP_LIMITS_DEFAULT;
    limits.idle_ms = 50;
    r = (struct h2_request){ 0 };
    h2_pair_start(&p, &limits);
    return 0;
}

static void test_idle_session_is_closed_and_a_busy_one_is_not(void **state)
{
    (void)state;
    assert_true(h2_request_begin(p.client.h, &r, "GET", "/none", 0));
    LOOP_UNTIL(&p.loop, p.echo.requests == 1);
    int64_t until = clock_mono_ms() + 150;
    LOOP_UNTIL(&p.loop, clock_mono_ms() > until);
    assert_int_equal(p.server.overs, 0);
    http_reset(r.s);
    LOOP_UNTIL(&p.loop, p.server.overs == 1);
    assert_int_equal(p.server.over_errnum, 0);
}

static void test_expect_continue_and_informational_heads(void **state)
{
    (void)state;
    struct h2_request q = { 0 };
    assert_true(h2_request_begin(p.client.h, &q, "GET", "/none", 0));
    r.s = http2_session_stream(p.client.h, q.s->events, &r);
    /* Past our own head writer, which never sends Expect. */
    nghttp2_nv nv[] = { http2_nv(STR(":method"), STR("POST")),
                        http2_nv(STR(":scheme"), STR("http")),
                        http2_nv(STR(":authority"), STR("a")), http2_nv(STR(":path"), STR("/echo")),
                        http2_nv(STR("expect"), STR("100-continue")) };
    struct http2_stream *st = http2_stream_of(r.s);
    nghttp2_data_provider provider = http2_stream_provider(st);
    st->id = nghttp2_submit_request(p.client.h->ng, NULL, nv, ARRAY_LEN(nv), &provider, st);
    st->in_ng = st->head_out = true;
    p.client.h->open++;
    http_send_data(r.s, "x", 1);
    http_send_end(r.s);
    LOOP_UNTIL(&p.loop, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 200); /* on_head came once, for the final one */
    assert_str(buf_str(&r.body), "x");
    http_reset(q.s);
    LOOP_UNTIL(&p.loop, q.closed);
}

static int start_default(void **state)
{
    memset(many, 0, sizeof(many));
    return start(state);
}

#define CASE(name, begin) cmocka_unit_test_setup_teardown(name, begin, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_request_brings_status_and_body, start),
        CASE(test_upload_is_echoed_whole_within_bounds, start),
        CASE(test_head_arrives_as_it_was_meant, start),
        CASE(test_send_head_refuses_what_cannot_be_expressed, start),
        CASE(test_trailers_go_both_ways, start),
        CASE(test_file_is_sent_before_what_was_written_behind_it, start),
        CASE(test_file_that_is_not_cached_is_read_on_the_thread_pool, start),
        CASE(test_file_that_is_too_short_ends_in_an_error, start),
        CASE(test_early_answer_ends_the_upload, start),
        CASE(test_heads_over_the_limit_are_refused, start),
        CASE(test_expect_continue_and_informational_heads, start),
        CASE(test_thousand_streams_are_all_answered, start_many),
        CASE(test_streams_are_limited, start_default),
        CASE(test_stalled_readers_hold_their_window_and_nobody_else, start_many),
        CASE(test_session_holds_a_bounded_amount, start_many),
        CASE(test_aborted_requests_do_not_end_the_session, start_many),
        CASE(test_public_session_ends_a_reset_flood, start_default),
        CASE(test_drain_waits_for_streams_and_ends_in_order, start),
        CASE(test_server_drain_refuses_what_it_did_not_begin, start),
        CASE(test_abort_tells_lost_from_never_sent, start),
        CASE(test_garbage_ends_the_session, start),
        CASE(test_pings_to_a_peer_that_never_reads_are_bounded, start),
        CASE(test_idle_session_is_closed_and_a_busy_one_is_not, start_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
