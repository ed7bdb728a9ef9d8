/* Calls of the control service through the link. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "common/rpc/rpc.h"
#include "tests/support/test.h"

#include <guest.pb-c.h>

static struct test_loop t;
static struct fake_vm vm;
static struct fake_host host;
static struct rpc_server rpc;
static size_t quiesces;

static void on_hello(struct rpc_call *call, ProtobufCMessage *msg)
{
    Sandpit__Guest__V1__HelloResponse answer = SANDPIT__GUEST__V1__HELLO_RESPONSE__INIT;
    answer.protocol = ((Sandpit__Guest__V1__HelloRequest *)msg)->protocol + 1;
    answer.envd_version = (char *)(uintptr_t) "9.9";
    rpc_reply(call, &answer.base);
}

static void on_quiesce(struct rpc_call *call, ProtobufCMessage *msg)
{
    (void)call;
    (void)msg;
    quiesces++; /* and no answer */
}

static const struct rpc_method methods[] = {
    { .path = "/sandpit.guest.v1.Guest/Hello",
      .input = &sandpit__guest__v1__hello_request__descriptor,
      .output = &sandpit__guest__v1__hello_response__descriptor,
      .trusted_only = true,
      .on_message = on_hello },
    { .path = "/sandpit.guest.v1.Guest/Quiesce",
      .input = &sandpit__guest__v1__quiesce_request__descriptor,
      .output = &sandpit__guest__v1__quiesce_response__descriptor,
      .trusted_only = true,
      .on_message = on_quiesce },
    { .path = NULL },
};
static const struct rpc_method *const tables[] = { methods, NULL };

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    (void)a;
    rpc_server_accept(&rpc, s, head);
}
static struct http_acceptor acceptor = { .on_request = on_request };

struct result {
    size_t calls;
    enum err_code code;
    unsigned protocol;
};

static void on_done(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct result *r = user;
    r->calls++;
    r->code = err ? err->code : ERR_OK;
    if (response && response->descriptor == &sandpit__guest__v1__hello_response__descriptor)
        r->protocol = ((const Sandpit__Guest__V1__HelloResponse *)response)->protocol;
}

static struct guest_call *hello(struct result *r, unsigned protocol, unsigned ms)
{
    Sandpit__Guest__V1__HelloRequest m = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    m.protocol = protocol;
    return guest_link_call(host.l, methods[0].path, &m.base, methods[0].output, ms, on_done, r);
}

static struct guest_call *unanswered(struct result *r, unsigned ms)
{
    Sandpit__Guest__V1__QuiesceRequest m = SANDPIT__GUEST__V1__QUIESCE_REQUEST__INIT;
    return guest_link_call(host.l, methods[1].path, &m.base, methods[1].output, ms, on_done, r);
}

static int start(void **state)
{
    (void)state;
    quiesces = 0;
    test_loop_init(&t);
    fake_vm_start(&vm, &t);
    rpc = (struct rpc_server){ .loop = &t.loop, .defer = &vm.envd.defer, .tables = tables };
    vm.link->acceptor = &acceptor;
    fake_host_start(&host, &vm);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (host.l)
        guest_link_close(host.l);
    fake_vm_stop(&vm);
    rpc_server_deinit(&rpc);
    test_loop_deinit(&t);
    return 0;
}

static void test_call_waits_for_the_link(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_false(guest_link_is_up(host.l));
    assert_non_null(hello(&r, 41, 10000)); /* its message is on this stack only until it returns */
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(r.protocol, 42);
    /* And on a link that is up. */
    struct result again = { 0 };
    assert_non_null(hello(&again, 1, 10000));
    assert_int_equal(again.calls, 0);
    LOOP_UNTIL(&t, again.calls);
    assert_int_equal(again.protocol, 2);
}

static void test_call_ends_when_the_link_does_not_come(void **state)
{
    (void)state;
    struct result r = { 0 };
    fake_vm_pause(&vm, true);
    assert_non_null(hello(&r, 1, 60));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_DEADLINE);
    fake_vm_pause(&vm, false);
    fake_vm_pause(&vm, false);
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    assert_int_equal(r.calls, 1);
}

static void test_call_that_is_not_answered_ends_in_time(void **state)
{
    (void)state;
    struct result r = { 0 };
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    assert_non_null(unanswered(&r, 60));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_DEADLINE);
    assert_int_equal(quiesces, 1);
}

static void test_call_under_way_is_lost_with_the_session(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_non_null(unanswered(&r, 10000));
    LOOP_UNTIL(&t, quiesces == 1);
    fake_vm_hang_up(&vm);
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_UNAVAILABLE);
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    test_loop_settle(&t);
    assert_int_equal(quiesces, 1); /* not sent twice: its effect may have happened */
    assert_int_equal(r.calls, 1);
}

static void test_closing_the_link_ends_calls(void **state)
{
    (void)state;
    struct result sent = { 0 }, waiting = { 0 };
    assert_non_null(unanswered(&sent, 10000));
    LOOP_UNTIL(&t, quiesces == 1);
    fake_vm_pause(&vm, true);
    fake_vm_hang_up(&vm);
    LOOP_UNTIL(&t, !guest_link_is_up(host.l));
    assert_non_null(hello(&waiting, 1, 10000));
    guest_link_close(TAKE(host.l));
    assert_int_equal(waiting.calls, 0);
    LOOP_UNTIL(&t, waiting.calls && sent.calls);
    assert_int_equal(waiting.code, ERR_UNAVAILABLE);
    assert_int_equal(sent.code, ERR_UNAVAILABLE);
}

static void test_canceled_calls_say_nothing(void **state)
{
    (void)state;
    struct result r = { 0 };
    guest_link_cancel(hello(&r, 1, 10000)); /* while waiting */
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    struct guest_call *c = unanswered(&r, 10000);
    LOOP_UNTIL(&t, quiesces == 1);
    guest_link_cancel(c);
    test_loop_settle(&t);
    assert_int_equal(r.calls, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_call_waits_for_the_link),
        CASE(test_call_ends_when_the_link_does_not_come),
        CASE(test_call_that_is_not_answered_ends_in_time),
        CASE(test_call_under_way_is_lost_with_the_session),
        CASE(test_closing_the_link_ends_calls),
        CASE(test_canceled_calls_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
