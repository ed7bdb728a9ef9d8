/* Pausing: what a failure leaves, what ends it, who waits for it. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What a pause asks of VMM and guest, in this order. */
static const char *const asks[] = { "Quiesce",  FAKE_DRAIN, "vmm_pause",
                                    "vmm_save", FAKE_STORE, "vmm_destroy" };
#define ASKS_BEFORE_RECORD 4

static void test_a_paused_sandbox_is_its_files_and_its_row(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 0);
    assert_null(sandbox_find(w->host, w->id, w->team));
    world_kill(w);
    assert_int_equal(w->killed, 1);
    world_assert_empty(w);
}

static void test_a_pause_without_memory_keeps_the_disk(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause_disk(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(fakes.syncs, 1);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(fakes.boots, 1);
    assert_false(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
}

static void on_paused(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)t;
    w->paused++;
    assert_null(err);
}

/* Its disk is as good as its memory when somebody asks for that. */
static void test_a_pause_with_memory_writes_the_disk_out_when_asked(void **state)
{
    struct world *w = *state;
    struct sandbox_pause_spec spec = { .memory = true, .sync = true, .actor = "test" };
    world_have_paused(w);
    assert_int_equal(fakes.syncs, 0);
    world_connect(w);
    sandbox_pause(w->host, w->id, w->team, &spec, on_paused, w);
    world_run(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(fakes.syncs, 1);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
}

static void assert_goes_on(struct world *w)
{
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_false(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    assert_false(sandbox_lookup(w->host, w->id, NULL)->unresponsive_at_pause);
    assert_true(sandbox_lookup(w->host, w->id, NULL)->end_ns > clock_wall_ns());
}

static void test_a_failing_step_leaves_it_running(void **state)
{
    static const char *const points[] = { "pause.quiesce",  "pause.drain",       "pause.stop",
                                          "pause.state",    "pause.write",       "pause.record",
                                          "snapshot.begin", "snapshot.manifest", "snapshot.rename",
                                          "store.commit" };
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_sandbox(w);
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        setenv("SANDPIT_FAULTS", points[i], 1);
        world_pause(w);
        assert_int_equal(w->paused, (int)i + 1);
        assert_true(w->err.code != ERR_OK);
        assert_goes_on(w);
    }
    unsetenv("SANDPIT_FAULTS");
    world_pause(w);
    assert_int_equal(w->err.code, ERR_OK);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
}

static void test_a_vmm_that_refuses_leaves_it_running(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    for (size_t i = 2; i < ASKS_BEFORE_RECORD; i++) {
        fakes.fail = asks[i];
        world_pause(w);
        fakes.fail = NULL;
        assert_non_null(strstr(w->err.msg, asks[i]));
        assert_goes_on(w);
    }
}

static void test_a_silent_guest_is_paused_all_the_same(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.fail = "Quiesce";
    world_pause(w);
    assert_int_equal(w->err.code, ERR_OK);
    assert_true(sandbox_lookup(w->host, w->id, NULL)->unresponsive_at_pause);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
}

static void on_refused(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)t;
    w->paused++;
    w->err = *err;
}

static void test_a_silent_guest_is_not_paused_when_a_healthy_one_is_required(void **state)
{
    struct world *w = *state;
    struct sandbox_pause_spec spec = { .memory = true, .require_healthy = true, .actor = "test" };
    world_have_sandbox(w);
    fakes.fail = "Quiesce";
    sandbox_pause(w->host, w->id, w->team, &spec, on_refused, w);
    world_run(w);
    assert_int_equal(w->paused, 1);
    assert_int_equal(w->err.code, ERR_ABORTED);
    assert_string_equal(w->err.reason, SANDBOX_REASON_UNRESPONSIVE);
    assert_goes_on(w);
}

static void test_a_vm_that_ends_before_the_record_ends_the_sandbox(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ASKS_BEFORE_RECORD; i++) {
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_pause(w);
        assert_true(fakes_waits(asks[i]));
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        assert_int_equal(w->paused, (int)i + 1);
        assert_int_equal(w->err.code, ERR_UNAVAILABLE);
        assert_null(sandbox_lookup(w->host, w->id, NULL));
        world_assert_empty(w);
    }
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'shutdown'"),
                     ASKS_BEFORE_RECORD);
}

static void test_a_vm_that_ends_while_it_is_recorded_leaves_it_paused(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.hold = "vmm_save";
    world_pause(w);
    world_hold(w, FAKE_STORE);
    fakes_end_vmm(fakes_vmm());
    world_go(w);
    assert_int_equal(w->paused, 1);
    assert_int_equal(w->err.code, ERR_OK);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_stop_of_the_daemon_waits_for_it(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_pause(w);
        assert_true(fakes_waits(asks[i]));
        world_stop(w, false);
        assert_int_equal(w->stopped, 0);
        world_go(w);
        assert_int_equal(w->paused, (int)i + 1);
        assert_int_equal(w->stopped, 1);
        world_restart(w);
        world_recover(w);
        world_assert_state(w, SANDBOX_PAUSED, "paused");
        world_kill(w);
        world_assert_empty(w);
    }
}

