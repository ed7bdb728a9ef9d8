/* Snapshots of a running sandbox, and forks of it. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include <stdio.h>
#include <string.h>

/* What saving asks for, in this order; the store is asked for the layer's name first. */
static const char *const asks[] = { "Quiesce",  FAKE_STORE,        "vmm_pause",
                                    "vmm_save", "vmm_switch_disk", "vmm_resume" };

static void test_a_snapshot_is_a_template_and_the_sandbox_goes_on(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    memset(fakes_vmm()->memory + 4096, 'x', 4096);
    world_snapshot(w, "saved");
    assert_int_equal(w->snapshotted, 1);
    assert_int_equal(w->err.code, ERR_OK);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(fakes.refreshes, 1); /* it stood still */
    assert_true(fakes.stood_still_ns > 0);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 2);
    world_kill(w);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    world_create(w, w->snapshot_id);
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(fakes_vmm()->memory[4096], 'x');
    assert_int_equal(fakes_vmm()->memory[0], 'T');
    assert_int_equal(fakes.configures, 2);
    world_kill(w);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
}

static void assert_keeps_too_much(struct world *w)
{
    assert_int_equal(w->err.code, ERR_EXHAUSTED);
    assert_non_null(strstr(w->err.msg, "has 2 paused sandboxes and snapshots, and may have 2"));
    w->err = (struct err){ 0 };
}

static void test_a_team_that_keeps_enough_makes_no_more(void **state)
{
    struct world *w = *state;
    w->config.max_paused_per_team = 2;
    world_have_sandbox(w);
    world_pause(w);
    world_have_sandbox(w);
    world_snapshot(w, "work");
    assert_int_equal(w->err.code, ERR_OK);

    world_snapshot(w, "work");
    assert_keeps_too_much(w);
    world_fork(w, 1);
    assert_keeps_too_much(w);
    assert_int_equal(w->children, 0);
    struct sandbox *made = w->made;
    world_create(w, "base");
    assert_keeps_too_much(w);
    assert_null(w->made);
    w->made = made;
    world_assert_state(w, SANDBOX_RUNNING, "running");

    /* What it has running is not lost for that. */
    world_pause(w);
    assert_int_equal(w->err.code, ERR_OK);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    w->config.max_paused_per_team = 0;
    world_fork(w, 1);
    assert_int_equal(w->children, 1);
}

static void test_a_sandbox_that_goes_before_its_snapshot_is_begun(void **state)
{
    struct world *w = *state;
    w->config.max_paused_per_team = 8;
    for (int fork = 0; fork < 2; fork++) {
        world_have_sandbox(w);
        fakes.hold = FAKE_STORE;
        if (fork)
            world_fork(w, 1);
        else
            world_snapshot(w, NULL);
        assert_true(fakes_waits(FAKE_STORE));
        world_kill(w);
        world_go(w);
        assert_int_equal(w->snapshotted + w->forked, fork + 1);
        assert_int_equal(w->children, 0);
        world_assert_empty(w);
    }
}

static void on_deleted(void *user, const struct err *err)
{
    struct world *w = user;
    w->err = err ? *err : (struct err){ 0 };
}

static void test_a_deleted_snapshot_takes_its_layers_along(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_snapshot(w, "saved");
    world_kill(w);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    sandbox_template_delete(w->host, w->team, w->snapshot_id, on_deleted, w);
    world_run(w);
    assert_int_equal(w->err.code, ERR_OK);
    world_assert_empty(w);
}

static void assert_as_before(struct world *w, size_t layers)
{
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(tempdir_count(&w->dir, "layers"), layers);
    assert_int_equal(world_number(w, "SELECT count(*) FROM builds WHERE kind = 'snapshot'"), 0);
    assert_int_equal(own_of(w->made)->transition, TRANSITION_NONE);
}

static void test_a_failing_step_leaves_it_running(void **state)
{
    static const char *const points[] = { "checkpoint.quiesce", "checkpoint.name_layer",
                                          "checkpoint.stop", "checkpoint.state", "checkpoint.copy",
                                          "memory.capture", "checkpoint.disk",
                                          /* The disk is switched from here on. */
                                          "checkpoint.cont", "checkpoint.write", "snapshot.memory",
                                          "checkpoint.publish" };
    struct world *w = *state;
    size_t layers = 1;
    NEED_FAULT_POINTS();
    world_have_sandbox(w);
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        layers += i >= 7;
        setenv("SANDPIT_FAULTS", points[i], 1);
        world_snapshot(w, NULL);
        unsetenv("SANDPIT_FAULTS");
        assert_int_equal(w->snapshotted, (int)i + 1);
        assert_true(w->err.code != ERR_OK);
        assert_as_before(w, layers);
    }
    world_snapshot(w, NULL);
    assert_int_equal(w->err.code, ERR_OK);
    world_pause(w);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_vmm_that_refuses_leaves_it_running(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    for (size_t i = 2; i < 5; i++) {
        fakes.fail = asks[i];
        world_snapshot(w, NULL);
        fakes.fail = NULL;
        assert_non_null(strstr(w->err.msg, asks[i]));
        assert_as_before(w, 1);
    }
}

