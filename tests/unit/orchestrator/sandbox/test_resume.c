/* Making a paused sandbox run again. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "orchestrator/sandbox/guest_identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What a resume asks for, in this order. */
static const char *const asks[] = { FAKE_STORE, "vmm_start", "vmm_load", "vmm_resume", "Refresh" };
#define ASKS_BEFORE_RUNNING 3

static void test_memory_and_identity_are_what_they_were(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    memcpy(fakes_vmm()->memory + 8192, "written", 7);
    world_pause(w);
    world_connect(w);
    assert_int_equal(w->resumed, 1);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_memory_equal(fakes_vmm()->memory + 8192, "written", 7);
    assert_int_equal(fakes_vmm()->memory[0], 'T');
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(fakes.configures, 1);
    assert_int_equal(fakes.refreshes, 1);
    world_pause(w);
    world_connect(w);
    assert_memory_equal(fakes_vmm()->memory + 8192, "written", 7);
    world_kill(w);
    world_assert_empty(w);
}

#define SLOW_NS 10000000 /* longer than a set clock may be off */

/* The guest's answer waits until it may be this slow. */
static void connect_slowly(struct world *w)
{
    fakes.hold = "Refresh";
    world_connect(w);
    while (clock_wall_ns() < fakes_vmm()->went_on_ns + 2 * SLOW_NS)
        ; /* less than a blink */
    fakes.slow_ns = SLOW_NS;
    world_go(w);
    fakes.slow_ns = 0;
}

static void test_the_clock_is_moved_on_by_what_it_stood_still(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    assert_int_equal(fakes.stood_still_ns, 0); /* the template's manifest does not tell */
    int64_t from = clock_wall_ns();
    world_pause(w);
    connect_slowly(w);
    assert_true(fakes.stood_still_ns > 0 && fakes.stood_still_ns < clock_wall_ns() - from);
    assert_int_equal(fakes.refreshes, 1);
    world_kill(w);
}

/* A guest that has hardly run yet is slow to answer; its clock may be right all the same. */
static void test_a_slow_answer_before_the_stop_makes_no_clock_wrong(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.hold = "Quiesce";
    int64_t asked = clock_wall_ns();
    world_pause(w);
    while (clock_wall_ns() < asked + 2 * SLOW_NS)
        ; /* less than a blink */
    fakes.slow_ns = SLOW_NS;
    world_go(w);
    fakes.slow_ns = 0;
    world_connect(w);
    assert_true(fakes.stood_still_ns > 0);
    assert_int_equal(fakes.refreshes, 1);
    world_kill(w);
}

static void test_a_clock_that_was_wrong_before_is_set(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.slow_ns = SLOW_NS;
    world_pause(w);
    fakes.slow_ns = 0;
    world_connect(w);
    assert_int_equal(fakes.stood_still_ns, 0);
    assert_int_equal(fakes.refreshes, 1);
    /* And then a slow answer tells of a clock that is late. */
    fakes.slow_ns = SLOW_NS;
    world_pause(w);
    fakes.slow_ns = 0;
    connect_slowly(w);
    assert_int_equal(fakes.refreshes, 1 + CLOCK_TRIES);
    world_kill(w);
}

static void test_a_clock_that_was_moved_wrongly_is_set(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause(w);
    fakes.late = 1;
    world_connect(w);
    assert_int_equal(fakes.refreshes, 2);
    assert_int_equal(fakes.stood_still_ns, 0);
    world_kill(w);
}

static void test_a_running_one_is_extended(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_connect(w);
    assert_int_equal(w->connected, 1);
    assert_int_equal(w->resumed, 0);
    assert_int_equal(w->err.code, ERR_OK);
}

static void test_two_that_connect_share_one_resume(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        w->connected = w->resumed = 0;
        fakes.starts = 0;
        fakes.hold = asks[i];
        world_connect(w);
        assert_true(fakes_waits(asks[i]));
        world_connect(w);
        assert_int_equal(w->connected, 0);
        world_go(w);
        assert_int_equal(w->connected, 2);
        assert_int_equal(w->resumed, 2);
        assert_int_equal(fakes.starts, 1);
        world_pause(w);
    }
}

