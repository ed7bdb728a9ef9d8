/* Calls that are answered before the link's HTTP/2 session: with envd's own end, and with guests
 * that the test plays. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "orchestrator/link/link_internal.h"

#include "common/base/cleanup.h"
#include "common/rpc/rpc.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <guest.pb-c.h>

#define MARKER_SIZE (LINK_SECRET_SIZE + LINK_NONCE_SIZE)
#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static struct test_loop t;
static struct fake_vm vm;
static struct fake_host host;
static struct rpc_server rpc;
static struct test_peer guest; /* the guest's end, when the test plays it */
static size_t requests;        /* in the session */
static const struct rpc_method *const tables[] = { guest_methods, NULL };
static const uint8_t own_secret[LINK_SECRET_SIZE] = "the sandbox's own, 32 bytes long";

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    (void)a;
    requests++;
    rpc_server_accept(&rpc, s, head);
}
static struct http_acceptor acceptor = { .on_request = on_request };

struct result {
    size_t calls;
    enum err_code code;
    int64_t clock_ns;
};

static void on_done(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct result *r = user;
    r->calls++;
    r->code = err ? err->code : ERR_OK;
    if (response && response->descriptor == &sandpit__guest__v1__configure_response__descriptor)
        r->clock_ns = ((const Sandpit__Guest__V1__ConfigureResponse *)response)->wall_clock_ns;
    if (response && response->descriptor == &sandpit__guest__v1__refresh_response__descriptor)
        r->clock_ns = ((const Sandpit__Guest__V1__RefreshResponse *)response)->wall_clock_ns;
    if (r->code == ERR_OK)
        guest_link_set_secret(host.l, own_secret);
}

static struct guest_call *configure(struct result *r, const char *id, unsigned ms)
{
    Sandpit__Guest__V1__ConfigureRequest m = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    m.sandbox_id = (char *)(uintptr_t)id;
    m.link_secret = (ProtobufCBinaryData){ sizeof(own_secret), (uint8_t *)(uintptr_t)own_secret };
    guest_link_expect_secret(host.l, own_secret);
    return guest_link_call_first(host.l, GUEST_LINK_FIRST_CONFIGURE, &m.base, ms, on_done, r);
}

static struct guest_call *refresh(struct result *r)
{
    Sandpit__Guest__V1__RefreshRequest m = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    return guest_link_call_first(host.l, GUEST_LINK_FIRST_REFRESH, &m.base, 10000, on_done, r);
}

static int start(void **state)
{
    (void)state;
    requests = 0;
    test_loop_init(&t);
    fake_vm_start(&vm, &t);
    vm.envd.is_guest = false; /* the machine's clock and name stay as they are */
    vm.envd.link = vm.link;
    rpc = (struct rpc_server){
        .loop = &t.loop, .defer = &vm.envd.defer, .tables = tables, .context = &vm.envd
    };
    vm.link->acceptor = &acceptor;
    fake_host_start(&host, &vm);
    return 0;
}

static int start_played(void **state)
{
    (void)state;
    test_loop_init(&t);
    guest = (struct test_peer){ .fd = fake_vm_start_raw(&vm, &t) };
    fake_host_start(&host, &vm);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    bool played = !vm.link;
    if (host.l)
        guest_link_close(host.l);
    fake_vm_stop(&vm);
    envd_clear_envs(&vm.envd.envs);
    envd_clear_envs(&vm.envd.internal_envs);
    if (played)
        test_peer_close(&guest);
    else
        rpc_server_deinit(&rpc);
    test_loop_deinit(&t);
    return 0;
}

static void assert_alive(void)
{
    Sandpit__Guest__V1__HelloRequest m = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    struct result r = { 0 };
    size_t before = requests;
    assert_non_null(guest_link_call(host.l, "/sandpit.guest.v1.Guest/Hello", &m.base,
                                    &sandpit__guest__v1__hello_response__descriptor, 10000, on_done,
                                    &r));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, before + 1);
}

static void test_the_answer_comes_before_the_session(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_non_null(configure(&r, "i1", 10000));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_true(r.clock_ns > 0);
    assert_string_equal(vm.envd.sandbox_id, "i1");
    assert_int_equal(requests, 0);
    assert_alive();
}

/* The marker is on its way when the VM is told to go on, and the call comes after that. */
static void test_a_call_follows_a_marker_that_was_sent(void **state)
{
    (void)state;
    struct result r = { 0 };
    fake_vm_pause(&vm, true);
    LOOP_UNTIL(&t, sm_state(&host.l->sm) == LINK_ACKING);
    assert_non_null(refresh(&r));
    fake_vm_pause(&vm, false);
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, 0);
    assert_alive();
}

