/* Connect's GET form of a unary call. */
#include "tests/unit/common/rpc/rpc_fixture.h"

#include "tests/support/test.h"

#define GET_METHOD "/test.Service/Idempotent"

static void get(struct rpc_fixture *f, const char *target)
{
    rpc_fixture_request(f, target, NULL);
    f->stream.request.method = STR("GET");
    f->stream.request.content_length = 0;
    rpc_fixture_accept(f);
    fake_stream_end(&f->stream);
    rpc_fixture_turn(f);
}

static void expect_json(struct rpc_fixture *f, int status, const char *body)
{
    assert_int_equal(f->stream.status, status);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), "application/json");
    rpc_fixture_expect_body(f, body);
}

static void test_messages(void **state)
{
    struct rpc_fixture *f = *state;
    get(f, GET_METHOD "?connect=v1&encoding=json&message=%7B%22aString%22%3A%22a+b%22%7D");
    expect_json(f, 200, "{\"aString\":\"a b\"}");
    assert_string_equal(fake_stream_header(&f->stream, "vary"), "accept-encoding");
    rpc_fixture_expect_log(f, "message a b;close;");

    /* Not padded, URL-safe; the order is free, the version may be left out. */
    get(f, GET_METHOD "?message=eyJhU3RyaW5nIjoifj8_In0&base64=1&encoding=json");
    expect_json(f, 200, "{\"aString\":\"~??\"}");

    get(f,
        GET_METHOD "?connect=v1&encoding=proto&base64=1&message=egJoaQ%3D%3D&compression=identity");
    assert_int_equal(f->stream.status, 200);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), "application/proto");
    rpc_fixture_expect_body(f, "\x7a\x02hi");

    get(f, GET_METHOD "?connect=v1&encoding=proto&message="); /* the empty message */
    assert_int_equal(f->stream.status, 200);
    rpc_fixture_expect_log(f, "message ;close;");

    /* {"aString":"hi"} */
    get(f, GET_METHOD "?connect=v1&encoding=json&base64=1&compression=gzip&message="
                      "H4sIAAAAAAACA6tWSgwuKcrMS1eyUsrIVKoFAHHw-HgQAAAA");
    expect_json(f, 200, "{\"aString\":\"hi\"}");

    rpc_fixture_call(f, GET_METHOD, "application/json", STR("{\"aString\":\"x\"}"));
    expect_json(f, 200, "{\"aString\":\"x\"}"); /* POST goes on to work */
}

static void test_refusals(void **state)
{
    struct rpc_fixture *f = *state;
    static const struct {
        const char *query, *why;
    } bad[] = {
        { "connect=v2&encoding=json&message={}", "parameter connect must be v1" },
        { "connect=v1&encoding=json", "parameter message is missing" },
        { "encoding=json", "parameter message is missing" },
        { "encoding=json&message=%7", "malformed escape in parameter message" },
        { "encoding=json&base64=1&message=%21%21", "malformed base64 in parameter message" },
        { "encoding=json&base64=2&message={}", "parameter base64 must be 0 or 1" },
        { "encoding=json&message=%7B", "invalid JSON at offset 1: expected a string" },
        { "encoding=json&compression=gzip&message={}", "a message is no valid gzip" },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char target[256], want[256];
        snprintf(target, sizeof(target), GET_METHOD "?%s", bad[i].query);
        snprintf(want, sizeof(want), "{\"code\":\"invalid_argument\",\"message\":\"%s\"}",
                 bad[i].why);
        get(f, target);
        expect_json(f, 400, want);
        rpc_fixture_expect_log(f, "");
    }
    get(f, GET_METHOD "?encoding=json&message={}&compression=br");
    assert_int_equal(f->stream.status, 501);

    static const char *const foreign[] = {
        "encoding=xml&message={}", "message={}", "encoding=", "encoding=grpc&message={}",
        "encoding=connect%2Bjson", "encoding=%"
    };
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        char target[256];
        snprintf(target, sizeof(target), GET_METHOD "?%s", foreign[i]);
        get(f, target);
        assert_int_equal(f->stream.status, 415);
    }
}

static void test_verbs(void **state)
{
    struct rpc_fixture *f = *state;
    get(f, "/test.Service/Unary?encoding=json&message={}"); /* may have side effects */
    assert_int_equal(f->stream.status, 405);
    assert_string_equal(fake_stream_header(&f->stream, "allow"), "POST");
    rpc_fixture_request(f, GET_METHOD "?encoding=json&message={}", "application/json");
    f->stream.request.method = STR("PUT");
    rpc_fixture_accept(f);
    assert_int_equal(f->stream.status, 405);
    assert_string_equal(fake_stream_header(&f->stream, "allow"), "GET, POST");

    rpc_fixture_request(f, GET_METHOD "?encoding=json&message={}", NULL);
    f->stream.request.method = STR("GET");
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{}", 2);
    assert_int_equal(f->stream.status, 400);
    rpc_fixture_expect_log(f, "");

    f->deny = true;
    get(f, GET_METHOD "?encoding=json&message={}");
    assert_int_equal(f->stream.status, 401);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_fixture_setup, rpc_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { CASE(test_messages), CASE(test_refusals),
                                        CASE(test_verbs) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
