#include "tests/unit/common/rpc/rpc_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define UNARY  "/test.Service/Unary"
#define SERVER "/test.Service/ServerStream"
#define CLIENT "/test.Service/ClientStream"
#define BIDI   "/test.Service/Bidi"
#define JSON   "application/json"
#define STREAM "application/connect+json"

static void expect_header(struct rpc_fixture *f, const char *name, const char *want)
{
    const char *value = fake_stream_header(&f->stream, name);
    assert_non_null(value);
    assert_string_equal(value, want);
}

static void expect_error(struct rpc_fixture *f, int status, const char *body)
{
    assert_int_equal(f->stream.status, status);
    expect_header(f, "content-type", JSON);
    rpc_fixture_expect_body(f, body);
    assert_true(f->stream.ended);
}

static void test_unary_answers(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, JSON, STR("{\"aString\":\"hello\"}"));
    assert_int_equal(f->stream.status, 200);
    expect_header(f, "content-type", JSON);
    expect_header(f, "x-header", "one");
    expect_header(f, "trailer-x-trailer", "two");
    rpc_fixture_expect_body(f, "{\"aString\":\"hello\"}");
    assert_int_equal(f->stream.content_length, 19);
    assert_true(f->stream.ended);
    assert_int_equal(f->stream.consumed, f->stream.given);
    rpc_fixture_expect_log(f, "message hello;close;");
}

static void test_unary_answers_in_protobuf(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, "application/proto", STR("\x7a\x02hi"));
    assert_int_equal(f->stream.status, 200);
    expect_header(f, "content-type", "application/proto");
    rpc_fixture_expect_body(f, "\x7a\x02hi");
    rpc_fixture_call(f, UNARY, "application/proto", STR(""));
    assert_int_equal(f->stream.status, 200);
    rpc_fixture_expect_log(f, "message ;close;");
    rpc_fixture_call(f, UNARY, "application/proto", STR("\x7a\x05hi"));
    expect_error(f, 400,
                 "{\"code\":\"invalid_argument\",\"message\":\"invalid protobuf message: "
                 "malformed\"}");
}

static void test_unary_takes_a_body_in_any_pieces(void **state)
{
    struct rpc_fixture *f = *state;
    static const char body[] = "{\"aString\":\"in pieces\"}";
    for (int length_known = 0; length_known < 2; length_known++) {
        rpc_fixture_request(f, UNARY, JSON);
        if (length_known)
            f->stream.request.content_length = sizeof(body) - 1;
        rpc_fixture_accept(f);
        for (size_t i = 0; i < sizeof(body) - 1; i++)
            fake_stream_data(&f->stream, body + i, 1);
        rpc_fixture_expect_log(f, "");
        fake_stream_end(&f->stream);
        rpc_fixture_expect_body(f, "{\"aString\":\"in pieces\"}");
    }
    rpc_fixture_request(f, UNARY, JSON);
    f->stream.request.content_length = sizeof(body) - 1;
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, body, sizeof(body) - 1);
    fake_stream_end(&f->stream);
    rpc_fixture_expect_body(f, "{\"aString\":\"in pieces\"}");
}

static void test_unary_errors(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, JSON, STR("{\"aString\":\"fail\"}"));
    expect_error(f, 404, "{\"code\":\"not_found\",\"message\":\"no such \\\"thing\\\"\"}");
    rpc_fixture_expect_log(f, "message fail;close;");
    rpc_fixture_call(f, UNARY, JSON, STR("{\"aString\":\"none\"}"));
    expect_error(f, 500, "{\"code\":\"internal\",\"message\":\"the method gave no answer\"}");
    rpc_fixture_call(f, UNARY, JSON, STR("{\"aString\":5}"));
    expect_error(f, 400,
                 "{\"code\":\"invalid_argument\",\"message\":\"invalid JSON at offset 11, field "
                 "a_string: expected a string\"}");
    rpc_fixture_expect_log(f, "");
    rpc_fixture_call(f, UNARY, JSON, STR(""));
    assert_int_equal(f->stream.status, 400);
}