static void test_on_a_link_that_is_up_it_is_a_request(void **state)
{
    (void)state;
    struct result r = { 0 };
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    assert_non_null(configure(&r, "i1", 10000));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, 1);
}

static void test_a_call_that_is_declined_is_repeated_as_a_request(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_non_null(configure(&r, "", 10000));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_INVALID);
    assert_int_equal(requests, 1);
    assert_alive();
}

static void test_a_message_that_is_too_long_is_a_request(void **state)
{
    (void)state;
    static char text[LINK_FRAME_MAX + 1];
    Sandpit__Guest__V1__ConfigureRequest__EnvsEntry entry =
        SANDPIT__GUEST__V1__CONFIGURE_REQUEST__ENVS_ENTRY__INIT;
    Sandpit__Guest__V1__ConfigureRequest__EnvsEntry *envs[] = { &entry };
    Sandpit__Guest__V1__ConfigureRequest m = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    struct result r = { 0 };
    memset(text, 'x', sizeof(text) - 1);
    entry.key = (char *)(uintptr_t) "LONG";
    entry.value = text;
    m.sandbox_id = (char *)(uintptr_t) "i1";
    m.n_envs = 1;
    m.envs = envs;
    assert_non_null(
        guest_link_call_first(host.l, GUEST_LINK_FIRST_CONFIGURE, &m.base, 10000, on_done, &r));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, 1);
}

static void test_a_call_that_was_given_up_says_nothing(void **state)
{
    (void)state;
    struct result r = { 0 }, late = { 0 };
    fake_vm_pause(&vm, true);
    struct guest_call *c = configure(&r, "i1", 10000);
    assert_non_null(configure(&late, "i2", 60));
    LOOP_UNTIL(&t, late.calls);
    assert_int_equal(late.code, ERR_DEADLINE);
    assert_ptr_equal(host.l->first, c);
    guest_link_cancel(c);
    fake_vm_pause(&vm, false);
    assert_alive();
    assert_int_equal(r.calls, 0);
}

static void test_closing_the_link_ends_a_first_call(void **state)
{
    (void)state;
    struct result r = { 0 };
    fake_vm_pause(&vm, true);
    assert_non_null(configure(&r, "i1", 10000));
    LOOP_UNTIL(&t, host.l->first_sent);
    guest_link_close(TAKE(host.l));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_UNAVAILABLE);
}

static void lose_answer(struct result *r)
{
    LOOP_UNTIL(&t, strcmp(vm.envd.sandbox_id, "i1") == 0);
    fake_vm_hang_up(&vm);
    assert_int_equal(r->calls, 0);
}

/* The guest has its new secret by then, and looks for it in all that comes. */
static void test_a_guest_that_has_done_it_is_asked_again(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_non_null(configure(&r, "i1", 10000));
    lose_answer(&r);
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, 0);
    assert_memory_equal(vm.link->secret, own_secret, sizeof(own_secret));
    assert_alive();
}

static void test_a_guest_that_has_done_it_is_asked_in_a_session(void **state)
{
    (void)state;
    struct result r = { 0 };
    assert_non_null(configure(&r, "i1", 10000));
    lose_answer(&r);
    host.l->first_refused = true;
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(requests, 1);
    assert_alive();
}

/* A guest that the test plays. */

static void receive(size_t n)
{
    LOOP_UNTIL(&t, (test_peer_pull(&guest), buf_len(&guest.got) >= n));
}

/* The marker, in the secret that is expected; whether it is that one. */
static bool take_marker(const uint8_t *secret, uint8_t nonce[static LINK_NONCE_SIZE])
{
    receive(MARKER_SIZE);
    bool same = memcmp(buf_head(&guest.got), secret, LINK_SECRET_SIZE) == 0;
    memcpy(nonce, buf_head(&guest.got) + LINK_SECRET_SIZE, LINK_NONCE_SIZE);
    buf_consume(&guest.got, MARKER_SIZE);
    return same;
}

/* A call; whether it tells the secret. */
static bool take_call(uint8_t type)
{
    receive(LINK_FRAME_HEAD);
    const uint8_t *head = buf_head(&guest.got);
    size_t size = LINK_FRAME_HEAD + ((size_t)head[3] << 8) + head[4];
    assert_int_equal(head[0], type);
    receive(size);
    bool told = memmem(buf_head(&guest.got), size, own_secret, sizeof(own_secret));
    buf_consume(&guest.got, size);
    return told;
}

