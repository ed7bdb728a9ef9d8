/* Compressed messages, both ways, in every protocol. */
#include "common/rpc/gzip.h"
#include "tests/unit/common/rpc/rpc_fixture.h"

#include "tests/support/test.h"

#include <stdlib.h>

#define UNARY "/test.Service/Unary"
#define BIDI  "/test.Service/Bidi"

static const struct {
    const char *target, *type, *encoding, *accept;
    bool mirrored; /* compresses only for who compresses its own */
} forms[] = {
    { BIDI, "application/connect+json", "connect-content-encoding", "connect-accept-encoding",
      false },
    { UNARY, "application/grpc+json", "grpc-encoding", "grpc-accept-encoding", true },
    { BIDI, "application/grpc+json", "grpc-encoding", "grpc-accept-encoding", true },
    { UNARY, "application/grpc-web+json", "grpc-encoding", "grpc-accept-encoding", true },
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))

/* The next envelope of the response, inflated when it is compressed; to be freed. */
static char *take_envelope(struct rpc_fixture *f, uint8_t flags)
{
    struct buf *body = &f->stream.body, plain = { 0 };
    assert_true(buf_len(body) >= 5);
    const uint8_t *p = buf_head(body);
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    assert_int_equal(p[0], flags);
    struct str payload = { (const char *)p + 5, n };
    if (flags & 1)
        assert_int_equal(gzip_inflate(payload, 1000, &plain, NULL), 0);
    else
        buf_append_str(&plain, payload);
    buf_consume(body, n + 5);
    return buf_take_text(&plain);
}

static void expect_message(struct rpc_fixture *f, uint8_t flags, const char *want)
{
    char *text = take_envelope(f, flags);
    assert_string_equal(text, want);
    free(text);
}

static void send_compressed(struct rpc_fixture *f, struct str text, bool enveloped)
{
    struct buf packed = { 0 };
    assert_true(gzip_deflate(text, &packed));
    if (enveloped)
        rpc_fixture_envelope(f, 1, buf_str(&packed));
    else
        fake_stream_data(&f->stream, buf_head(&packed), buf_len(&packed));
    buf_deinit(&packed);
}

static void test_streams_answer_as_they_are_asked(void **state)
{
    struct rpc_fixture *f = *state;
    f->server.gzip_min = 1;
    for (size_t i = 0; i < FORMS; i++) {
        for (int accepts = 0; accepts < 2; accepts++) {
            rpc_fixture_request(f, forms[i].target, forms[i].type);
            fake_stream_add(&f->stream, forms[i].encoding, "gzip");
            if (accepts)
                fake_stream_add(&f->stream, forms[i].accept, "br, gzip;q=0.5");
            rpc_fixture_accept(f);
            send_compressed(f, STR("{\"aString\":\"squeezed\"}"), true);
            fake_stream_end(&f->stream);
            rpc_fixture_turn(f);
            expect_message(f, accepts ? 1 : 0, "{\"aString\":\"squeezed\"}");
            const char *told = fake_stream_header(&f->stream, forms[i].encoding);
            assert_true(accepts ? told && strcmp(told, "gzip") == 0 : !told);
        }
        /* Who sends plain messages: in gRPC it gets plain ones, whatever its library accepts. */
        bool squeezed = !forms[i].mirrored;
        rpc_fixture_request(f, forms[i].target, forms[i].type);
        fake_stream_add(&f->stream, forms[i].accept, "gzip");
        rpc_fixture_accept(f);
        rpc_fixture_envelope(f, 0, STR("{\"aString\":\"plain\"}"));
        fake_stream_end(&f->stream);
        expect_message(f, squeezed ? 1 : 0, "{\"aString\":\"plain\"}");
        const char *told = fake_stream_header(&f->stream, forms[i].encoding);
        assert_true(squeezed ? told && strcmp(told, "gzip") == 0 : !told);
    }
}

static void test_each_message_tells_for_itself(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, BIDI, "application/connect+json");
    fake_stream_add(&f->stream, "connect-content-encoding", "gzip");
    fake_stream_add(&f->stream, "connect-accept-encoding", "gzip");
    rpc_fixture_accept(f);
    rpc_fixture_envelope(f, 0, STR("{\"aString\":\"plain\"}"));
    send_compressed(f, STR("{\"aString\":\"squeezed\"}"), true);
    rpc_fixture_envelope(f, 1, STR(""));             /* no bytes are none, compressed or not */
    assert_true(f->stream.ended);                    /* which is no JSON */
    expect_message(f, 0, "{\"aString\":\"plain\"}"); /* too small to be worth it */
    expect_message(f, 0, "{\"aString\":\"squeezed\"}");
}

