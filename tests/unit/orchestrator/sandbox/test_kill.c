/* Ends that cannot be written down. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <string.h>

#define ROWS "SELECT count(*) FROM sandboxes"

static void kill_in_vain(struct world *w)
{
    setenv("SANDPIT_FAULTS", "store.commit", 1);
    world_kill(w);
    assert_int_equal(w->killed, 0);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(w->err.msg, "disk of the data directory is full"));
    assert_null(sandbox_lookup(w->host, w->id, NULL));
    assert_null(fakes_vmm());
    assert_int_equal(world_number(w, ROWS), 1);
}

static void test_who_asked_is_told_and_it_is_tried_again(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_sandbox(w);
    kill_in_vain(w);
    unsetenv("SANDPIT_FAULTS");
    WORLD_UNTIL(w, world_number(w, ROWS) == 0);
    world_run(w);
    world_assert_empty(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'api'"), 1);
}

static void test_who_asks_again_has_the_answer_of_the_next_try(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_paused(w);
    kill_in_vain(w);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    world_kill(w);
    assert_int_equal(w->not_killed, 2);
    assert_int_equal(w->err.code, ERR_UNAVAILABLE);
    unsetenv("SANDPIT_FAULTS");
    world_kill(w);
    assert_int_equal(w->killed, 1);
    world_assert_empty(w);
    world_kill(w);
    assert_int_equal(w->err.code, ERR_NOT_FOUND);
}

/* Then the next one has the row, and who was told of no end asks it. */
static void test_a_stop_of_the_daemon_does_not_wait_for_it(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_paused(w);
    kill_in_vain(w);
    world_stop(w, false);
    assert_int_equal(w->stopped, 1);
    unsetenv("SANDPIT_FAULTS");
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    world_kill(w);
    assert_int_equal(w->killed, 1);
    world_assert_empty(w);
}

static void test_an_end_during_a_stop_is_tried_once(void **state)
{
    struct world *w = *state;
    NEED_FAULT_POINTS();
    world_have_sandbox(w);
    setenv("SANDPIT_FAULTS", "store.commit", 1);
    world_stop(w, true);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(world_number(w, ROWS), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_who_asked_is_told_and_it_is_tried_again),
        WORLD_TEST(test_who_asks_again_has_the_answer_of_the_next_try),
        WORLD_TEST(test_a_stop_of_the_daemon_does_not_wait_for_it),
        WORLD_TEST(test_an_end_during_a_stop_is_tried_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