static void test_unary_bounds_the_body(void **state)
{
    struct rpc_fixture *f = *state;
    static char big[100001];
    memset(big, ' ', sizeof(big));
    rpc_fixture_call(f, UNARY, JSON, (struct str){ big, sizeof(big) });
    expect_error(f, 429,
                 "{\"code\":\"resource_exhausted\",\"message\":\"message is larger than the limit "
                 "of 100000 bytes\"}");
    rpc_fixture_request(f, UNARY, JSON);
    f->stream.request.content_length = sizeof(big);
    rpc_fixture_accept(f);
    assert_int_equal(f->stream.status, 429); /* before any of it has come */
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "");
}

static void test_client_gone_in_mid_request(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, UNARY, JSON);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{\"aS", 4);
    fake_stream_close(&f->stream, ECONNRESET);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "");
    assert_int_equal(f->stream.status, 0);
}

static void test_refusals_before_a_call(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, "/test.Service/Nothing", JSON, STR("{}"));
    expect_error(f, 404,
                 "{\"code\":\"unimplemented\",\"message\":\"there is no method "
                 "/test.Service/Nothing\"}");
    rpc_fixture_call(f, "/test.Service/Nothing", STREAM, STR(""));
    assert_int_equal(f->stream.status, 404);
    rpc_fixture_call(f, "/test.Service/Nothing", "text/plain", STR(""));
    assert_int_equal(f->stream.status, 404);
    rpc_fixture_call(f, "/test.Service/Trusted", JSON, STR("{}"));
    assert_int_equal(f->stream.status, 404);

    rpc_fixture_request(f, UNARY "?x=1", NULL);
    f->stream.request.method = STR("GET");
    rpc_fixture_accept(f);
    assert_int_equal(f->stream.status, 405);
    expect_header(f, "allow", "POST");

    static const char *const wrong[] = { "text/plain", STREAM, "application/json; charset=latin1",
                                         "application/jsonx", "" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        rpc_fixture_call(f, UNARY, wrong[i], STR("{}"));
        assert_int_equal(f->stream.status, 415);
        expect_header(f, "accept-post",
                      "application/json, application/proto, application/grpc, "
                      "application/grpc+proto, application/grpc+json, application/grpc-web, "
                      "application/grpc-web+proto, application/grpc-web+json");
    }
    rpc_fixture_call(f, UNARY, NULL, STR("{}"));
    assert_int_equal(f->stream.status, 415);
    rpc_fixture_call(f, SERVER, JSON, STR("{}"));
    assert_int_equal(f->stream.status, 415);
    expect_header(f, "accept-post",
                  "application/connect+json, application/connect+proto, application/grpc, "
                  "application/grpc+proto, application/grpc+json, application/grpc-web, "
                  "application/grpc-web+proto, application/grpc-web+json");
    rpc_fixture_call(f, UNARY, "Application/JSON; charset=UTF-8", STR("{}"));
    assert_int_equal(f->stream.status, 200);
}

static void test_trusted_method_on_a_trusted_stream(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, "/test.Service/Trusted", JSON);
    f->stream.s.trusted = true;
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{}", 2);
    fake_stream_end(&f->stream);
    assert_int_equal(f->stream.status, 200);
}

static void test_unauthorized(void **state)
{
    struct rpc_fixture *f = *state;
    f->deny = true;
    rpc_fixture_call(f, UNARY, JSON, STR("{}"));
    expect_error(f, 401, "{\"code\":\"unauthenticated\",\"message\":\"who are you\"}");
    rpc_fixture_call(f, SERVER, STREAM, STR("\0\0\0\0\2{}"));
    expect_error(f, 401, "{\"code\":\"unauthenticated\",\"message\":\"who are you\"}");
    rpc_fixture_expect_log(f, "");
}

static void unary_with(struct rpc_fixture *f, const char *name, const char *value)
{
    rpc_fixture_request(f, UNARY, JSON);
    fake_stream_add(&f->stream, name, value);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{}", 2);
    fake_stream_end(&f->stream);
    rpc_fixture_turn(f);
}

