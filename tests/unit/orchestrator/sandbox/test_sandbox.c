#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/sandbox/host.h"
#include "tests/unit/orchestrator/sandbox/fakes.h"

#include <stdio.h>
#include <string.h>

struct world {
    uv_loop_t loop;
    struct defer_queue defer;
    struct config config;
    struct sandbox_host *host;
    struct sandbox *made;
    struct err err;
    int created, killed, not_killed, stopped, recovered;
};

static void on_created(void *user, struct sandbox *sb, const struct sandbox_timings *t,
                       const struct err *err)
{
    (void)t;
    struct world *w = user;
    w->created++;
    w->made = sb;
    if (err)
        w->err = *err;
}

static void on_killed(void *user, bool found)
{
    struct world *w = user;
    if (found)
        w->killed++;
    else
        w->not_killed++;
}

static void on_stopped(void *user)
{
    struct world *w = user;
    w->stopped++;
}

static void on_recovered(void *user, const struct err *err)
{
    struct world *w = user;
    assert_null(err);
    w->recovered++;
}

/* Everything that needs nobody's answer. */
static void run(struct world *w)
{
    for (int i = 0; i < 10; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    fakes = (struct fakes){ .row = NULL };
    uv_loop_init(&w->loop);
    defer_queue_init(&w->defer, &w->loop);
    w->config = (struct config){
        .memory_mb = 128, .disk_mb = 512, .max_sandboxes = 2, .max_lifetime_s = 3600
    };
    snprintf(w->config.data_dir, sizeof(w->config.data_dir), "/tmp/sandpit-test-sandbox-%d",
             (int)getpid());
    struct sandbox_host_options options = { .loop = &w->loop,
                                            .defer = &w->defer,
                                            .config = &w->config };
    w->host = sandbox_host_new(&options);
    *state = w;
    return w->host ? 0 : -1;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char run_dir[PATH_MAX];
    sandbox_host_free(w->host);
    defer_queue_close(&w->defer);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(fakes.vmms, 0);
    assert_int_equal(fakes.links, 0);
    snprintf(run_dir, sizeof(run_dir), "rm -rf %s", w->config.data_dir);
    int rc = system(run_dir);
    free(w);
    return rc;
}

static void create(struct world *w, const char *ref)
{
    struct sandbox_spec spec = {
        .team_id = "team", .template_ref = ref, .timeout_s = 60, .allow_public_traffic = true
    };
    sandbox_create(w->host, &spec, on_created, w);
    run(w);
}

#define FINISH(step, ...)                                                                          \
    do {                                                                                           \
        assert_non_null(fakes.step##_done);                                                        \
        TAKE(fakes.step##_done)(fakes.step##_user, __VA_ARGS__);                                   \
    } while (0)

static void finish_destroy(struct world *w)
{
    assert_non_null(fakes.destroyed);
    TAKE(fakes.destroyed)(fakes.destroyed_user);
    run(w);
}

/* Up to where it is being written down as running. */
static void create_up_to_record(struct world *w)
{
    struct store_build build = { .id = "build", .template_id = "template", .dir = "/nowhere" };
    Sandpit__Guest__V1__HelloResponse hello = SANDPIT__GUEST__V1__HELLO_RESPONSE__INIT;
    hello.protocol = GUEST_PROTOCOL;
    create(w, "base");
    FINISH(find, &build, NULL);
    run(w);
    FINISH(put, NULL);
    run(w);
    fakes.vmm->started(fakes.vmm, NULL);
    run(w);
    FINISH(call, &hello.base, NULL);
    run(w);
    FINISH(call, NULL, NULL);
    run(w);
    assert_string_equal(fakes.state, "running");
}

static void end_vm(void)
{
    fakes.vmm->events->on_end(fakes.vmm, VMM_END_SHUTDOWN, "the guest powered off");
}

static void create_one(struct world *w)
{
    create_up_to_record(w);
    FINISH(put, NULL);
    run(w);
    assert_non_null(w->made);
}

static void finish_kill(struct world *w)
{
    run(w);
    finish_destroy(w);
    FINISH(end, NULL);
    run(w);
}

static void test_create_and_kill(void **state)
{
    struct world *w = *state;
    create_one(w);
    assert_ptr_equal(sandbox_find(w->host, w->made->id, "team"), w->made);
    assert_null(sandbox_find(w->host, w->made->id, "other"));
    sandbox_kill(w->host, w->made->id, "team", "test", on_killed, w);
    finish_kill(w);
    assert_int_equal(w->killed, 1);
    assert_string_equal(fakes.end_reason, "api");
}

static void test_a_vm_that_ends_just_before_the_create_is_done_is_undone(void **state)
{
    struct world *w = *state;
    create_up_to_record(w);
    FINISH(put, NULL);
    end_vm(); /* in the same turn of the loop */
    run(w);
    finish_destroy(w);
    FINISH(end, NULL);
    run(w);
    assert_int_equal(w->created, 1);
    assert_null(w->made);
    assert_non_null(strstr(w->err.msg, "the guest powered off"));
    assert_string_equal(fakes.end_reason, "create_failed");
    assert_int_equal(sandbox_host_count(w->host, NULL), 0);
}

static void test_a_stop_just_before_the_create_is_done_undoes_it(void **state)
{
    struct world *w = *state;
    create_up_to_record(w);
    FINISH(put, NULL);
    sandbox_host_stop(w->host, false, on_stopped, w);
    run(w);
    assert_int_equal(w->stopped, 0);
    finish_destroy(w);
    FINISH(end, NULL);
    run(w);
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_int_equal(w->stopped, 1);
}

static void test_a_kill_joins_one_that_is_under_way(void **state)
{
    struct world *w = *state;
    create_one(w);
    char id[SANDBOX_ID_SIZE];
    memcpy(id, w->made->id, sizeof(id));
    sandbox_kill(w->host, id, "team", "first", on_killed, w);
    run(w);
    sandbox_kill(w->host, id, "team", "second", on_killed, w);
    sandbox_kill(w->host, id, "other", "not its own", on_killed, w);
    run(w);
    assert_int_equal(w->killed, 0);
    assert_int_equal(w->not_killed, 1);
    finish_kill(w);
    assert_int_equal(w->killed, 2);
    sandbox_kill(w->host, id, "team", "third", on_killed, w);
    run(w);
    assert_int_equal(w->not_killed, 2);
}

static void test_a_kill_of_one_that_ends_by_itself_finds_nothing(void **state)
{
    struct world *w = *state;
    create_one(w);
    end_vm();
    sandbox_kill(w->host, w->made->id, "team", "late", on_killed, w);
    run(w);
    assert_int_equal(w->not_killed, 1);
    finish_kill(w);
    assert_string_equal(fakes.end_reason, "shutdown");
}

static void test_a_reference_of_the_greatest_length_is_passed_on_whole(void **state)
{
    struct world *w = *state;
    char ref[TEMPLATE_REF_MAX + 1];
    memset(ref, 'a', TEMPLATE_REF_MAX);
    ref[TEMPLATE_REF_MAX] = '\0';
    create(w, ref);
    assert_string_equal(fakes.template_ref, ref);
    struct err err;
    err_fill(&err, ERR_NOT_FOUND, "no");
    FINISH(find, NULL, &err);
    run(w);
    assert_int_equal(w->err.code, ERR_NOT_FOUND);
}

static void test_a_failure_below_is_no_mistake_of_the_client(void **state)
{
    struct world *w = *state;
    struct store_build build = { .id = "build", .template_id = "template", .dir = "/nowhere" };
    struct err err;
    create(w, "base");
    FINISH(find, &build, NULL);
    run(w);
    err_fill(&err, ERR_EXISTS, "the database refused a change");
    FINISH(put, &err);
    run(w);
    FINISH(end, NULL);
    run(w);
    assert_int_equal(w->created, 1);
    assert_int_equal(w->err.code, ERR_INTERNAL);
    assert_string_equal(w->err.msg, "the database refused a change");
}

static void start_recovery(struct world *w)
{
    static struct store_sandbox row = { .id = "i1", .team_id = "team", .state = "running" };
    row.end_ns = clock_wall_ns() + INT64_C(3600000000000);
    fakes.row = &row;
    sandbox_host_recover(w->host, on_recovered, w);
    assert_non_null(fakes.job);
    fakes.job->work(fakes.job, NULL);
}

static void test_a_stop_waits_for_the_rows_of_a_recovery(void **state)
{
    struct world *w = *state;
    start_recovery(w);
    sandbox_host_stop(w->host, false, on_stopped, w);
    run(w);
    assert_int_equal(w->stopped, 0);
    fakes.job->done(fakes.job);
    run(w);
    assert_int_equal(w->stopped, 0);
    fakes.vmm->started(fakes.vmm, NULL);
    fakes.vmm->resumed(fakes.vmm->resumed_user, NULL);
    run(w);
    assert_int_equal(w->recovered, 1);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(fakes.released, 1);
}

static void test_an_adopted_sandbox_is_found_and_let_go_at_the_stop(void **state)
{
    struct world *w = *state;
    start_recovery(w);
    fakes.job->done(fakes.job);
    fakes.vmm->started(fakes.vmm, NULL);
    fakes.vmm->resumed(fakes.vmm->resumed_user, NULL);
    run(w);
    assert_int_equal(w->recovered, 1);
    assert_non_null(sandbox_find(w->host, "i1", "team"));
    sandbox_host_stop(w->host, false, on_stopped, w);
    run(w);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(fakes.released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_and_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_vm_that_ends_just_before_the_create_is_done_is_undone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stop_just_before_the_create_is_done_undoes_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_kill_joins_one_that_is_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_kill_of_one_that_ends_by_itself_finds_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_reference_of_the_greatest_length_is_passed_on_whole,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_failure_below_is_no_mistake_of_the_client, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_stop_waits_for_the_rows_of_a_recovery, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_an_adopted_sandbox_is_found_and_let_go_at_the_stop,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
