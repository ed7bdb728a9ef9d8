/* Creating and killing. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "orchestrator/store/statement.h"

#include <stdio.h>
#include <string.h>

/* What a create waits for, in this order. */
static const char *const steps[] = { FAKE_STORE, "vmm_start", "vmm_load", "vmm_resume",
                                     "Configure" };

static void test_a_create_restores_and_a_kill_leaves_nothing(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(fakes.starts, 1);
    assert_int_equal(fakes.boots, 0);
    assert_int_equal(fakes_vmm()->memory[0], 'T');
    assert_ptr_equal(sandbox_find(w->host, w->id, w->team), w->made);
    assert_null(sandbox_find(w->host, w->id, "other"));
    world_kill(w);
    assert_int_equal(w->killed, 1);
    world_assert_empty(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'api'"), 1);
}

/* The first call was slow, and so the time in it was old when the guest read it. */
static void test_a_late_clock_is_set_again(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    assert_int_equal(fakes.refreshes, 0);
    world_kill(w);
    fakes.late = 2;
    world_have_sandbox(w);
    assert_int_equal(fakes.refreshes, 2);
    world_kill(w);
    /* A host that is this slow does not try for ever. */
    fakes.late = 100;
    world_have_sandbox(w);
    assert_int_equal(fakes.refreshes, 5);
    world_kill(w);
}

static void test_a_late_clock_that_cannot_be_set_undoes_it(void **state)
{
    struct world *w = *state;
    fakes.late = 1;
    fakes.fail = "Refresh";
    world_create(w, "base");
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_INTERNAL);
    world_assert_empty(w);
}

static void test_a_late_clock_that_meets_a_fault_undoes_it(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "create.clock", 1);
    world_have_sandbox(w); /* its clock is right, so the step is left out */
    world_kill(w);
    w->made = NULL;
    fakes.late = 1;
    world_create(w, "base");
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_INTERNAL);
    assert_non_null(strstr(w->err.msg, "create.clock"));
    assert_int_equal(fakes.refreshes, 0);
    world_assert_empty(w);
}

static void test_a_failing_step_is_undone(void **state)
{
    struct world *w = *state;
    for (size_t i = 1; i < ARRAY_LEN(steps); i++) {
        fakes.fail = steps[i];
        world_create(w, "base");
        assert_null(w->made);
        assert_int_equal(w->err.code, ERR_INTERNAL);
        assert_non_null(strstr(w->err.msg, steps[i]));
        world_assert_empty(w);
    }
    fakes.fail = NULL;
    world_have_sandbox(w);
    assert_int_equal(w->created, ARRAY_LEN(steps));
}

static void test_a_create_that_cannot_be_written_down_leaves_nothing(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "store.commit", 1);
    world_create(w, "base");
    unsetenv("SANDPIT_FAULTS");
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    world_assert_empty(w);
}

static void test_a_vm_that_ends_meanwhile_undoes_it(void **state)
{
    struct world *w = *state;
    for (size_t i = 2; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        world_create(w, "base");
        assert_true(fakes_waits(steps[i]));
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        assert_int_equal(w->created, (int)i - 1);
        assert_null(w->made);
        world_assert_empty(w);
    }
}

static void test_a_stop_meanwhile_undoes_it(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        world_create(w, "base");
        assert_true(fakes_waits(steps[i]));
        world_stop(w, false);
        world_go(w);
        assert_null(w->made);
        assert_int_equal(w->err.code, ERR_UNAVAILABLE);
        assert_int_equal(w->stopped, 1);
        world_assert_empty(w);
        world_restart(w);
    }
}

/* Up to where it is being written down as running. */
static void create_up_to_record(struct world *w)
{
    fakes.hold = "Configure";
    world_create(w, "base");
    world_hold(w, FAKE_STORE);
}

static void finish_job(void)
{
    fakes.hold = NULL;
    assert_true(fakes_step());
}

static void test_a_vm_that_ends_just_before_the_create_is_done_is_undone(void **state)
{
    struct world *w = *state;
    create_up_to_record(w);
    finish_job();
    fakes_end_vmm(fakes_vmm()); /* in the same turn of the loop */
    world_run(w);
    assert_int_equal(w->created, 1);
    assert_null(w->made);
    assert_non_null(strstr(w->err.msg, "the guest powered off"));
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'create_failed'"),
                     1);
    world_assert_empty(w);
}

static void test_a_stop_just_before_the_create_is_done_undoes_it(void **state)
{
    struct world *w = *state;
    create_up_to_record(w);
    finish_job();
    world_stop(w, false);
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_int_equal(w->stopped, 1);
    world_assert_empty(w);
}

static void test_a_kill_joins_one_that_is_under_way(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.hold = "vmm_destroy";
    world_kill(w);
    world_kill(w);
    assert_int_equal(w->killed, 0);
    assert_null(sandbox_lookup(w->host, w->id, NULL));
    world_connect(w);
    assert_int_equal(w->err.code, ERR_ABORTED);
    world_go(w);
    assert_int_equal(w->killed, 2);
    world_kill(w);
    assert_int_equal(w->not_killed, 1);
}

