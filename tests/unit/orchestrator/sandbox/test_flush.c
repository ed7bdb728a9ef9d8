/* The boot of a sandbox that was paused with its memory: its disk is brought up to that first. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/fileio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What the memory is needed for, in this order. */
static const char *const asks[] = { "vmm_start", "vmm_load", "vmm_resume", "Quiesce" };
#define ASKS_BEFORE_RUNNING 2

/* The newest event, which tells whether something was lost. */
static const struct sandbox_event *told(struct world *w)
{
    const struct event_log *log = &w->host->events;
    const struct sandbox_event *event = NULL;
    struct err err;
    assert_int_equal(event_log_read(log, log->newest - 1, &event, &err), 0);
    assert_string_equal(event->reason, "reboot");
    return event;
}

static void assert_booted(struct world *w)
{
    assert_int_equal(w->err.code, ERR_OK);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(tempdir_count(&w->dir, "run"), 1);
    assert_int_equal(fakes.links, 1);
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes WHERE snapshot_id <> ''"), 0);
}

static void kill_it(struct world *w)
{
    world_kill(w);
    world_assert_empty(w);
}

static void assert_paused_with_memory(struct world *w)
{
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_false(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
}

static void assert_paused_with_disk(struct world *w)
{
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
}

static void test_the_guest_writes_its_disk_before_the_boot(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    assert_int_equal(fakes.syncs, 0);
    fakes.hold = "Quiesce";
    world_reboot(w);
    assert_true(fakes_vmm()->running);
    assert_int_equal(fakes.boots, 0);
    fakes.hold = "vmm_boot";
    world_run(w);
    assert_int_equal(fakes.syncs, 1);
    assert_true(fakes_waits("vmm_boot"));
    world_go(w);
    assert_int_equal(w->resumed, 1);
    assert_booted(w);
    assert_string_equal(told(w)->detail, "");
    kill_it(w);
}

static void test_what_was_kept_without_memory_is_just_booted(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause_disk(w);
    fakes.starts = fakes.syncs = 0;
    world_reboot(w);
    assert_booted(w);
    assert_int_equal(fakes.starts, 0);
    assert_int_equal(fakes.syncs, 0);
    assert_string_equal(told(w)->detail, "");
}

/* From its first instruction on the guest may write to the disk, which the memory does not know. A
 * later daemon has the row alone. */
static void test_the_memory_is_forgotten_before_the_guest_runs(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.hold = asks[i];
        world_reboot(w);
        assert_true(fakes_waits(asks[i]));
        assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes WHERE state = 'paused' "
                                         "AND snapshot_id = '' AND filesystem_only"),
                         i >= ASKS_BEFORE_RUNNING);
        assert_int_equal(tempdir_count(&w->dir, "snapshots"), i < ASKS_BEFORE_RUNNING);
        world_go(w);
        assert_booted(w);
        kill_it(w);
    }
}

static void test_what_fails_is_told_and_the_disk_is_booted(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.fail = asks[i];
        world_reboot(w);
        fakes.fail = NULL;
        assert_booted(w);
        assert_non_null(strstr(told(w)->detail, "is lost"));
        assert_non_null(strstr(told(w)->detail, asks[i]));
        kill_it(w);
    }
}

/* As long as the memory is what it was. */
static void test_a_host_that_is_short_of_something_leaves_it_paused(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ASKS_BEFORE_RUNNING; i++) {
        world_have_paused(w);
        fakes.fail = asks[i];
        fakes.fail_code = ERR_EXHAUSTED;
        world_reboot(w);
        assert_int_equal(w->err.code, ERR_UNAVAILABLE);
        assert_paused_with_memory(w);
        fakes.fail = NULL;
        fakes.fail_code = ERR_OK;
        w->err = (struct err){ 0 };
        world_connect(w);
        assert_int_equal(w->err.code, ERR_OK);
        kill_it(w);
    }
}

static void test_a_vm_that_ends_meanwhile_is_told_and_the_disk_is_booted(void **state)
{
    struct world *w = *state;
    for (size_t i = 1; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.hold = asks[i];
        world_reboot(w);
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        assert_booted(w);
        assert_non_null(strstr(told(w)->detail, "is lost"));
        kill_it(w);
    }
}