static void test_what_comes_meanwhile_waits_or_is_refused(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        int told = strcmp(asks[i], "vmm_destroy") == 0; /* it is paused when its VM has to go */
        w->connected = w->paused = w->resumed = 0;
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_pause(w);
        assert_int_equal(w->paused, told);
        world_pause(w); /* a second one */
        assert_int_equal(w->paused, told + 1);
        assert_int_equal(w->err.code, ERR_ABORTED);
        world_snapshot(w, NULL);
        assert_int_equal(w->err.code, ERR_ABORTED);
        world_connect(w);
        assert_int_equal(w->connected, 0);
        world_go(w);
        assert_int_equal(w->paused, 2);
        assert_int_equal(w->connected, 1);
        assert_int_equal(w->resumed, 1);
        world_assert_state(w, SANDBOX_RUNNING, "running");
        world_kill(w);
        world_assert_empty(w);
    }
}

static void test_a_kill_meanwhile_waits(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_pause(w);
        world_kill(w);
        assert_int_equal(w->killed, (int)i);
        world_go(w);
        assert_int_equal(w->paused, (int)i + 1);
        assert_int_equal(w->killed, (int)i + 1);
        world_assert_empty(w);
    }
}

static void test_one_that_is_not_there_is_not_paused(void **state)
{
    struct world *w = *state;
    snprintf(w->id, sizeof(w->id), "inone");
    world_pause(w);
    assert_int_equal(w->err.code, ERR_NOT_FOUND);
    world_have_paused(w);
    world_pause(w);
    assert_int_equal(w->err.code, ERR_ABORTED);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
}

static void expire(struct world *w)
{
    struct err err;
    assert_int_equal(sandbox_set_timeout(sandbox_find(w->host, w->id, NULL), 0, false, &err), 0);
}

static void test_at_its_end_it_is_paused_when_that_was_asked_for(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    w->made->auto_pause = w->made->auto_pause_memory = true;
    expire(w);
    WORLD_UNTIL(w, sm_state(&sandbox_lookup(w->host, w->id, NULL)->sm) == SANDBOX_PAUSED);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
}

static void test_at_its_end_it_runs_on_when_it_cannot_be_paused(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    w->made->auto_pause = w->made->auto_pause_memory = true;
    fakes.fail = "vmm_save";
    expire(w);
    WORLD_UNTIL(w, sandbox_find(w->host, w->id, NULL) &&
                       sandbox_find(w->host, w->id, NULL)->end_ns > clock_wall_ns());
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_pause_that_fails_gives_no_longer_life(void **state)
{
    struct world *w = *state;
    struct err err;
    world_have_sandbox(w);
    struct sandbox *sb = sandbox_find(w->host, w->id, NULL);
    int64_t began = own_of(sb)->run_began_ns -= INT64_C(1800) * 1000000000;
    fakes.fail = "vmm_save";
    world_pause(w);
    assert_goes_on(w);
    assert_true(own_of(sb)->run_began_ns == began);
    assert_int_equal(sandbox_set_timeout(sb, 1900, false, &err), -EINVAL);
    assert_int_equal(sandbox_set_timeout(sb, 1700, false, &err), 0);
    fakes.fail = NULL;
    world_pause(w);
    world_connect(w); /* which begins another one */
    assert_int_equal(sandbox_set_timeout(sb, 3500, false, &err), 0);
}

static void test_at_its_end_it_is_killed_otherwise(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    expire(w);
    WORLD_UNTIL(w, !sandbox_lookup(w->host, w->id, NULL) && !fakes_vmm());
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'deadline'"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_paused_sandbox_is_its_files_and_its_row),
        WORLD_TEST(test_a_pause_without_memory_keeps_the_disk),
        WORLD_TEST(test_a_pause_with_memory_writes_the_disk_out_when_asked),
        WORLD_TEST(test_a_failing_step_leaves_it_running),
        WORLD_TEST(test_a_vmm_that_refuses_leaves_it_running),
        WORLD_TEST(test_a_silent_guest_is_paused_all_the_same),
        WORLD_TEST(test_a_silent_guest_is_not_paused_when_a_healthy_one_is_required),
        WORLD_TEST(test_a_vm_that_ends_before_the_record_ends_the_sandbox),
        WORLD_TEST(test_a_vm_that_ends_while_it_is_recorded_leaves_it_paused),
        WORLD_TEST(test_a_stop_of_the_daemon_waits_for_it),
        WORLD_TEST(test_what_comes_meanwhile_waits_or_is_refused),
        WORLD_TEST(test_a_kill_meanwhile_waits),
        WORLD_TEST(test_one_that_is_not_there_is_not_paused),
        WORLD_TEST(test_at_its_end_it_is_paused_when_that_was_asked_for),
        WORLD_TEST(test_at_its_end_it_runs_on_when_it_cannot_be_paused),
        WORLD_TEST(test_a_pause_that_fails_gives_no_longer_life),
        WORLD_TEST(test_at_its_end_it_is_killed_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