static void assert_paused_with_memory(struct world *w)
{
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 0);
    assert_false(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
}

static void test_a_failure_before_it_runs_leaves_it_paused(void **state)
{
    static const char *const points[] = { "resume.source", "resume.restore", "restore.start",
                                          "restore.fill",  "restore.load",   "memory.apply",
                                          "resume.record", "resume.retire" };
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_paused(w);
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        setenv("SANDPIT_FAULTS", points[i], 1);
        world_connect(w);
        unsetenv("SANDPIT_FAULTS");
        assert_int_equal(w->connected, (int)i + 1);
        assert_true(w->err.code != ERR_OK);
        assert_paused_with_memory(w);
    }
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_full_disk_is_no_limit_of_the_client(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_paused(w);
    setenv("SANDPIT_FAULTS", "store.sandbox_put", 1);
    world_connect(w);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(w->err.msg, "disk of the data directory is full"));
    assert_paused_with_memory(w);
}

static void test_a_vmm_that_fails_before_it_runs_leaves_it_paused(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    for (size_t i = 1; i < ASKS_BEFORE_RUNNING; i++) {
        fakes.fail = asks[i];
        world_connect(w);
        fakes.fail = NULL;
        assert_non_null(strstr(w->err.msg, asks[i]));
        assert_paused_with_memory(w);
        fakes.hold = asks[i];
        world_connect(w);
        if (i > 1)
            fakes_end_vmm(fakes_vmm());
        world_go(w);
        if (i > 1)
            assert_paused_with_memory(w);
        else
            world_pause(w);
    }
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_one_that_ran_and_failed_has_its_disk_alone(void **state)
{
    struct world *w = *state;
    for (size_t i = ASKS_BEFORE_RUNNING; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.hold = asks[i];
        world_connect(w);
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        assert_true(w->err.code != ERR_OK);
        world_assert_state(w, SANDBOX_PAUSED, "paused");
        assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
        assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
        world_connect(w);
        assert_int_equal(w->err.code, ERR_OK);
        world_assert_state(w, SANDBOX_RUNNING, "running");
        world_kill(w);
        world_assert_empty(w);
    }
}

static void test_a_boot_that_fails_leaves_the_disk(void **state)
{
    static const char *const steps[] = { "vmm_boot", "Hello", "Configure" };
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause_disk(w);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.fail = steps[i];
        world_connect(w);
        fakes.fail = NULL;
        assert_non_null(strstr(w->err.msg, steps[i]));
        world_assert_state(w, SANDBOX_PAUSED, "paused");
        assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    }
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_boot_ends_with_its_vm(void **state)
{
    static const char *const steps[] = { "vmm_boot", "Hello", "Configure" };
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause_disk(w);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        world_connect(w);
        assert_true(fakes_waits(steps[i]));
        if (i == 0)
            fakes.fail = steps[i];
        else
            fakes_end_vmm(fakes_vmm());
        world_go(w);
        fakes.fail = NULL;
        assert_int_equal(w->connected, (int)i + 1);
        assert_true(w->err.code != ERR_OK);
        world_assert_state(w, SANDBOX_PAUSED, "paused");
    }
}

static void test_a_boot_is_called_off_by_a_stop(void **state)
{
    static const char *const steps[] = { "vmm_boot", "Hello", "Configure" };
    struct world *w = *state;
    world_have_sandbox(w);
    world_pause_disk(w);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        world_connect(w);
        world_stop(w, false);
        if (i == 0) /* a VMM that starts is waited for */
            world_go(w);
        fakes.hold = NULL;
        assert_int_equal(w->stopped, 1);
        assert_int_equal(w->err.code, ERR_UNAVAILABLE);
        world_restart(w);
        world_recover(w);
        world_assert_state(w, SANDBOX_PAUSED, "paused");
    }
}

static void test_a_stop_of_the_daemon_waits_for_it(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        fakes.hold = asks[i];
        world_connect(w);
        assert_true(fakes_waits(asks[i]));
        world_stop(w, false);
        assert_int_equal(w->stopped, 0);
        world_go(w);
        assert_int_equal(w->stopped, 1);
        assert_int_equal(w->connected, (int)i + 1);
        world_restart(w);
        world_recover(w);
        struct sandbox *sb = sandbox_lookup(w->host, w->id, NULL);
        assert_non_null(sb);
        if (sm_state(&sb->sm) == SANDBOX_RUNNING)
            world_pause(w);
        assert_int_equal(sm_state(&sb->sm), SANDBOX_PAUSED);
    }
}

