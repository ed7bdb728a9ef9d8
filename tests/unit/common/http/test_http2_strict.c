/* A client that speaks raw frames: what it may not do ends its connection, and nothing else does.
 */
#include "common/http/http1.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <stdlib.h>

enum { DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { NO_ERROR = 0, PROTOCOL_ERROR = 1, STREAM_CLOSED = 5, REFUSED = 7 };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* GET http://a/ in HPACK, which is answered at once, and GET http://a/h, which is not. */
#define GET_ROOT                                                                                   \
    STR("\x82\x86\x84\x41\x01"                                                                     \
        "a")
#define GET_HOLD                                                                                   \
    STR("\x82\x86\x44\x02/h\x41\x01"                                                               \
        "a")

struct raw {
    struct test_loop t;
    struct test_peer peer;
    struct http_acceptor acceptor;
    struct http_limits limits;
    struct http1_conn *conn;
    bool bytewise;
};

static struct raw v;

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    (void)a;
    s->events = &HTTP_EVENTS_NONE;
    if (!str_eq(head->target, STR("/h")))
        http_respond(s, 200, "text/plain", "ok", 2);
}

static void on_gone(struct http1_conn *c, void *user)
{
    (void)user;
    assert_ptr_equal(c, v.conn);
    v.conn = NULL;
}

static void start(void)
{
    v = (struct raw){ .acceptor = { on_request }, .limits = HTTP_LIMITS_DEFAULT };
    v.limits.requests_kept = 2;
    test_loop_init(&v.t);
    int theirs;
    test_peer_pair(&v.peer, &theirs);
    struct http1_server_options options = { .acceptor = &v.acceptor,
                                            .limits = &v.limits,
                                            .h2c = true };
    v.conn = http1_serve_fd(&v.t.loop, &v.t.defer, theirs, &options, on_gone, NULL);
    assert_non_null(v.conn);
}

static void stop(void)
{
    if (v.conn)
        http1_conn_abort(v.conn);
    LOOP_UNTIL(&v.t, !v.conn);
    test_peer_close(&v.peer);
    test_loop_deinit(&v.t);
}

static void say(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (size_t piece = v.bytewise ? 1 : n; n > 0; p += piece, n -= piece) {
        assert_true(test_peer_send(&v.peer, p, piece));
        if (v.bytewise)
            test_loop_settle(&v.t);
    }
}

static void frame(int type, int flags, uint32_t id, struct str payload)
{
    struct buf out = { 0 };
    const uint8_t head[9] = {
        0, (uint8_t)(payload.n >> 8), (uint8_t)payload.n, (uint8_t)type, (uint8_t)flags, 0,
        0, (uint8_t)(id >> 8),        (uint8_t)id
    };
    buf_append(&out, head, sizeof(head));
    buf_append_str(&out, payload);
    say(buf_head(&out), buf_len(&out));
    buf_deinit(&out);
}

static void greet(void)
{
    say(PREFACE, sizeof(PREFACE) - 1);
    frame(SETTINGS, 0, 0, STR(""));
    frame(SETTINGS, ACK, 0, STR(""));
}

/* Whether a frame of that type came on that stream; *code is the number at the end of its payload's
 * first (RST_STREAM) or second (GOAWAY) four bytes. */
static bool got(int type, int flags, uint32_t id, int *code)
{
    test_peer_pull(&v.peer);
    struct str rest = buf_str(&v.peer.got);
    while (rest.n >= 9) {
        const uint8_t *p = (const uint8_t *)rest.p;
        size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (rest.n < 9 + n)
            return false;
        if (p[3] == type && (p[4] & flags) == flags && p[8] == id && p[7] == 0) {
            if (code)
                *code = type == GOAWAY ? p[9 + 7] : p[9 + 3];
            return true;
        }
        rest = str_from(rest, 9 + n);
    }
    return false;
}

/* What went before was in order: the connection answers. */
static void assert_alive(void)
{
    frame(PING, 0, 0, STR("12345678"));
    LOOP_UNTIL(&v.t, got(PING, ACK, 0, NULL));
    assert_false(got(GOAWAY, 0, 0, NULL));
    assert_non_null(v.conn);
}

static void assert_ended(int want)
{
    int code = -1;
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_true(got(GOAWAY, 0, 0, &code));
    assert_int_equal(code, want);
}

static void test_streams_come_in_order(void **state)
{
    (void)state;
    start();
    greet();
    frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_ROOT);
    frame(HEADERS, END_STREAM | END_HEADERS, 7, GET_ROOT);
    LOOP_UNTIL(&v.t, got(DATA, END_STREAM, 7, NULL));
    assert_alive();
    frame(HEADERS, END_STREAM | END_HEADERS, 5, GET_ROOT); /* skipped before */
    assert_ended(STREAM_CLOSED);
    stop();
}