static void test_request_headers(void **state)
{
    struct rpc_fixture *f = *state;
    unary_with(f, "connect-protocol-version", "1");
    assert_int_equal(f->stream.status, 200);
    unary_with(f, "connect-protocol-version", "2");
    expect_error(f, 400,
                 "{\"code\":\"invalid_argument\",\"message\":\"Connect-Protocol-Version must be "
                 "1\"}");
    unary_with(f, "content-encoding", "identity");
    assert_int_equal(f->stream.status, 200);
    unary_with(f, "content-encoding", "br");
    expect_error(f, 501,
                 "{\"code\":\"unimplemented\",\"message\":\"unknown compression \\\"br\\\": "
                 "supported encodings are gzip\"}");
    static const char *const wrong[] = { "abc", "", "-1", "1.5", "12345678901", " 5" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        unary_with(f, "connect-timeout-ms", wrong[i]);
        expect_error(f, 400,
                     "{\"code\":\"invalid_argument\",\"message\":\"invalid Connect-Timeout-Ms: "
                     "expected at most ten digits\"}");
    }
    unary_with(f, "connect-timeout-ms", "9999999999");
    assert_int_equal(f->stream.status, 200);
    unary_with(f, "connect-timeout-ms", "0");
    assert_int_equal(f->stream.status, 200);

    rpc_fixture_request(f, SERVER, STREAM);
    fake_stream_add(&f->stream, "connect-content-encoding", "zstd");
    rpc_fixture_accept(f);
    assert_int_equal(f->stream.status, 200);
    rpc_fixture_expect_envelope(f, 2,
                                "{\"error\":{\"code\":\"unimplemented\",\"message\":\"unknown "
                                "compression \\\"zstd\\\": supported encodings are gzip\"}}");
}

static void test_server_stream(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, SERVER, STREAM);
    rpc_fixture_accept(f);
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"x\",\"anInt32\":2}"));
    rpc_fixture_expect_log(f, "");
    fake_stream_end(&f->stream);
    assert_int_equal(f->stream.status, 200);
    assert_int_equal(f->stream.content_length, -1);
    expect_header(f, "content-type", STREAM);
    expect_header(f, "x-header", "one");
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"x\"}");
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"x\"}");
    rpc_fixture_expect_envelope(f, 2, "{\"metadata\":{\"x-trailer\":[\"two\",\"three\"]}}");
    assert_int_equal(buf_len(&f->stream.body), 0);
    assert_true(f->stream.ended);
    rpc_fixture_expect_log(f, "message x;");
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "close;");
    fake_stream_close(&f->stream, 0);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "");
}

static void test_stream_errors_come_with_status_200(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, SERVER, STREAM, STR("\0\0\0\0\x12{\"aString\":\"fail\"}"));
    assert_int_equal(f->stream.status, 200);
    rpc_fixture_expect_envelope(f, 2,
                                "{\"error\":{\"code\":\"not_found\",\"message\":\"no such "
                                "\\\"thing\\\"\"}}");
    rpc_fixture_call(f, SERVER, STREAM, STR("\0\0\0\0\1x"));
    assert_int_equal(f->stream.status, 200);
    rpc_fixture_expect_envelope(f, 2,
                                "{\"error\":{\"code\":\"invalid_argument\",\"message\":\"invalid "
                                "JSON at offset 0: expected an object\"}}");
    rpc_fixture_expect_log(f, "");
}

static void expect_stream_error(struct rpc_fixture *f, const char *target, struct str body,
                                const char *code)
{
    char want[64];
    snprintf(want, sizeof(want), "{\"error\":{\"code\":\"%s\"", code);
    rpc_fixture_call(f, target, STREAM, body);
    assert_int_equal(f->stream.status, 200);
    assert_true(f->stream.ended);
    struct str sent = buf_str(&f->stream.body);
    assert_int_equal(sent.p[0], 2);
    assert_true(str_starts(str_from(sent, 5), str_of(want)));
}

