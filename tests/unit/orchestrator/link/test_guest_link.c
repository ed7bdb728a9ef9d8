/* The link when nothing goes wrong, or only its streams do. */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "common/link/link_limits.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>

#define MANY 1000

static struct test_loop t;
static struct fake_vm vm;
static struct fake_host host;
static struct h2_request many[MANY];

static int start(void **state)
{
    (void)state;
    test_loop_init(&t);
    fake_vm_start(&vm, &t);
    fake_host_start(&host, &vm);
    LOOP_UNTIL(&t, guest_link_is_up(host.l));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    guest_link_close(host.l);
    fake_vm_stop(&vm);
    test_loop_deinit(&t);
    for (size_t i = 0; i < MANY; i++)
        h2_request_deinit(&many[i]);
    memset(many, 0, sizeof(many));
    return 0;
}

static void begin(struct h2_request *r, const char *method, const char *path, size_t upload)
{
    assert_true(h2_request_begin(guest_link_session(host.l), r, method, path, upload));
}

static size_t closed(size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += many[i].closed;
    return count;
}

static void test_requests_small_and_large_are_answered(void **state)
{
    (void)state;
    fake_host_assert_alive(&host, &t);
    begin(&many[0], "POST", "/echo", 20U << 20);
    LOOP_UNTIL(&t, many[0].closed);
    assert_int_equal(many[0].errnum, 0);
    assert_int_equal(buf_len(&many[0].body), 20U << 20);
    for (size_t i = 0; i < buf_len(&many[0].body); i++)
        if (buf_head(&many[0].body)[i] != i % 251)
            fail_msg("byte %zu differs", i);
    assert_int_equal(vm.echo.untrusted, 0); /* the control service may be called on it */
    assert_int_equal(host.ups, 1);
    assert_int_equal(vm.clients, 1);
}

static void test_thousand_streams_are_answered(void **state)
{
    (void)state;
    for (size_t i = 0; i < MANY; i++)
        begin(&many[i], "POST", "/echo", 2000);
    LOOP_UNTIL(&t, closed(MANY) == MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(many[i].errnum, 0);
        assert_int_equal(many[i].received, 2000);
    }
}

static void test_streams_end_at_the_limit(void **state)
{
    (void)state;
    struct h2_request one = { 0 };
    struct h2_request *all = calloc(LINK_STREAMS_MAX, sizeof(*all));
    fake_host_assert_alive(&host, &t);
    for (size_t i = 0; i < LINK_STREAMS_MAX; i++)
        begin(&all[i], "GET", "/none", 0);
    assert_false(h2_request_begin(guest_link_session(host.l), &one, "GET", "/small", 0));
    for (size_t i = 0; i < LINK_STREAMS_MAX; i++)
        http_reset(all[i].s);
    for (size_t i = 0; i < LINK_STREAMS_MAX; i++)
        LOOP_UNTIL(&t, all[i].closed);
    fake_host_assert_alive(&host, &t);
    free(all);
}

static void stall(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        many[i].stall = true;
        begin(&many[i], "GET", "/big", 0);
    }
    for (size_t i = 0; i < n; i++)
        LOOP_UNTIL(&t, many[i].received >= 65536);
    for (int i = 0; i < 50; i++)
        fake_host_assert_alive(&host, &t);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(many[i].received, 65536);
}

static void test_eight_stalled_readers_stop_nobody(void **state)
{
    (void)state;
    stall(8);
    /* Another download runs at full speed beside them. */
    many[100].discard = true;
    begin(&many[100], "GET", "/big", 0);
    LOOP_UNTIL(&t, many[100].received > 50U << 20);
}

static void test_hundred_stalled_readers_stop_nobody(void **state)
{
    (void)state;
    stall(100);
    assert_int_equal(host.downs, 0);
}

static void test_five_thousand_aborted_requests(void **state)
{
    (void)state;
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < 100; i++)
            begin(&many[i], "GET", i % 2 ? "/none" : "/big", 0);
        LOOP_UNTIL(&t, vm.echo.requests == (round + 1) * 100);
        for (size_t i = 0; i < 100; i++)
            http_reset(many[i].s);
        LOOP_UNTIL(&t, closed(100) == 100);
        for (size_t i = 0; i < 100; i++)
            h2_request_deinit(&many[i]);
        memset(many, 0, sizeof(many));
    }
    LOOP_UNTIL(&t, vm.echo.closes == 5000);
    fake_host_assert_alive(&host, &t);
    assert_int_equal(host.downs, 0);
    assert_int_equal(vm.clients, 1);
}

static void test_secret_changes_with_the_next_session(void **state)
{
    (void)state;
    static const uint8_t secret[LINK_SECRET_SIZE] = "0123456789abcdef0123456789abcde";
    envd_link_set_secret(vm.link, secret);
    guest_link_set_secret(host.l, secret);
    begin(&many[0], "POST", "/echo", 1U << 20);
    LOOP_UNTIL(&t, many[0].closed);
    assert_int_equal(many[0].received, 1U << 20); /* the session goes on */
    assert_int_equal(host.downs, 0);

    /* The old secret opens nothing any more, neither in a session nor as another host. */
    guest_link_close(host.l);
    fake_host_start(&host, &vm);     /* with LINK_SECRET_INITIAL */
    LOOP_UNTIL(&t, vm.clients >= 3); /* the first try had no answer */
    assert_int_equal(host.ups, 0);
    guest_link_set_secret(host.l, secret);
    fake_host_assert_alive(&host, &t);
}

