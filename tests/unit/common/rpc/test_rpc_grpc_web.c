/* gRPC-Web, and the details of errors in every protocol. */
#include "tests/unit/common/rpc/rpc_fixture.h"

#include "tests/support/test.h"

#include <errno.h>

#define UNARY  "/test.Service/Unary"
#define SERVER "/test.Service/ServerStream"
#define BIDI   "/test.Service/Bidi"
#define WEB    "application/grpc-web"

#define HELLO STR("\0\0\0\0\x08\x7a\x06hello!")
#define FAIL                                                                                       \
    STR("\0\0\0\0\x06\x7a\x04"                                                                     \
        "fail")
#define DETAILS                                                                                    \
    STR("\0\0\0\0\x09\x7a\x07"                                                                     \
        "details")

static void test_trailers_are_the_last_envelope(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, WEB, HELLO);
    assert_int_equal(f->stream.status, 200);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), WEB);
    assert_string_equal(fake_stream_header(&f->stream, "x-header"), "one");
    rpc_fixture_expect_envelope(f, 0, "\x7a\x06hello!");
    rpc_fixture_expect_envelope(f, 0x80, "x-trailer: two\r\ngrpc-status: 0\r\n");
    assert_int_equal(buf_len(&f->stream.body), 0);
    assert_int_equal(f->stream.trailers.n, 0);
    assert_true(f->stream.ended);
    rpc_fixture_expect_log(f, "message hello!;close;");

    rpc_fixture_call(f, UNARY, WEB "+proto", FAIL);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), WEB "+proto");
    rpc_fixture_expect_envelope(f, 0x80, "grpc-status: 5\r\ngrpc-message: no such \"thing\"\r\n");
}

static void test_streams_on_any_http(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, WEB "+json");
    rpc_server_accept(&f->server, &f->stream.s, &f->stream.request); /* HTTP/1.1 */
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"a\"}"));
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"a\"}");
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"b\"}"));
    fake_stream_end(&f->stream);
    rpc_fixture_expect_envelope(f, 0, "{\"aString\":\"b\"}");
    rpc_fixture_expect_envelope(f, 0x80, "grpc-status: 0\r\n");
}

static void test_a_trailer_cannot_become_two(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, WEB);
    rpc_fixture_accept(f);
    rpc_fixture_envelope(f, 0, STR("\x7a\x04hold"));
    rpc_call_add_trailer(f->held, "x-evil", "1\r\ngrpc-status: 0");
    rpc_fail(f->held, ERR_DENIED, "no");
    assert_true(f->stream.was_reset);
    fake_stream_close(&f->stream, ECANCELED);
    rpc_fixture_turn(f);
}

static void test_refusals(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, UNARY, WEB);
    fake_stream_add(&f->stream, "grpc-timeout", "x");
    rpc_fixture_accept(f);
    rpc_fixture_expect_envelope(f, 0x80,
                                "grpc-status: 3\r\ngrpc-message: invalid grpc-timeout: expected at "
                                "most eight digits and a unit\r\n");
    rpc_fixture_call(f, "/test.Service/Nothing", WEB, HELLO);
    rpc_fixture_expect_envelope(
        f, 0x80, "grpc-status: 12\r\ngrpc-message: there is no method /test.Service/Nothing\r\n");
    rpc_fixture_call(f, UNARY, WEB "-text", HELLO);
    assert_int_equal(f->stream.status, 415);
    rpc_fixture_call(f, UNARY, WEB, STR("\x80\0\0\0\0"));
    rpc_fixture_expect_envelope(f, 0x80,
                                "grpc-status: 3\r\ngrpc-message: unknown flags 0x80 of a "
                                "message\r\n");
}

/* google.rpc.Status{5, "with details", [{test.A, "\1\2\3"}, {test.B, ""}]} */
#define STATUS_BIN                                                                                 \
    "CAUSDHdpdGggZGV0YWlscxohChp0eXBlLmdvb2dsZWFwaXMuY29tL3Rlc3QuQRIDAQIDGh4KGnR5cGUuZ29vZ2xlYXBp" \
    "cy5jb20vdGVzdC5CEgA"

static void test_details(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_call(f, UNARY, WEB, DETAILS);
    rpc_fixture_expect_envelope(f, 0x80,
                                "grpc-status: 5\r\ngrpc-message: with details\r\n"
                                "grpc-status-details-bin: " STATUS_BIN "\r\n");
    rpc_fixture_call(f, UNARY, "application/grpc", DETAILS);
    assert_string_equal(fake_stream_header(&f->stream, "grpc-status-details-bin"), STATUS_BIN);
    static const char json[] =
        "{\"code\":\"not_found\",\"message\":\"with details\",\"details\":[{\"type\":\"test.A\","
        "\"value\":\"AQID\"},{\"type\":\"test.B\",\"value\":\"\"}]}";
    rpc_fixture_call(f, UNARY, "application/json", STR("{\"aString\":\"details\"}"));
    assert_int_equal(f->stream.status, 404);
    rpc_fixture_expect_body(f, json);
    rpc_fixture_call(f, SERVER, "application/connect+proto", DETAILS);
    char want[256];
    snprintf(want, sizeof(want), "{\"error\":%s}", json);
    rpc_fixture_expect_envelope(f, 2, want);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_fixture_setup, rpc_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_trailers_are_the_last_envelope),
        CASE(test_streams_on_any_http),
        CASE(test_a_trailer_cannot_become_two),
        CASE(test_refusals),
        CASE(test_details),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