static void test_malformed_envelopes(void **state)
{
    struct rpc_fixture *f = *state;
    expect_stream_error(f, SERVER, STR(""), "unimplemented");
    expect_stream_error(f, SERVER, STR("\0\0\0\0\2{}\0\0\0\0\2{}"), "unimplemented");
    expect_stream_error(f, SERVER, STR("\0\0\0"), "invalid_argument");
    expect_stream_error(f, SERVER, STR("\0\0\0\0\5{}"), "invalid_argument");
    expect_stream_error(f, SERVER, STR("\0\0\0\0\2{}\0"), "invalid_argument");
    expect_stream_error(f, SERVER, STR("\0\xff\xff\xff\xff{}"), "resource_exhausted");
    expect_stream_error(f, SERVER, STR("\1\0\0\0\2{}"), "internal");
    expect_stream_error(f, SERVER, STR("\2\0\0\0\2{}"), "invalid_argument");
    expect_stream_error(f, SERVER, STR("\x80\0\0\0\2{}"), "invalid_argument");
    rpc_fixture_expect_log(f, "");
    expect_stream_error(f, CLIENT, STR("\0\0\0\0\2{}\0\0"), "invalid_argument");
    rpc_fixture_expect_log(f, "message ;close;");
}

static void test_envelopes_in_any_pieces(void **state)
{
    struct rpc_fixture *f = *state;
    static const char body[] = "\0\0\0\0\x0f{\"aString\":\"a\"}\0\0\0\0\x0f{\"aString\":\"b\"}"
                               "\0\0\0\0\2{}";
    for (size_t piece = 1; piece < sizeof(body); piece++) {
        rpc_fixture_request(f, BIDI, STREAM);
        rpc_fixture_accept(f);
        for (size_t at = 0; at < sizeof(body) - 1; at += piece) {
            size_t left = sizeof(body) - 1 - at;
            fake_stream_data(&f->stream, body + at, left < piece ? left : piece);
        }
        fake_stream_end(&f->stream);
        rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"a\"}");
        rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"b\"}");
        rpc_fixture_expect_envelope(f, 0, "{}");
        rpc_fixture_expect_envelope(f, 2, "{}");
        rpc_fixture_turn(f);
        rpc_fixture_expect_log(f, "message a;message b;message ;half_close;close;");
        assert_int_equal(f->stream.consumed, f->stream.given);
    }
}

static void test_client_stream(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, CLIENT, STREAM, STR("\0\0\0\0\2{}\0\0\0\0\2{}"));
    rpc_fixture_expect_envelope(f, 0, "{\"anInt32\":2}");
    rpc_fixture_expect_envelope(f, 2, "{}");
    rpc_fixture_expect_log(f, "message ;message ;half_close;close;");
    rpc_fixture_call(f, CLIENT, STREAM, STR(""));
    rpc_fixture_expect_envelope(f, 0, "{}");
    rpc_fixture_expect_envelope(f, 2, "{}");
    rpc_fixture_expect_log(f, "half_close;close;");
}

static void test_error_ends_a_client_stream_at_once(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, CLIENT, STREAM);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "\0\0\0\0\x12{\"aString\":\"fail\"}\0\0\0\0\2{}", 30);
    assert_true(f->stream.ended);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "message fail;close;");
}

static void test_pause_holds_messages_and_credit(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, STREAM);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "\0\0\0\0\x13{\"aString\":\"pause\"}\0\0\0\0\2{}", 31);
    rpc_fixture_expect_log(f, "message pause;");
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"later\"}"));
    fake_stream_end(&f->stream);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "");
    assert_int_equal(f->stream.given - f->stream.consumed, 24);
    rpc_resume(f->held);
    rpc_fixture_expect_log(f, "");
    rpc_fixture_turn(f);
    assert_int_equal(f->stream.given, f->stream.consumed);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "message ;message later;half_close;close;");
    rpc_fixture_expect_envelope(f, 0, "{}");
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"later\"}");
    rpc_fixture_expect_envelope(f, 2, "{}");
}

static void test_end_in_a_pause_gives_credit_back(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, STREAM);
    rpc_fixture_accept(f);
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"pause\"}"));
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"never\"}"));
    assert_true(f->stream.given > f->stream.consumed);
    rpc_fail(f->held, ERR_ABORTED, "enough");
    assert_int_equal(f->stream.given, f->stream.consumed);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "message pause;close;");
}