static void test_a_vm_that_ends_meanwhile_ends_the_sandbox(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_snapshot(w, NULL);
        assert_true(fakes_waits(asks[i]));
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        assert_int_equal(w->snapshotted, (int)i + 1);
        assert_true(w->err.code != ERR_OK);
        world_assert_empty(w);
    }
}

/* Up to where the snapshot is being written down. */
static void snapshot_up_to_publish(struct world *w)
{
    fakes.hold = "vmm_resume";
    world_snapshot(w, NULL);
    world_hold(w, FAKE_STORE);
}

static void test_a_vm_that_ends_while_it_is_published_leaves_the_snapshot(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    snapshot_up_to_publish(w);
    fakes_end_vmm(fakes_vmm());
    world_go(w);
    assert_int_equal(w->snapshotted, 1);
    assert_int_equal(w->err.code, ERR_OK);
    assert_null(sandbox_lookup(w->host, w->id, NULL));
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    world_create(w, w->snapshot_id);
    assert_int_equal(w->err.code, ERR_OK);
}

static void test_a_stop_of_the_daemon_waits_for_it(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        world_have_sandbox(w);
        fakes.hold = asks[i];
        world_snapshot(w, NULL);
        world_stop(w, false);
        assert_int_equal(w->stopped, 0);
        world_go(w);
        assert_int_equal(w->stopped, 1);
        assert_int_equal(w->snapshotted, (int)i + 1);
        world_restart(w);
        world_recover(w);
        world_assert_state(w, SANDBOX_RUNNING, "running");
        world_kill(w);
    }
}

static void test_a_kill_and_a_pause_meanwhile(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.hold = "vmm_save";
    world_snapshot(w, NULL);
    world_pause(w);
    assert_int_equal(w->paused, 1);
    assert_int_equal(w->err.code, ERR_ABORTED);
    world_connect(w);
    assert_int_equal(w->connected, 1);
    world_kill(w);
    assert_int_equal(w->killed, 0);
    world_go(w);
    assert_int_equal(w->snapshotted, 1);
    assert_int_equal(w->killed, 1);
}

static void test_a_fork_makes_children_that_stand_on_the_parents_disk(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    memset(fakes_vmm()->memory + 4096, 'x', 4096);
    world_fork(w, 2);
    assert_int_equal(w->forked, 1);
    assert_int_equal(w->children, 2);
    assert_int_equal(sandbox_host_count(w->host, w->team), 3);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 4);
    list_for_each (node, &fakes.vmms)
        assert_int_equal(container_of(node, struct vmm, node)->memory[4096], 'x');
    assert_int_equal(fakes.configures, 3);
    world_stop(w, true);
    world_assert_empty(w);
}

static void test_a_fork_of_which_one_child_fails(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    w->config.max_sandboxes = 2;
    world_fork(w, 2);
    assert_int_equal(w->forked, 1);
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(w->children, 1);
    assert_int_equal(sandbox_host_count(w->host, w->team), 2);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    world_stop(w, true);
    world_assert_empty(w);
}

static void test_a_fork_that_cannot_be_saved_has_no_children(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    fakes.fail = "vmm_save";
    world_fork(w, 2);
    assert_int_equal(w->forked, 1);
    assert_int_equal(w->children, 0);
    assert_non_null(strstr(w->err.msg, "vmm_save"));
    assert_as_before(w, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_snapshot_is_a_template_and_the_sandbox_goes_on),
        WORLD_TEST(test_a_failing_step_leaves_it_running),
        WORLD_TEST(test_a_fork_of_which_one_child_fails),
        WORLD_TEST(test_a_team_that_keeps_enough_makes_no_more),
        WORLD_TEST(test_a_sandbox_that_goes_before_its_snapshot_is_begun),
        WORLD_TEST(test_a_deleted_snapshot_takes_its_layers_along),
        WORLD_TEST(test_a_vmm_that_refuses_leaves_it_running),
        WORLD_TEST(test_a_vm_that_ends_meanwhile_ends_the_sandbox),
        WORLD_TEST(test_a_vm_that_ends_while_it_is_published_leaves_the_snapshot),
        WORLD_TEST(test_a_stop_of_the_daemon_waits_for_it),
        WORLD_TEST(test_a_kill_and_a_pause_meanwhile),
        WORLD_TEST(test_a_fork_makes_children_that_stand_on_the_parents_disk),
        WORLD_TEST(test_a_fork_that_cannot_be_saved_has_no_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