static void test_nothing_follows_the_end(void **state)
{
    (void)state;
    for (int bytewise = 0; bytewise < 2; bytewise++) {
        start();
        v.bytewise = bytewise;
        greet();
        frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_ROOT);
        LOOP_UNTIL(&v.t, got(DATA, END_STREAM, 1, NULL));
        assert_alive();
        frame(DATA, 0, 1, STR("x"));
        assert_ended(STREAM_CLOSED);
        stop();

        start();
        v.bytewise = bytewise;
        greet();
        frame(HEADERS, END_HEADERS, 1, GET_HOLD);
        frame(RST_STREAM, 0, 1, STR("\0\0\0\x08"));
        frame(DATA, 0, 1, STR("x"));
        assert_ended(STREAM_CLOSED);
        stop();
    }
}

static void test_priorities_make_sense(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        struct str payload;
    } bad[] = {
        { 0, { "\0\0\0\3\x10", 5 } },
        { 3, { "\0\0\0\3\x10", 5 } },
        { 3, { "\x80\0\0\3\x10", 5 } }, /* exclusive */
    };
    for (size_t i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
        start();
        v.bytewise = i % 2;
        greet();
        frame(PRIORITY, 0, 3, STR("\0\0\0\1\x10"));
        assert_alive();
        frame(PRIORITY, 0, bad[i / 2].id, bad[i / 2].payload);
        assert_ended(PROTOCOL_ERROR);
        stop();
    }
}

static void test_who_was_answered_early_may_end_in_order(void **state)
{
    (void)state;
    start();
    greet();
    frame(HEADERS, END_HEADERS, 1, GET_ROOT);
    frame(DATA, 0, 1, STR("some"));
    frame(DATA, END_STREAM, 1, STR("thing"));
    LOOP_UNTIL(&v.t, got(DATA, END_STREAM, 1, NULL));
    assert_alive();
    assert_false(got(RST_STREAM, 0, 1, NULL));
    stop();
}

static void test_who_goes_on_is_reset_and_forgiven(void **state)
{
    (void)state;
    int code = -1;
    start();
    greet();
    frame(HEADERS, END_HEADERS, 1, GET_ROOT);
    frame(DATA, 0, 1, STR("some"));
    LOOP_UNTIL(&v.t, got(RST_STREAM, 0, 1, &code));
    assert_int_equal(code, NO_ERROR);
    frame(DATA, END_STREAM, 1, STR("on its way")); /* it could not know */
    assert_alive();
    stop();

    /* Refused for being too many, by a limit not yet known, with its body behind it. */
    start();
    say(PREFACE, sizeof(PREFACE) - 1);
    frame(SETTINGS, 0, 0, STR(""));
    frame(HEADERS, END_HEADERS, 1, GET_HOLD);
    frame(HEADERS, END_HEADERS, 3, GET_HOLD);
    frame(HEADERS, END_HEADERS, 5, GET_HOLD);
    frame(DATA, 0, 5, STR("body"));
    LOOP_UNTIL(&v.t, got(RST_STREAM, 0, 5, &code));
    assert_int_equal(code, REFUSED);
    frame(DATA, 0, 5, STR("more"));
    buf_clear(&v.peer.got);
    assert_alive();
    stop();
}

static void test_what_is_no_http_gets_no_answer(void **state)
{
    (void)state;
    static const struct {
        const char *text, *answer;
    } cases[] = {
        { "INVALID CONNECTION PREFACE\r\n\r\n", NULL },
        { "SSH-2.0-OpenSSH\r\n\r\n", NULL },
        { "GET /\r\n\r\n", "HTTP/1.1 400 " },
        { "GETS / HTTP/1.1\r\n\r\n", "HTTP/1.1 501 " },
        { "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "HTTP/1.1 505 " },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start();
        say(cases[i].text, strlen(cases[i].text));
        LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
        struct str answer = buf_str(&v.peer.got);
        if (cases[i].answer)
            assert_true(str_starts(answer, str_of(cases[i].answer)));
        else
            assert_int_equal(answer.n, 0);
        stop();
    }
}

static void test_an_answer_that_overtakes_a_large_body_says_close(void **state)
{
    (void)state;
    static const struct {
        const char *length;
        bool close;
    } cases[] = { { "8388608", false }, { "8388609", true } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char head[128];
        start();
        int n =
            snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n",
                     cases[i].length);
        say(head, (size_t)n);
        LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\nok"));
        assert_int_equal(test_peer_has(&v.peer, "connection: close\r\n"), cases[i].close);
        stop();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_come_in_order),
        cmocka_unit_test(test_nothing_follows_the_end),
        cmocka_unit_test(test_priorities_make_sense),
        cmocka_unit_test(test_who_was_answered_early_may_end_in_order),
        cmocka_unit_test(test_who_goes_on_is_reset_and_forgiven),
        cmocka_unit_test(test_what_is_no_http_gets_no_answer),
        cmocka_unit_test(test_an_answer_that_overtakes_a_large_body_says_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
