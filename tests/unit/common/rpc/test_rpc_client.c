/* The gRPC client against the server, over a pair of HTTP/2 sessions. */
#include "common/rpc/rpc_client.h"

#include "everything.pb-c.h"
#include "tests/support/test.h"
#include "tests/unit/common/rpc/rpc_pair.h"

#include <stdio.h>

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

static struct rpc_request *call(struct rpc_pair *p, const char *path, char *text,
                                unsigned timeout_ms, struct result *result)
{
    Test__Everything msg = TEST__EVERYTHING__INIT;
    msg.a_string = text;
    *result = (struct result){ 0 };
    return rpc_client_call(p->client.h, &p->loop.loop, path, &msg.base,
                           &test__everything__descriptor, timeout_ms, on_done, result);
}

static void expect_error(struct rpc_pair *p, struct result *r, enum err_code code, const char *msg)
{
    LOOP_UNTIL(&p->loop, r->called);
    assert_int_equal(r->called, 1);
    assert_string_equal(r->err.msg, msg);
    assert_int_equal(r->err.code, code);
}

static void test_call_answers(void **state)
{
    struct rpc_pair *p = *state;
    struct result r;
    assert_non_null(call(p, "/test.Service/Unary", (char[]){ "hello" }, 10000, &r));
    assert_int_equal(r.called, 0);
    LOOP_UNTIL(&p->loop, r.called);
    assert_int_equal(r.called, 1);
    assert_int_equal(r.err.code, ERR_OK);
    assert_string_equal(r.text, "hello");
    /* The pair's streams are trusted ones. */
    assert_non_null(call(p, "/test.Service/Trusted", (char[]){ "again" }, 0, &r));
    LOOP_UNTIL(&p->loop, r.called);
    assert_string_equal(r.text, "again");
}

static void test_call_brings_the_status(void **state)
{
    struct rpc_pair *p = *state;
    struct result r;
    call(p, "/test.Service/Unary", (char[]){ "fail" }, 10000, &r);
    expect_error(p, &r, ERR_NOT_FOUND, "no such \"thing\"");
    call(p, "/test.Service/Nothing", (char[]){ "" }, 10000, &r);
    expect_error(p, &r, ERR_UNIMPLEMENTED, "there is no method /test.Service/Nothing");
}

static void test_call_ends_at_the_deadline(void **state)
{
    struct rpc_pair *p = *state;
    struct result r;
    call(p, "/test.Service/OwnDeadline", (char[]){ "hold" }, 5, &r);
    LOOP_UNTIL(&p->loop, r.called);
    assert_int_equal(r.called, 1);
    assert_int_equal(r.err.code, ERR_DEADLINE); /* whoever told it first */
    p->raw = "";                                /* a server that gives no answer */
    call(p, "/test.Service/Unary", (char[]){ "" }, 1, &r);
    expect_error(p, &r, ERR_DEADLINE, "the deadline has passed");
}

static void test_cancel_reaches_the_server(void **state)
{
    struct rpc_pair *p = *state;
    struct result r;
    struct rpc_request *request = call(p, "/test.Service/Unary", (char[]){ "hold" }, 10000, &r);
    LOOP_UNTIL(&p->loop, p->fixture->held);
    rpc_request_cancel(request);
    LOOP_UNTIL(&p->loop, !p->fixture->held);
    assert_int_equal(r.called, 0);
}

static void test_lost_session_is_unavailable(void **state)
{
    struct rpc_pair *p = *state;
    struct result r;
    call(p, "/test.Service/Unary", (char[]){ "hold" }, 10000, &r);
    LOOP_UNTIL(&p->loop, p->fixture->held);
    rpc_pair_lose_client(p);
    assert_int_equal(r.called, 0);
    expect_error(p, &r, ERR_UNAVAILABLE, "the connection was lost during the call");
}

static void answer(struct rpc_pair *p, int status, const char *raw, const char *grpc_status,
                   enum err_code code, const char *msg)
{
    struct result r;
    p->status = status;
    p->raw = raw;
    p->grpc_status = grpc_status;
    call(p, "/test.Service/Unary", (char[]){ "" }, 10000, &r);
    expect_error(p, &r, code, msg);
}

static void test_strange_answers(void **state)
{
    struct rpc_pair *p = *state;
    answer(p, 502, "text/plain\nbad", NULL, ERR_UNAVAILABLE, "the answer has the HTTP status 502");
    answer(p, 200, "text/plain\nfine", NULL, ERR_UNKNOWN, "the answer is no gRPC");
    answer(p, 200, "application/grpc\n", NULL, ERR_UNKNOWN, "the answer has no grpc-status");
    answer(p, 200, "application/grpc\n", "0", ERR_INTERNAL,
           "the response is not one plain message");
    answer(p, 200, "application/grpc\n\1\1\1\1\1x", "0", ERR_EXHAUSTED,
           "message of 16843009 bytes is larger than the limit of 16777216");
    answer(p, 200, "application/grpc\n", "99", ERR_UNKNOWN, "");
    answer(p, 200, "application/grpc\n", "7", ERR_DENIED, "");
    p->grpc_message = "%zz it%27s bad: %C3%A9 %FF";
    answer(p, 200, "application/grpc\n", "7", ERR_DENIED, "%zz it%27s bad: %C3%A9 %FF");
    p->grpc_message = "it%27s bad: %C3%A9 %FF";
    answer(p, 200, "application/grpc\n", "7", ERR_DENIED, "it's bad: \xc3\xa9 ?");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, rpc_pair_setup, rpc_pair_teardown)

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
