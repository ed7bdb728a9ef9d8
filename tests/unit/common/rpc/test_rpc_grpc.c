#include "tests/unit/common/rpc/rpc_fixture.h"

#include "tests/support/test.h"

#include <stdlib.h>

#define UNARY  "/test.Service/Unary"
#define SERVER "/test.Service/ServerStream"
#define CLIENT "/test.Service/ClientStream"
#define BIDI   "/test.Service/Bidi"
#define GRPC   "application/grpc"

/* {a_string: "hello"}, {a_string: "fail"} ... in their envelopes. */
#define HELLO STR("\0\0\0\0\x08\x7a\x06hello!")
#define HOLD  STR("\0\0\0\0\x06\x7a\x04hold")

static void expect_status(struct rpc_fixture *f, const char *status, const char *message)
{
    assert_int_equal(f->stream.status, 200);
    assert_true(f->stream.ended);
    const char *(*get)(const struct fake_stream *, const char *) =
        fake_stream_trailer(&f->stream, "grpc-status") ? fake_stream_trailer : fake_stream_header;
    assert_non_null(get(&f->stream, "grpc-status"));
    assert_string_equal(get(&f->stream, "grpc-status"), status);
    if (message)
        assert_string_equal(get(&f->stream, "grpc-message"), message);
    else
        assert_null(get(&f->stream, "grpc-message"));
}

static void test_unary_answers(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, GRPC, HELLO);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), GRPC);
    assert_string_equal(fake_stream_header(&f->stream, "x-header"), "one");
    assert_string_equal(fake_stream_trailer(&f->stream, "x-trailer"), "two");
    rpc_fixture_expect_envelope(f, 0, "\x7a\x06hello!");
    expect_status(f, "0", NULL);
    rpc_fixture_expect_log(f, "message hello!;close;");
}

static void test_unary_in_json(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, "application/grpc+json", STR("\0\0\0\0\x0f{\"aString\":\"a\"}"));
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), "application/grpc+json");
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"a\"}");
    expect_status(f, "0", NULL);
    rpc_fixture_call(f, UNARY, "application/grpc+proto", HELLO);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), "application/grpc+proto");
}

static void test_error_without_a_message_is_trailers_alone(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, GRPC,
                     STR("\0\0\0\0\x06\x7a\x04"
                         "fail"));
    assert_int_equal(buf_len(&f->stream.body), 0);
    assert_int_equal(f->stream.trailers.n, 0);
    expect_status(f, "5", "no such \"thing\"");
    rpc_fixture_expect_log(f, "message fail;close;");
}

static void test_error_behind_a_message_is_in_the_trailers(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, GRPC);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, HELLO.p, HELLO.n);
    rpc_fixture_expect_envelope(f, 0, "\x7a\x06hello!");
    fake_stream_data(&f->stream, HOLD.p, HOLD.n);
    rpc_fail(f->held, ERR_DENIED, "50%% of \xc3\xa9\n");
    expect_status(f, "7", "50%25 of %C3%A9%0A");
    assert_null(fake_stream_header(&f->stream, "grpc-status"));
}

static void test_streams(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, SERVER, GRPC, STR("\0\0\0\0\x05\x08\x02\x7a\x01x"));
    rpc_fixture_expect_envelope(f, 0, "\x7a\x01x");
    rpc_fixture_expect_envelope(f, 0, "\x7a\x01x");
    expect_status(f, "0", NULL);
    rpc_fixture_call(f, CLIENT, GRPC, STR("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    rpc_fixture_expect_envelope(f, 0, "\x08\x03");
    expect_status(f, "0", NULL);
    rpc_fixture_expect_log(f, "message ;message ;message ;half_close;close;");
    rpc_fixture_call(f, BIDI, GRPC, HELLO);
    rpc_fixture_expect_envelope(f, 0, "\x7a\x06hello!");
    expect_status(f, "0", NULL);
}

static void test_malformed_requests(void **state)
{
    struct rpc_fixture *f = *state;
    static const struct {
        struct str body;
        const char *status;
    } cases[] = {
        { { "", 0 }, "12" },
        { { "\0\0\0\0\0\0\0\0\0\0", 10 }, "12" },
        { { "\0\0\0\0\5abc", 8 }, "3" },
        { { "\1\0\0\0\0", 5 }, "13" },
        { { "\2\0\0\0\0", 5 }, "3" },
        { { "\0\xff\xff\xff\xff", 5 }, "8" },
        { { "\0\0\0\0\2\x7a\x05", 7 }, "3" },
        { { "\0\0\0\0\3\x7a\x01\xff", 8 }, "3" }, /* a string that is no UTF-8 */
        { { "\0\0\0\0\3\x7a\x01\0", 8 }, "3" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rpc_fixture_call(f, UNARY, GRPC, cases[i].body);
        assert_string_equal(fake_stream_header(&f->stream, "grpc-status"), cases[i].status);
        rpc_fixture_expect_log(f, "");
    }
}

static void unary_with(struct rpc_fixture *f, const char *name, const char *value)
{
    rpc_fixture_request(f, UNARY, GRPC);
    fake_stream_add(&f->stream, name, value);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, HOLD.p, HOLD.n);
    fake_stream_end(&f->stream);
    rpc_fixture_turn(f);
}

static void test_timeout(void **state)
{
    struct rpc_fixture *f = *state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        { "99999999H", 359999996400000 }, { "2M", 120000 }, { "30S", 30000 }, { "50000m", 50000 },
        { "90000001u", 90000 },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        unary_with(f, "grpc-timeout", good[i].text);
        assert_non_null(f->held);
        assert_int_equal(rpc_call_timeout_ms(f->held), good[i].ms);
    }
    static const char *const wrong[] = { "", "5", "m", "123456789m", "1x", "-1m", "1.5S", " 1m" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        unary_with(f, "grpc-timeout", wrong[i]);
        expect_status(f, "3", "invalid grpc-timeout: expected at most eight digits and a unit");
    }
    unary_with(f, "grpc-timeout", "1n");
    while (!f->stream.ended)
        uv_run(&f->loop, UV_RUN_ONCE);
    expect_status(f, "4", "the deadline has passed");
}

static void test_refusals(void **state)
{
    struct rpc_fixture *f = *state;
    unary_with(f, "grpc-encoding", "br");
    expect_status(f, "12", "unknown compression \"br\": supported encodings are gzip");
    assert_string_equal(fake_stream_header(&f->stream, "grpc-accept-encoding"), "gzip");
    rpc_fixture_call(f, "/test.Service/Nothing", GRPC, HELLO);
    expect_status(f, "12", "there is no method /test.Service/Nothing");
    rpc_fixture_call(f, "/test.Service/Trusted", GRPC, HELLO);
    expect_status(f, "12", "there is no method /test.Service/Trusted");
    f->deny = true;
    rpc_fixture_call(f, UNARY, GRPC, HELLO);
    expect_status(f, "16", "who are you");
    f->deny = false;

    rpc_fixture_request(f, UNARY, GRPC);
    rpc_server_accept(&f->server, &f->stream.s, &f->stream.request); /* on HTTP/1.1 */
    assert_int_equal(f->stream.status, 505);
    rpc_fixture_expect_log(f, "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_fixture_setup, rpc_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_unary_answers),
        CASE(test_unary_in_json),
        CASE(test_error_without_a_message_is_trailers_alone),
        CASE(test_error_behind_a_message_is_in_the_trailers),
        CASE(test_streams),
        CASE(test_malformed_requests),
        CASE(test_timeout),
        CASE(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
