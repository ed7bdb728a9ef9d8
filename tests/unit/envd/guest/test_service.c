/* The control service, called over a stream in memory as the orchestrator calls it over the link.
 */
#include "common/base/cleanup.h"
#include "envd/core/envd.h"
#include "envd/process/registry.h"
#include "tests/support/fake_stream.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#define SERVICE "/sandpit.guest.v1.Guest/"

struct fixture {
    struct test_loop t;
    struct envd envd;
    struct rpc_server server;
    struct fake_stream stream;
    bool has_stream;
};

static const struct rpc_method *const tables[] = { guest_methods, NULL };

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    test_loop_init(&f->t);
    f->envd = (struct envd){ .loop = &f->t.loop, .cgroup_user = -1, .cgroup_ptys = -1 };
    defer_queue_init(&f->envd.defer, &f->t.loop);
    f->envd.processes = process_registry_new(&f->envd);
    f->server = (struct rpc_server){
        .loop = &f->t.loop, .defer = &f->t.defer, .tables = tables, .context = &f->envd
    };
    *state = f;
    return 0;
}

static void end_stream(struct fixture *f)
{
    if (f->has_stream) {
        fake_stream_close(&f->stream, 0);
        test_loop_settle(&f->t);
        fake_stream_deinit(&f->stream);
    }
    f->has_stream = false;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    end_stream(f);
    LOOP_UNTIL(&f->t, !uv_loop_alive(&f->t.loop)); /* a sync may still run */
    rpc_server_deinit(&f->server);
    envd_clear_envs(&f->envd.envs);
    envd_clear_envs(&f->envd.internal_envs);
    process_registry_free(f->envd.processes);
    test_loop_settle(&f->t);
    defer_queue_close(&f->envd.defer);
    test_loop_deinit(&f->t);
    free(f);
    return 0;
}

/* Begin a call; its answer may take some turns. */
static void begin(struct fixture *f, const char *target, const char *body, bool trusted)
{
    end_stream(f);
    fake_stream_init(&f->stream, "POST", target);
    f->has_stream = true;
    f->stream.s.trusted = trusted;
    fake_stream_add(&f->stream, "content-type", "application/json");
    rpc_server_accept(&f->server, &f->stream.s, &f->stream.request);
    fake_stream_data(&f->stream, body, strlen(body));
    fake_stream_end(&f->stream);
}

static struct str call(struct fixture *f, const char *target, const char *body, int status)
{
    begin(f, target, body, true);
    LOOP_UNTIL(&f->t, f->stream.ended);
    if (f->stream.status != status)
        fail_msg("status %d: %.*s", f->stream.status, STR_ARG(buf_str(&f->stream.body)));
    return buf_str(&f->stream.body);
}

static bool has(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static void test_only_the_link_may_call(void **state)
{
    struct fixture *f = *state;
    static const char *const methods[] = { "Hello", "Configure", "Refresh", "Quiesce", "Shutdown" };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        char target[64];
        snprintf(target, sizeof(target), SERVICE "%s", methods[i]);
        begin(f, target, "{\"sandboxId\":\"i1\"}", false);
        LOOP_UNTIL(&f->t, f->stream.ended);
        assert_int_not_equal(f->stream.status, 200);
    }
    assert_string_equal(f->envd.sandbox_id, "");
}

static void test_hello_tells_who_is_there(void **state)
{
    struct fixture *f = *state;
    struct str answer = call(f, SERVICE "Hello", "{\"protocol\":7}", 200);
    assert_true(has(answer, "\"protocol\":1"));
    assert_true(has(answer, "\"envdVersion\":\"" ENVD_VERSION "\""));
    assert_true(has(answer, "\"bootId\":\""));
    assert_false(has(answer, "sandboxId"));
    answer = call(f, SERVICE "Configure", "{\"sandboxId\":\"i1\",\"envs\":{\"A\":\"b\"}}", 200);
    assert_true(has(answer, "\"wallClockNs\":\""));
    assert_true(has(call(f, SERVICE "Hello", "{}", 200), "\"sandboxId\":\"i1\""));
    assert_string_equal(map_get(&f->envd.envs, STR("A")), "b");
}

static void test_malformed_requests_change_nothing(void **state)
{
    struct fixture *f = *state;
    assert_true(has(call(f, SERVICE "Configure", "{\"sandboxId\":\"../x\"}", 400), "sandbox_id"));
    assert_true(has(call(f, SERVICE "Refresh", "{\"entropy\":\"AAAA\"}", 400), "entropy"));
    assert_true(has(call(f, SERVICE "Shutdown", "{\"graceMs\":60001}", 400), "grace_ms"));
    assert_string_equal(f->envd.sandbox_id, "");
    assert_true(has(call(f, SERVICE "Refresh", "{}", 200), "\"wallClockNs\":\""));
}

static void test_quiesce_answers_after_the_sync(void **state)
{
    struct fixture *f = *state;
    call(f, SERVICE "Quiesce", "{}", 200);
    call(f, SERVICE "Quiesce", "{\"sync\":true}", 200);
}

/* The orchestrator gives up while the sync runs: its end finds no call. */
static void test_quiesce_survives_a_caller_that_leaves(void **state)
{
    struct fixture *f = *state;
    begin(f, SERVICE "Quiesce", "{\"sync\":true}", true);
    end_stream(f);
    call(f, SERVICE "Hello", "{}", 200);
}

static void on_deadline(uv_timer_t *timer)
{
    uv_stop(timer->loop);
    *(bool *)timer->data = true;
}

static void test_shutdown_answers_first(void **state)
{
    struct fixture *f = *state;
    bool late = false;
    uv_timer_t deadline = { .data = &late };
    call(f, SERVICE "Shutdown", "{\"graceMs\":100}", 200);
    call(f, SERVICE "Shutdown", "{}", 200); /* once more changes nothing */
    end_stream(f);
    /* The end of an envd that is not PID 1 is that its loop is stopped. */
    uv_timer_init(&f->t.loop, &deadline);
    uv_timer_start(&deadline, on_deadline, TEST_LOOP_MS, 0);
    uv_run(&f->t.loop, UV_RUN_DEFAULT);
    assert_false(late);
    assert_int_equal(process_registry_count(f->envd.processes), 0);
    uv_close((uv_handle_t *)&deadline, NULL);
    test_loop_settle(&f->t);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_only_the_link_may_call),
        CASE(test_hello_tells_who_is_there),
        CASE(test_malformed_requests_change_nothing),
        CASE(test_quiesce_answers_after_the_sync),
        CASE(test_quiesce_survives_a_caller_that_leaves),
        CASE(test_shutdown_answers_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