static void test_a_kill_meanwhile_waits(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_paused(w);
        fakes.hold = asks[i];
        world_connect(w);
        world_kill(w);
        assert_int_equal(w->killed, (int)i);
        world_go(w);
        assert_int_equal(w->killed, (int)i + 1);
        world_assert_empty(w);
    }
}

static void test_a_damaged_snapshot_is_refused_and_kept(void **state)
{
    static const char *const files[] = { "memory", "state", "snapshot.json" };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[PATH_MAX], byte;
        world_have_sandbox(w);
        memset(fakes_vmm()->memory + 4096, 'x', 4096);
        world_pause(w);
        snprintf(path, sizeof(path), "%s/snapshots/%s/%s", w->dir.path,
                 own_of(w->made)->snapshot_id, files[i]);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        off_t middle = lseek(fd, 0, SEEK_END) / 2;
        assert_int_equal(pread(fd, &byte, 1, middle), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, middle), 1);
        world_connect(w);
        assert_int_equal(w->err.code, ERR_DATA_LOSS);
        assert_paused_with_memory(w);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, middle), 1);
        close(fd);
        world_connect(w);
        assert_int_equal(w->err.code, ERR_OK);
        world_kill(w);
        world_assert_empty(w);
    }
}

static void test_a_full_host_leaves_it_paused(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    char id[SANDBOX_ID_SIZE];
    memcpy(id, w->id, sizeof(id));
    w->config.max_sandboxes = 1;
    world_have_sandbox(w);
    memcpy(w->id, id, sizeof(id));
    world_connect(w);
    assert_int_equal(w->err.code, ERR_EXHAUSTED);
    assert_int_equal(sm_state(&sandbox_lookup(w->host, id, NULL)->sm), SANDBOX_PAUSED);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
}

static void test_one_that_is_too_large_now_stays_paused(void **state)
{
    struct world *w = *state;
    char id[SANDBOX_ID_SIZE];
    world_have_paused(w);
    memcpy(id, w->id, sizeof(id));
    w->config.max_sandboxes = 0;
    world_have_sandbox(w);
    w->made->memory_mb = 2000000000;
    memcpy(w->id, id, sizeof(id));
    world_connect(w);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_int_equal(sm_state(&sandbox_lookup(w->host, id, NULL)->sm), SANDBOX_PAUSED);
    w->made->memory_mb = 1;
    world_connect(w);
    assert_int_equal(w->err.code, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_memory_and_identity_are_what_they_were),
        WORLD_TEST(test_the_clock_is_moved_on_by_what_it_stood_still),
        WORLD_TEST(test_a_slow_answer_before_the_stop_makes_no_clock_wrong),
        WORLD_TEST(test_a_clock_that_was_wrong_before_is_set),
        WORLD_TEST(test_a_clock_that_was_moved_wrongly_is_set),
        WORLD_TEST(test_a_running_one_is_extended),
        WORLD_TEST(test_two_that_connect_share_one_resume),
        WORLD_TEST(test_a_failure_before_it_runs_leaves_it_paused),
        WORLD_TEST(test_a_full_disk_is_no_limit_of_the_client),
        WORLD_TEST(test_a_vmm_that_fails_before_it_runs_leaves_it_paused),
        WORLD_TEST(test_one_that_ran_and_failed_has_its_disk_alone),
        WORLD_TEST(test_a_boot_that_fails_leaves_the_disk),
        WORLD_TEST(test_a_boot_ends_with_its_vm),
        WORLD_TEST(test_a_boot_is_called_off_by_a_stop),
        WORLD_TEST(test_a_stop_of_the_daemon_waits_for_it),
        WORLD_TEST(test_a_kill_meanwhile_waits),
        WORLD_TEST(test_a_damaged_snapshot_is_refused_and_kept),
        WORLD_TEST(test_a_full_host_leaves_it_paused),
        WORLD_TEST(test_one_that_is_too_large_now_stays_paused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