static void acknowledge(const uint8_t nonce[static LINK_NONCE_SIZE])
{
    assert_true(test_peer_send(&guest, LINK_ACK, LINK_ACK_SIZE));
    assert_true(test_peer_send(&guest, nonce, LINK_NONCE_SIZE));
}

/* The marker and the call behind it, in the first secret, and the acknowledgement. */
static void take_first(uint8_t type, uint8_t nonce[static LINK_NONCE_SIZE])
{
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    take_call(type);
    acknowledge(nonce);
}

static void expect_preface(void)
{
    receive(strlen(PREFACE));
    assert_memory_equal(buf_head(&guest.got), PREFACE, strlen(PREFACE));
}

static void test_an_older_envd_is_asked_in_a_session(void **state)
{
    (void)state;
    static const uint8_t settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    struct guest_call *c = configure(&r, "i1", 10000);
    take_first(LINK_FRAME_CONFIGURE, nonce);
    assert_true(test_peer_send(&guest, settings, sizeof(settings)));
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    acknowledge(nonce);
    expect_preface();
    assert_int_equal(r.calls, 0);
    guest_link_cancel(c);
}

/* Whether the guest has done what it was asked is not known then: it is asked once more, and may
 * have the new secret or the old one. */
static void test_a_lost_answer_is_asked_for_again(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    assert_non_null(configure(&r, "i1", 10000));
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    assert_true(take_call(LINK_FRAME_CONFIGURE));
    acknowledge(nonce);
    LOOP_UNTIL(&t, sm_state(&host.l->sm) == LINK_ANSWERING);
    fake_vm_hang_up(&vm);
    assert_true(take_marker(own_secret, nonce));
    assert_false(take_call(LINK_FRAME_CONFIGURE));
    fake_vm_hang_up(&vm);
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    assert_true(take_call(LINK_FRAME_CONFIGURE));
    fake_vm_hang_up(&vm);
    assert_true(take_marker(own_secret, nonce));
    assert_false(take_call(LINK_FRAME_CONFIGURE));
    acknowledge(nonce);
    assert_int_equal(r.calls, 0);
    assert_true(test_peer_send(&guest, "C\0\0\0\2\x08\x07", 7));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    assert_int_equal(r.clock_ns, 7);
    expect_preface();
    buf_clear(&guest.got);
    fake_vm_hang_up(&vm); /* from now on it is the new one */
    assert_true(take_marker(own_secret, nonce));
}

/* The secret that it acknowledged, it has. */
static void test_the_acknowledged_secret_is_kept(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    struct guest_call *c = configure(&r, "i1", 10000);
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    take_call(LINK_FRAME_CONFIGURE);
    fake_vm_hang_up(&vm);
    assert_true(take_marker(own_secret, nonce));
    take_call(LINK_FRAME_CONFIGURE);
    acknowledge(nonce);
    assert_true(test_peer_send(&guest, "\0", 1)); /* no answer */
    assert_true(take_marker(own_secret, nonce));
    fake_vm_hang_up(&vm);
    assert_true(take_marker(own_secret, nonce));
    guest_link_cancel(c);
}

static void test_an_answer_that_is_none_is_an_error(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    assert_non_null(refresh(&r));
    take_first(LINK_FRAME_REFRESH, nonce);
    assert_true(test_peer_send(&guest, "R\0\0\0\2\xff\xff", 7));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_INTERNAL);
    expect_preface();
}

static void test_an_answer_to_another_call_is_none(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    struct guest_call *c = refresh(&r);
    take_first(LINK_FRAME_REFRESH, nonce);
    assert_true(test_peer_send(&guest, "C\0\0\0\2\x08\x07", 7));
    expect_preface();
    assert_int_equal(r.calls, 0);
    guest_link_cancel(c);
}

static void test_a_guest_that_says_too_much_is_asked_in_a_session(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    struct guest_call *c = refresh(&r);
    take_first(LINK_FRAME_REFRESH, nonce);
    assert_true(test_peer_send(&guest, "R\0\1\0\1", 5));
    assert_true(take_marker(LINK_SECRET_INITIAL, nonce));
    acknowledge(nonce);
    expect_preface();
    assert_int_equal(r.calls, 0);
    guest_link_cancel(c);
}

/* The link is in the state where the call was read and not answered. */
static void begin_answering(uint8_t nonce[static LINK_NONCE_SIZE])
{
    take_first(LINK_FRAME_REFRESH, nonce);
    LOOP_UNTIL(&t, sm_state(&host.l->sm) == LINK_ANSWERING);
}