static void test_last_byte_that_begins_the_secret_is_not_kept(void **state)
{
    (void)state;
    uint8_t secret[LINK_SECRET_SIZE] = "a secret of thirty-two bytes";
    /* Whatever byte the request ends in, one of these secrets begins with it. */
    for (unsigned first = 0; first < 256; first++) {
        secret[0] = (uint8_t)first;
        envd_link_set_secret(vm.link, secret);
        fake_host_assert_alive(&host, &t);
    }
    assert_int_equal(host.downs, 0);
}

static int quiesce_rc;
static size_t quiesced;

static void on_quiesced(void *user, int rc)
{
    assert_ptr_equal(user, &host);
    quiesce_rc = rc;
    quiesced++;
}

static enum guest_link_end quiesce_end;

static void quiesce(unsigned ms)
{
    quiesced = 0;
    guest_link_quiesce(host.l, ms, quiesce_end, on_quiesced, &host);
    assert_int_equal(quiesced, 0);
    assert_false(guest_link_is_up(host.l));
    assert_null(guest_link_stream(host.l, NULL, NULL));
    LOOP_UNTIL(&t, quiesced);
}

static void test_quiesce_ends_the_session_in_order(void **state)
{
    (void)state;
    begin(&many[0], "POST", "/echo", 500000);
    quiesce(10000);
    assert_int_equal(quiesce_rc, 0);
    assert_true(many[0].closed);
    assert_int_equal(many[0].errnum, 0); /* what was under way came to its end */
    assert_int_equal(many[0].received, 500000);
    assert_int_equal(host.downs, 1);
    test_loop_settle(&t);
    assert_non_null(vm.client); /* the guest is told of no end */

    quiesce(10000); /* nothing to end */
    assert_int_equal(quiesce_rc, -ENOTCONN);
    assert_int_equal(vm.clients, 1);
    guest_link_resume(host.l);
    fake_host_assert_alive(&host, &t);
    assert_int_equal(vm.clients, 2);
}

/* The guest is not told, and has a session until the next one begins. */
static void test_quiesce_that_the_guest_is_not_told_of(void **state)
{
    (void)state;
    quiesce_end = GUEST_LINK_END_UNTOLD;
    for (size_t i = 0; i < 3; i++) {
        begin(&many[i], "POST", "/echo", 500000);
        quiesce(10000);
        assert_int_equal(quiesce_rc, 0);
        assert_true(many[i].closed);
        assert_int_equal(many[i].received, 500000);
        guest_link_resume(host.l);
        fake_host_assert_alive(&host, &t);
    }
    quiesce_end = GUEST_LINK_END_TOLD;
}

/* What still comes on a connection that was kept is nobody's, and it may end at any time. */
static void test_a_quiet_link_loses_its_connection(void **state)
{
    (void)state;
    quiesce_end = GUEST_LINK_END_UNTOLD;
    quiesce(10000);
    assert_int_equal(quiesce_rc, 0);
    fake_vm_hang_up(&vm);
    test_loop_settle(&t);
    assert_int_equal(host.downs, 1);
    guest_link_resume(host.l);
    fake_host_assert_alive(&host, &t);
    assert_int_equal(vm.clients, 2);
    quiesce(10000); /* and then it is closed */
    assert_int_equal(quiesce_rc, 0);
    quiesce_end = GUEST_LINK_END_TOLD;
}

static void test_quiesce_of_a_silent_guest_ends_in_time(void **state)
{
    (void)state;
    begin(&many[0], "GET", "/none", 0);
    LOOP_UNTIL(&t, vm.echo.requests == 1);
    fake_vm_pause(&vm, true);
    quiesce(50);
    assert_int_equal(quiesce_rc, -ETIMEDOUT);
    LOOP_UNTIL(&t, many[0].closed);
    assert_int_equal(many[0].errnum, ECONNRESET);
    guest_link_resume(host.l);
    fake_vm_pause(&vm, false);
    fake_host_assert_alive(&host, &t);
}

static void test_quiesce_of_a_guest_that_answers_nothing_but_runs(void **state)
{
    (void)state;
    /* No stream is open: only the last ping tells. */
    fake_vm_pause(&vm, true);
    quiesce(50);
    assert_int_equal(quiesce_rc, -ETIMEDOUT);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_requests_small_and_large_are_answered),
        CASE(test_thousand_streams_are_answered),
        CASE(test_streams_end_at_the_limit),
        CASE(test_eight_stalled_readers_stop_nobody),
        CASE(test_hundred_stalled_readers_stop_nobody),
        CASE(test_five_thousand_aborted_requests),
        CASE(test_secret_changes_with_the_next_session),
        CASE(test_last_byte_that_begins_the_secret_is_not_kept),
        CASE(test_quiesce_ends_the_session_in_order),
        CASE(test_quiesce_that_the_guest_is_not_told_of),
        CASE(test_a_quiet_link_loses_its_connection),
        CASE(test_quiesce_of_a_silent_guest_ends_in_time),
        CASE(test_quiesce_of_a_guest_that_answers_nothing_but_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