static void test_a_damaged_snapshot_is_told_and_the_disk_is_booted(void **state)
{
    static const char *const files[] = { "memory", "state", "snapshot.json" };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[PATH_MAX];
        world_have_sandbox(w);
        memset(fakes_vmm()->memory + 4096, 'x', 4096);
        world_pause(w);
        snprintf(path, sizeof(path), "%s/snapshots/%s/%s", w->dir.path,
                 own_of(w->made)->snapshot_id, files[i]);
        assert_int_equal(truncate(path, 10), 0);
        world_reboot(w);
        assert_booted(w);
        assert_non_null(strstr(told(w)->detail, "damaged"));
        kill_it(w);
    }
}

static void test_a_guest_that_did_not_answer_is_not_asked(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.fail = "Quiesce";
    world_pause(w);
    fakes.fail = NULL;
    fakes.starts = 0;
    world_reboot(w);
    assert_booted(w);
    assert_int_equal(fakes.starts, 0);
    assert_int_equal(fakes.syncs, 0);
    assert_non_null(strstr(told(w)->detail, "did not answer"));
}

static void test_a_stop_of_the_daemon_keeps_the_memory_or_the_disk(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        fakes.hold = asks[i];
        fakes.boots = 0;
        world_reboot(w);
        world_stop(w, false);
        assert_int_equal(w->stopped, 0);
        world_go(w);
        assert_int_equal(w->stopped, 1);
        assert_int_equal(w->err.code, ERR_UNAVAILABLE);
        assert_int_equal(fakes.boots, 0);
        world_restart(w);
        world_recover(w);
        if (i < ASKS_BEFORE_RUNNING) {
            assert_paused_with_memory(w);
            continue;
        }
        assert_paused_with_disk(w);
        assert_true(fakes.syncs > 0);
        kill_it(w);
        world_have_paused(w);
    }
}

static void test_a_kill_meanwhile_waits(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.hold = asks[i];
        world_reboot(w);
        world_kill(w);
        assert_int_equal(w->killed, (int)i);
        world_go(w);
        assert_int_equal(w->killed, (int)i + 1);
        world_assert_empty(w);
    }
}

static void test_every_step_may_fail(void **state)
{
    NEED_FAULT_POINTS();
    static const char *const points[] = { "flush.source", "flush.restore", "flush.forget",
                                          "flush.cont", "flush.sync" };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        world_have_paused(w);
        setenv("SANDPIT_FAULTS", points[i], 1);
        world_reboot(w);
        unsetenv("SANDPIT_FAULTS");
        assert_booted(w);
        assert_non_null(strstr(told(w)->detail, points[i]));
        kill_it(w);
    }
}

/* What cannot be written down does not happen. */
static void test_a_full_disk_leaves_it_paused_as_it_was(void **state)
{
    NEED_FAULT_POINTS();
    struct world *w = *state;
    world_have_paused(w);
    setenv("SANDPIT_FAULTS", "store.sandbox_put", 1);
    world_reboot(w);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_paused_with_memory(w);
    world_connect(w);
    assert_int_equal(w->err.code, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_the_guest_writes_its_disk_before_the_boot),
        WORLD_TEST(test_what_was_kept_without_memory_is_just_booted),
        WORLD_TEST(test_the_memory_is_forgotten_before_the_guest_runs),
        WORLD_TEST(test_what_fails_is_told_and_the_disk_is_booted),
        WORLD_TEST(test_a_host_that_is_short_of_something_leaves_it_paused),
        WORLD_TEST(test_a_vm_that_ends_meanwhile_is_told_and_the_disk_is_booted),
        WORLD_TEST(test_a_damaged_snapshot_is_told_and_the_disk_is_booted),
        WORLD_TEST(test_a_guest_that_did_not_answer_is_not_asked),
        WORLD_TEST(test_a_stop_of_the_daemon_keeps_the_memory_or_the_disk),
        WORLD_TEST(test_a_kill_meanwhile_waits),
        WORLD_TEST(test_every_step_may_fail),
        WORLD_TEST(test_a_full_disk_leaves_it_paused_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