static void test_client_gone_during_a_stream(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, SERVER, STREAM, STR("\0\0\0\0\x12{\"aString\":\"hold\"}"));
    rpc_fixture_expect_log(f, "message hold;");
    assert_non_null(f->held);
    assert_true(rpc_writable(f->held));
    f->stream.writable = false;
    assert_false(rpc_writable(f->held));
    f->stream.writable = true;
    fake_stream_writable(&f->stream);
    fake_stream_close(&f->stream, ECONNRESET);
    rpc_fixture_turn(f);
    rpc_fixture_expect_log(f, "writable;close;");
}

/* Run the loop until the response has ended. */
static void run_until_ended(struct rpc_fixture *f)
{
    while (!f->stream.ended)
        uv_run(&f->loop, UV_RUN_ONCE);
    rpc_fixture_turn(f);
}

static void test_deadline_ends_a_unary_call(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, UNARY, JSON);
    fake_stream_add(&f->stream, "connect-timeout-ms", "1");
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{\"aString\":\"hold\"}", 18);
    fake_stream_end(&f->stream);
    assert_int_equal(rpc_call_timeout_ms(f->held), 1);
    run_until_ended(f);
    expect_error(f, 504,
                 "{\"code\":\"deadline_exceeded\",\"message\":\"the deadline has passed\"}");
    rpc_fixture_expect_log(f, "message hold;close;");
}

static void test_deadline_ends_a_request_that_never_comes(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, "/test.Service/OwnDeadline", STREAM);
    fake_stream_add(&f->stream, "connect-timeout-ms", "1");
    rpc_fixture_accept(f);
    run_until_ended(f);
    rpc_fixture_expect_envelope(f, 2,
                                "{\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"the "
                                "deadline has passed\"}}");
    rpc_fixture_expect_log(f, "");
}

static void test_own_deadline_is_told_to_the_method(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, "/test.Service/OwnDeadline", STREAM);
    fake_stream_add(&f->stream, "connect-timeout-ms", "1");
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "\0\0\0\0\x12{\"aString\":\"hold\"}", 23);
    fake_stream_end(&f->stream);
    run_until_ended(f);
    rpc_fixture_expect_envelope(f, 2,
                                "{\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"my own "
                                "words\"}}");
    rpc_fixture_expect_log(f, "message hold;deadline;close;");
}

static void test_has_service(void **state)
{
    struct rpc_fixture *f = *state;
    assert_true(rpc_server_has_service(&f->server, STR("/test.Service/Unary")));
    assert_true(rpc_server_has_service(&f->server, STR("/test.Service/Other?x=/")));
    assert_false(rpc_server_has_service(&f->server, STR("/test.Service")));
    assert_false(rpc_server_has_service(&f->server, STR("/test.Servic/Unary")));
    assert_false(rpc_server_has_service(&f->server, STR("/")));
    assert_false(rpc_server_has_service(&f->server, STR("//")));
    assert_false(rpc_server_has_service(&f->server, STR("")));
    assert_false(rpc_server_has_service(&f->server, STR("test.Service/Unary")));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_fixture_setup, rpc_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_unary_answers),
        CASE(test_unary_answers_in_protobuf),
        CASE(test_unary_takes_a_body_in_any_pieces),
        CASE(test_unary_errors),
        CASE(test_unary_bounds_the_body),
        CASE(test_client_gone_in_mid_request),
        CASE(test_refusals_before_a_call),
        CASE(test_trusted_method_on_a_trusted_stream),
        CASE(test_unauthorized),
        CASE(test_request_headers),
        CASE(test_server_stream),
        CASE(test_stream_errors_come_with_status_200),
        CASE(test_malformed_envelopes),
        CASE(test_envelopes_in_any_pieces),
        CASE(test_client_stream),
        CASE(test_error_ends_a_client_stream_at_once),
        CASE(test_pause_holds_messages_and_credit),
        CASE(test_end_in_a_pause_gives_credit_back),
        CASE(test_client_gone_during_a_stream),
        CASE(test_deadline_ends_a_unary_call),
        CASE(test_deadline_ends_a_request_that_never_comes),
        CASE(test_own_deadline_is_told_to_the_method),
        CASE(test_has_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