static void on_quiesced(void *user, int rc)
{
    *(int *)user = rc;
}

static void test_the_link_is_quiesced_while_it_waits_for_the_answer(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    int rc = 0;
    assert_non_null(refresh(&r));
    begin_answering(nonce);
    guest_link_quiesce(host.l, 1000, GUEST_LINK_END_TOLD, on_quiesced, &rc);
    LOOP_UNTIL(&t, rc);
    assert_int_equal(rc, -ENOTCONN);
    guest_link_resume(host.l);
    begin_answering(nonce);
    assert_true(test_peer_send(&guest, "R\0\0\0\0", 5));
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_OK);
    expect_preface();
}

static void close_link(void *user, const ProtobufCMessage *response, const struct err *err)
{
    (void)response;
    (void)err;
    ++*(size_t *)user;
    guest_link_close(TAKE(host.l));
}

static void test_the_link_is_closed_by_the_answer(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    Sandpit__Guest__V1__RefreshRequest m = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    struct result waiting = { 0 };
    size_t answers = 0;
    guest_link_call_first(host.l, GUEST_LINK_FIRST_REFRESH, &m.base, 10000, close_link, &answers);
    assert_non_null(refresh(&waiting));
    begin_answering(nonce);
    /* In pieces, so that what is closed holds the answer, and with more behind it. */
    assert_true(test_peer_send(&guest, "R\0\0\0", 4));
    test_loop_settle(&t);
    assert_true(test_peer_send(&guest, "\2\x08\x07R\0\0\0\0", 8));
    LOOP_UNTIL(&t, waiting.calls);
    assert_int_equal(answers, 1);
    assert_int_equal(waiting.code, ERR_UNAVAILABLE);
}

/* A VM that is stopped has time; one that runs has not. */
static void test_the_answer_has_a_second_of_running_time(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    struct guest_call *c = refresh(&r);
    begin_answering(nonce);
    guest_link_set_vm_running(host.l, false);
    uint64_t until = uv_now(&t.loop) + LINK_ANSWER_MS + 200;
    LOOP_UNTIL(&t, uv_now(&t.loop) >= until);
    assert_int_equal(sm_state(&host.l->sm), LINK_ANSWERING);
    guest_link_set_vm_running(host.l, true);
    begin_answering(nonce);
    assert_int_equal(r.calls, 0);
    guest_link_cancel(c);
}

/* What it says then is for nobody. */
static void test_an_answer_may_come_after_the_deadline(void **state)
{
    (void)state;
    uint8_t nonce[LINK_NONCE_SIZE];
    struct result r = { 0 };
    Sandpit__Guest__V1__RefreshRequest m = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    guest_link_call_first(host.l, GUEST_LINK_FIRST_REFRESH, &m.base, 100, on_done, &r);
    begin_answering(nonce);
    LOOP_UNTIL(&t, r.calls);
    assert_int_equal(r.code, ERR_DEADLINE);
    assert_true(test_peer_send(&guest, "R\0\0\0\0", 5));
    expect_preface();
    assert_int_equal(r.calls, 1);
}

#define CASE(name)   cmocka_unit_test_setup_teardown(name, start, stop)
#define PLAYED(name) cmocka_unit_test_setup_teardown(name, start_played, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_the_answer_comes_before_the_session),
        CASE(test_a_call_follows_a_marker_that_was_sent),
        CASE(test_on_a_link_that_is_up_it_is_a_request),
        CASE(test_a_call_that_is_declined_is_repeated_as_a_request),
        CASE(test_a_message_that_is_too_long_is_a_request),
        CASE(test_a_call_that_was_given_up_says_nothing),
        CASE(test_closing_the_link_ends_a_first_call),
        CASE(test_a_guest_that_has_done_it_is_asked_again),
        CASE(test_a_guest_that_has_done_it_is_asked_in_a_session),
        PLAYED(test_an_older_envd_is_asked_in_a_session),
        PLAYED(test_a_lost_answer_is_asked_for_again),
        PLAYED(test_the_acknowledged_secret_is_kept),
        PLAYED(test_an_answer_that_is_none_is_an_error),
        PLAYED(test_an_answer_to_another_call_is_none),
        PLAYED(test_a_guest_that_says_too_much_is_asked_in_a_session),
        PLAYED(test_the_link_is_quiesced_while_it_waits_for_the_answer),
        PLAYED(test_the_link_is_closed_by_the_answer),
        PLAYED(test_the_answer_has_a_second_of_running_time),
        PLAYED(test_an_answer_may_come_after_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