static void test_a_kill_of_one_that_ends_by_itself_finds_nothing(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes_end_vmm(fakes_vmm());
    world_kill(w);
    assert_int_equal(w->not_killed, 1);
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'shutdown'"), 1);
    world_assert_empty(w);
}

static void test_a_reference_of_the_greatest_length_is_passed_on_whole(void **state)
{
    struct world *w = *state;
    char ref[TEMPLATE_REF_MAX + 1];
    memset(ref, 'a', TEMPLATE_REF_MAX);
    ref[TEMPLATE_REF_MAX] = '\0';
    world_create(w, ref);
    assert_true(w->err.code == ERR_NOT_FOUND || w->err.code == ERR_INVALID);
    world_assert_empty(w);
}

static void test_a_host_at_its_limit_refuses(void **state)
{
    struct world *w = *state;
    w->config.max_sandboxes = 1;
    world_have_sandbox(w);
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_EXHAUSTED);
    assert_int_equal(sandbox_host_count(w->host, NULL), 1);
}

/* More than any host has. */
#define HUGE_MB 2000000000

static void test_memory_is_not_promised_twice(void **state)
{
    struct world *w = *state;
    struct err err;
    w->config.max_sandboxes = 0;
    world_have_sandbox(w);
    assert_int_equal(db_script(fakes.db, "UPDATE builds SET memory_mb = 2000000000", &err), 0);
    w->made = NULL;
    world_create(w, "base");
    assert_null(w->made);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(w->err.msg, "memory for another sandbox of this size"));
    assert_int_equal(fakes.starts, 1);
    /* Who sets a number has thought of it. */
    w->config.max_sandboxes = 8;
    fakes.fail = "vmm_start";
    sandbox_find(w->host, w->id, NULL)->memory_mb = HUGE_MB;
    assert_int_equal(db_script(fakes.db, "UPDATE builds SET memory_mb = 1", &err), 0);
    world_create(w, "base");
    assert_non_null(strstr(w->err.msg, "vmm_start"));
}

static void test_of_many_at_once_a_few_go_on(void **state)
{
    struct world *w = *state;
    w->host->turns.max = 1;
    fakes.hold = "vmm_start";
    for (size_t i = 0; i < 3; i++)
        world_create(w, "base");
    assert_int_equal(fakes.starts, 1);
    fakes.hold = NULL;
    world_go(w);
    assert_int_equal(w->created, 3);
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(fakes.starts, 3);
    assert_int_equal(w->host->turns.taken, 0);

    /* One that fails gives its turn on too. */
    fakes.fail = "vmm_start";
    for (size_t i = 0; i < 2; i++)
        world_create(w, "base");
    assert_int_equal(w->created, 5);
    assert_int_equal(w->host->turns.taken, 0);
}

static void test_a_stop_ends_those_that_wait(void **state)
{
    struct world *w = *state;
    w->host->turns.max = 1;
    fakes.hold = "vmm_start";
    for (size_t i = 0; i < 3; i++)
        world_create(w, "base");
    world_stop(w, false);
    fakes.hold = NULL;
    world_go(w);
    assert_int_equal(w->created, 3);
    assert_null(w->made);
    assert_int_equal(fakes.starts, 1);
    assert_int_equal(w->stopped, 1);
}

static void test_a_draining_host_refuses(void **state)
{
    struct world *w = *state;
    sandbox_host_drain(w->host, true);
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    world_assert_empty(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_create_restores_and_a_kill_leaves_nothing),
        WORLD_TEST(test_a_late_clock_is_set_again),
        WORLD_TEST(test_a_late_clock_that_cannot_be_set_undoes_it),
        WORLD_TEST(test_a_failing_step_is_undone),
        WORLD_TEST(test_a_late_clock_that_meets_a_fault_undoes_it),
        WORLD_TEST(test_a_create_that_cannot_be_written_down_leaves_nothing),
        WORLD_TEST(test_a_vm_that_ends_meanwhile_undoes_it),
        WORLD_TEST(test_a_stop_meanwhile_undoes_it),
        WORLD_TEST(test_a_vm_that_ends_just_before_the_create_is_done_is_undone),
        WORLD_TEST(test_a_stop_just_before_the_create_is_done_undoes_it),
        WORLD_TEST(test_a_kill_joins_one_that_is_under_way),
        WORLD_TEST(test_a_kill_of_one_that_ends_by_itself_finds_nothing),
        WORLD_TEST(test_a_reference_of_the_greatest_length_is_passed_on_whole),
        WORLD_TEST(test_a_host_at_its_limit_refuses),
        WORLD_TEST(test_memory_is_not_promised_twice),
        WORLD_TEST(test_of_many_at_once_a_few_go_on),
        WORLD_TEST(test_a_stop_ends_those_that_wait),
        WORLD_TEST(test_a_draining_host_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