static void test_unary_bodies(void **state)
{
    struct rpc_fixture *f = *state;
    static const struct {
        const char *accept;
        bool compressed;
    } cases[] = {
        { "gzip", true },           { "identity", false },   { "gzip;q=0", false },
        { "br, GZIP;q=1.0", true }, { "gzip;q=0.0", false }, { NULL, false },
        { "gzip; q=0.01", true },   { "xgzip", false },
    };
    f->server.gzip_min = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rpc_fixture_request(f, UNARY, "application/json");
        if (cases[i].accept)
            fake_stream_add(&f->stream, "accept-encoding", cases[i].accept);
        fake_stream_add(&f->stream, "content-encoding", "gzip");
        rpc_fixture_accept(f);
        send_compressed(f, STR("{\"aString\":\"squeezed\"}"), false);
        fake_stream_end(&f->stream);
        assert_int_equal(f->stream.status, 200);
        const char *told = fake_stream_header(&f->stream, "content-encoding");
        assert_true(cases[i].compressed ? told && strcmp(told, "gzip") == 0 : !told);
        struct buf plain = { 0 };
        if (cases[i].compressed)
            assert_int_equal(gzip_inflate(buf_str(&f->stream.body), 1000, &plain, NULL), 0);
        else
            buf_append_str(&plain, buf_str(&f->stream.body));
        assert_true(str_eq(buf_str(&plain), STR("{\"aString\":\"squeezed\"}")));
        buf_deinit(&plain);
    }
}

static void test_the_limit_is_on_what_is_inflated(void **state)
{
    struct rpc_fixture *f = *state;
    static char big[100100] = "{\"aString\":\"";
    size_t n = strlen(big);
    memset(big + n, 'x', sizeof(big) - n);
    for (size_t over = 0; over < 2; over++) {
        struct str text = { big, f->server.message_max + over };
        memcpy(big + text.n - 2, "\"}", 2);
        rpc_fixture_request(f, UNARY, "application/json");
        fake_stream_add(&f->stream, "content-encoding", "gzip");
        rpc_fixture_accept(f);
        send_compressed(f, text, false);
        fake_stream_end(&f->stream);
        assert_int_equal(f->stream.status, over ? 429 : 200);
        rpc_fixture_request(f, BIDI, "application/connect+json");
        fake_stream_add(&f->stream, "connect-content-encoding", "gzip");
        rpc_fixture_accept(f);
        send_compressed(f, text, true);
        assert_int_equal(f->stream.ended, over);
        /* One that is sent as it is may not use the room that compressed ones have. */
        rpc_fixture_request(f, BIDI, "application/connect+json");
        fake_stream_add(&f->stream, "connect-content-encoding", "gzip");
        rpc_fixture_accept(f);
        rpc_fixture_envelope(f, 0, text);
        assert_int_equal(f->stream.ended, over);
        big[text.n - 2] = big[text.n - 1] = 'x';
    }
}

static void test_what_is_no_gzip(void **state)
{
    struct rpc_fixture *f = *state;
    rpc_fixture_request(f, UNARY, "application/json");
    fake_stream_add(&f->stream, "content-encoding", "gzip");
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, "{}", 2);
    fake_stream_end(&f->stream);
    assert_int_equal(f->stream.status, 400);
    rpc_fixture_expect_body(
        f, "{\"code\":\"invalid_argument\",\"message\":\"a message is no valid gzip\"}");

    rpc_fixture_request(f, UNARY, "application/json");
    fake_stream_add(&f->stream, "content-encoding", "br");
    rpc_fixture_accept(f);
    assert_int_equal(f->stream.status, 501);
    assert_string_equal(fake_stream_header(&f->stream, "accept-encoding"), "gzip");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_fixture_setup, rpc_fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_streams_answer_as_they_are_asked),
        CASE(test_each_message_tells_for_itself),
        CASE(test_unary_bodies),
        CASE(test_the_limit_is_on_what_is_inflated),
        CASE(test_what_is_no_gzip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
