/* The gRPC client against the server, over a pair of HTTP/2 sessions. */
#include "common/rpc/rpc_client.h"

#include "common/base/cleanup.h"
#include "everything.pb-c.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h2_pair.h"
#include "tests/unit/common/rpc/rpc_fixture.h"

#include <errno.h>
#include <stdlib.h>

struct both {
    struct h2_pair pair;
    struct rpc_fixture *f;
    const char *raw; /* answered instead of by the RPC server: "<content type>\n<body>" */
    int status;      /* of such an answer; 0: there is none */
    const char *grpc_status;
};

struct result {
    int called;
    struct err err;
    char text[64];
};

static void on_done(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct result *r = user;
    r->called++;
    if (err)
        r->err = *err;
    else
        snprintf(r->text, sizeof(r->text), "%s", ((const Test__Everything *)response)->a_string);
}

static bool is_called(void *arg)
{
    return ((struct result *)arg)->called > 0;
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct h2_pair *pair = container_of(a, struct h2_pair, acceptor);
    struct both *b = container_of(pair, struct both, pair);
    if (!b->raw) {
        rpc_server_accept(&b->f->server, s, head);
        return;
    }
    struct str body = str_of(b->raw);
    struct http_field type = { STR("content-type"), str_split(&body, '\n') };
    struct http_field status = { STR("grpc-status"), str_of(b->grpc_status) };
    struct http_head answer = {
        .status = b->status, .content_length = -1, .fields = &type, .nfields = 1
    };
    s->events = &HTTP_EVENTS_NONE;
    if (!b->status)
        return;
    http_send_head(s, &answer, false);
    if (body.n)
        http_send_data(s, body.p, body.n);
    http_send_trailers(s, &status, b->grpc_status ? 1 : 0);
}

static int setup(void **state)
{
    struct both *b = calloc(1, sizeof(*b));
    void *f;
    rpc_fixture_setup(&f);
    b->f = f;
    h2_pair_start(&b->pair, NULL);
    b->pair.acceptor.on_request = on_request;
    b->f->server.loop = &b->pair.loop;
    b->f->server.defer = &b->pair.defer;
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct both *b = *state;
    void *f = b->f;
    h2_pair_stop(&b->pair);
    rpc_fixture_teardown(&f);
    free(b);
    return 0;
}

static struct rpc_request *call(struct both *b, const char *path, char *text, unsigned timeout_ms,
                                struct result *result)
{
    Test__Everything msg = TEST__EVERYTHING__INIT;
    msg.a_string = text;
    *result = (struct result){ 0 };
    return rpc_client_call(b->pair.client.h, &b->pair.loop, path, &msg.base,
                           &test__everything__descriptor, timeout_ms, on_done, result);
}

static void expect_error(struct both *b, struct result *r, enum err_code code, const char *msg)
{
    h2_run_until(&b->pair.loop, is_called, r);
    assert_int_equal(r->called, 1);
    assert_string_equal(r->err.msg, msg);
    assert_int_equal(r->err.code, code);
}

static void test_call_answers(void **state)
{
    struct both *b = *state;
    struct result r;
    assert_non_null(call(b, "/test.Service/Unary", (char[]){ "hello" }, 10000, &r));
    assert_int_equal(r.called, 0);
    h2_run_until(&b->pair.loop, is_called, &r);
    assert_int_equal(r.called, 1);
    assert_int_equal(r.err.code, ERR_OK);
    assert_string_equal(r.text, "hello");
    /* The pair's streams are trusted ones. */
    assert_non_null(call(b, "/test.Service/Trusted", (char[]){ "again" }, 0, &r));
    h2_run_until(&b->pair.loop, is_called, &r);
    assert_string_equal(r.text, "again");
}

static void test_call_brings_the_status(void **state)
{
    struct both *b = *state;
    struct result r;
    call(b, "/test.Service/Unary", (char[]){ "fail" }, 10000, &r);
    expect_error(b, &r, ERR_NOT_FOUND, "no such \"thing\"");
    call(b, "/test.Service/Nothing", (char[]){ "" }, 10000, &r);
    expect_error(b, &r, ERR_UNIMPLEMENTED, "there is no method /test.Service/Nothing");
}

static void test_call_ends_at_the_deadline(void **state)
{
    struct both *b = *state;
    struct result r;
    call(b, "/test.Service/OwnDeadline", (char[]){ "hold" }, 5, &r);
    h2_run_until(&b->pair.loop, is_called, &r);
    assert_int_equal(r.called, 1);
    assert_int_equal(r.err.code, ERR_DEADLINE); /* whoever told it first */
    b->raw = "";                                /* a server that gives no answer */
    call(b, "/test.Service/Unary", (char[]){ "" }, 1, &r);
    expect_error(b, &r, ERR_DEADLINE, "the deadline has passed");
}

static bool is_held(void *arg)
{
    return ((struct rpc_fixture *)arg)->held != NULL;
}

static bool is_not_held(void *arg)
{
    return !is_held(arg);
}

static void test_cancel_reaches_the_server(void **state)
{
    struct both *b = *state;
    struct result r;
    struct rpc_request *request = call(b, "/test.Service/Unary", (char[]){ "hold" }, 10000, &r);
    h2_run_until(&b->pair.loop, is_held, b->f);
    rpc_request_cancel(request);
    h2_run_until(&b->pair.loop, is_not_held, b->f);
    assert_int_equal(r.called, 0);
}

static void test_lost_session_is_unavailable(void **state)
{
    struct both *b = *state;
    struct result r;
    call(b, "/test.Service/Unary", (char[]){ "hold" }, 10000, &r);
    h2_run_until(&b->pair.loop, is_held, b->f);
    http2_session_abort(TAKE(b->pair.client.h), ECONNRESET);
    assert_int_equal(r.called, 0);
    expect_error(b, &r, ERR_UNAVAILABLE, "the connection was lost during the call");
}

static void answer(struct both *b, int status, const char *raw, const char *grpc_status,
                   enum err_code code, const char *msg)
{
    struct result r;
    b->status = status;
    b->raw = raw;
    b->grpc_status = grpc_status;
    call(b, "/test.Service/Unary", (char[]){ "" }, 10000, &r);
    expect_error(b, &r, code, msg);
}

static void test_strange_answers(void **state)
{
    struct both *b = *state;
    answer(b, 502, "text/plain\nbad", NULL, ERR_UNAVAILABLE, "the answer has the HTTP status 502");
    answer(b, 200, "text/plain\nfine", NULL, ERR_UNKNOWN, "the answer is no gRPC");
    answer(b, 200, "application/grpc\n", NULL, ERR_UNKNOWN, "the answer has no grpc-status");
    answer(b, 200, "application/grpc\n", "0", ERR_INTERNAL,
           "the response is not one plain message");
    answer(b, 200, "application/grpc\n\1\1\1\1\1x", "0", ERR_EXHAUSTED,
           "message of 16843009 bytes is larger than the limit of 16777216");
    answer(b, 200, "application/grpc\n", "99", ERR_UNKNOWN, "");
    answer(b, 200, "application/grpc\n", "7", ERR_DENIED, "");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_call_answers),
        CASE(test_call_brings_the_status),
        CASE(test_call_ends_at_the_deadline),
        CASE(test_cancel_reaches_the_server),
        CASE(test_lost_session_is_unavailable),
        CASE(test_strange_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
