/* What a daemon makes of what an earlier one left. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "orchestrator/store/statement.h"

#include <stdio.h>
#include <string.h>

static void change(const char *sql)
{
    struct err err;
    if (db_script(fakes.db, sql, &err) < 0)
        fail_msg("%s: %s", sql, err.msg);
}

static void test_a_running_one_is_adopted(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_restart(w);
    assert_int_equal(fakes.released, 1);
    world_recover(w);
    assert_int_equal(w->recovered, 1);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    world_snapshot(w, NULL);
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 2);
}

/* Or else each start of a daemon would give it another. */
static void test_its_longest_life_goes_on(void **state)
{
    struct world *w = *state;
    struct err err;
    world_have_sandbox(w);
    int64_t began = own_of(w->made)->run_began_ns;
    assert_true(began > 0);
    assert_int_equal(world_number(w, "SELECT run_began_ns FROM sandboxes"), began);
    change("UPDATE sandboxes SET run_began_ns = run_began_ns - 3000000000000");
    world_restart(w);
    world_recover(w);
    struct sandbox *sb = sandbox_find(w->host, w->id, NULL);
    assert_int_equal(own_of(sb)->run_began_ns, began - INT64_C(3000000000000));
    assert_true(sandbox_set_timeout(sb, 3000, false, &err) < 0);
    assert_int_equal(sandbox_set_timeout(sb, 300, false, &err), 0);
    world_pause(w);
    world_connect(w);
    assert_int_equal(w->err.code, ERR_OK);
    assert_true(own_of(sb)->run_began_ns >= began);
    assert_true(world_number(w, "SELECT run_began_ns FROM sandboxes") >= began);
}

static void test_a_stop_waits_for_the_rows_of_a_recovery(void **state)
{
    static const char *const steps[] = { FAKE_STORE, "vmm_adopt", "vmm_resume" };
    struct world *w = *state;
    world_have_sandbox(w);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        world_restart(w);
        fakes.hold = steps[i];
        world_recover(w);
        world_stop(w, false);
        assert_int_equal(w->stopped, 0);
        world_go(w);
        assert_int_equal(w->recovered, (int)i + 1);
        assert_int_equal(w->stopped, 1);
    }
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes"), 1);
}

static void test_one_whose_vm_is_gone_is_ended(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_restart(w);
    fakes_end_orphans();
    world_recover(w);
    assert_int_equal(w->recovered, 1);
    assert_null(sandbox_lookup(w->host, w->id, NULL));
    assert_int_equal(world_number(w, "SELECT count(*) FROM deaths WHERE reason = 'lost'"), 1);
    world_assert_empty(w);
}

static void test_a_paused_one_stays_paused(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    memcpy(fakes_vmm()->memory + 4096, "kept", 4);
    world_pause(w);
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_memory_equal(fakes_vmm()->memory + 4096, "kept", 4);
    world_kill(w);
    world_assert_empty(w);
}

static void test_after_a_start_of_the_host_a_running_one_has_its_disk(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_restart(w);
    world_recover(w);
    world_restart(w);
    change("UPDATE settings SET value = 'another boot' WHERE key = 'host_boot_id'");
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(fakes.boots, 1);
}

/* The daemon died between the record of the new layer's name and the switch of the disk. */
static void test_a_layer_that_was_only_named_is_forgotten(void **state)
{
    struct world *w = *state;
    char before[ID_UUID_SIZE], sql[512];
    world_have_sandbox(w);
    memcpy(before, own_of(w->made)->layer_id, sizeof(before));
    world_restart(w);
    snprintf(sql, sizeof(sql),
             "INSERT INTO layers (id, parent_id, created_ns) VALUES "
             "('00000000-0000-4000-8000-000000000001', '%s', 1);"
             "UPDATE sandboxes SET layer_id = '00000000-0000-4000-8000-000000000001'",
             before);
    change(sql);
    world_recover(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_string_equal(own_of(sandbox_find(w->host, w->id, NULL))->layer_id, before);
    world_snapshot(w, NULL);
    assert_int_equal(w->err.code, ERR_OK);
}

static void test_one_that_was_made_from_a_snapshot_keeps_its_layer(void **state)
{
    struct world *w = *state;
    char layer[ID_UUID_SIZE];
    world_have_sandbox(w);
    world_snapshot(w, NULL);
    world_kill(w);
    world_create(w, w->snapshot_id);
    memcpy(layer, own_of(w->made)->layer_id, sizeof(layer));
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_string_equal(own_of(sandbox_find(w->host, w->id, NULL))->layer_id, layer);
}

static void put_back_as_running(struct world *w, const char *snapshot_id)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "UPDATE sandboxes SET state = 'running', snapshot_id = '%s' WHERE id = '%s'",
             snapshot_id, w->id);
    change(sql);
}

/* The row could not be written: the disk was full, and then the daemon ended. */
static void test_one_that_was_not_resumed_is_paused_as_before(void **state)
{
    struct world *w = *state;
    char snapshot_id[ID_UUID_SIZE];
    world_have_sandbox(w);
    memcpy(fakes_vmm()->memory + 4096, "kept", 4);
    world_pause(w);
    memcpy(snapshot_id, own_of(w->made)->snapshot_id, sizeof(snapshot_id));
    fakes.fail = "vmm_load";
    world_connect(w);
    fakes.fail = NULL;
    put_back_as_running(w, snapshot_id);
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_false(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_memory_equal(fakes_vmm()->memory + 4096, "kept", 4);
    world_kill(w);
    world_assert_empty(w);
}

/* Its snapshot would not fit its disk any more. */
static void test_one_that_ran_and_was_not_resumed_has_its_disk(void **state)
{
    struct world *w = *state;
    char snapshot_id[ID_UUID_SIZE];
    world_have_paused(w);
    memcpy(snapshot_id, own_of(w->made)->snapshot_id, sizeof(snapshot_id));
    fakes.hold = "vmm_resume";
    world_connect(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes WHERE state = 'running'"
                                     " AND snapshot_id <> ''"),
                     1);
    fakes_end_vmm(fakes_vmm());
    world_go(w);
    put_back_as_running(w, snapshot_id);
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(fakes.boots, 1);
    world_kill(w);
    world_assert_empty(w);
}

static void test_one_that_was_resumed_and_then_ended_is_ended(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    world_connect(w);
    world_restart(w);
    fakes_end_orphans();
    world_recover(w);
    assert_null(sandbox_lookup(w->host, w->id, NULL));
    world_assert_empty(w);
}

/* The daemon ended between the record and the guest's first instruction. */
static void test_a_resume_is_gone_on_with_and_its_snapshot_is_none_any_more(void **state)
{
    struct world *w = *state;
    static const char folder[] = "snapshots/11111111-0000-4000-8000-000000000000";
    world_have_sandbox(w);
    world_restart(w);
    put_back_as_running(w, strchr(folder, '/') + 1);
    tempdir_write(&w->dir, "snapshots/11111111-0000-4000-8000-000000000000/memory", "x");
    fakes.hold = "vmm_resume";
    world_recover(w);
    assert_false(tempdir_exists(&w->dir, folder));
    world_go(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes WHERE snapshot_id <> ''"), 0);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
}

static void on_not_recovered(void *user, const struct err *err)
{
    struct err *told = user;
    *told = *err;
}

/* Or else the next daemon would look for VMs of rows that this one did not get to. */
static void test_a_start_of_the_host_is_remembered_when_all_rows_know_of_it(void **state)
{
    struct world *w = *state;
    struct err told = { 0 };
    NEED_FAULT_POINTS();
    world_have_sandbox(w);
    world_restart(w);
    fakes_end_orphans();
    world_recover(w);
    world_have_sandbox(w);
    world_restart(w);
    fakes_end_orphans();
    change("UPDATE settings SET value = 'another boot' WHERE key = 'host_boot_id'");
    setenv("SANDPIT_FAULTS", "store.sandbox_put", 1);
    sandbox_host_recover(w->host, on_not_recovered, &told);
    world_run(w);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(told.code, ERR_UNAVAILABLE);
    world_restart(w);
    world_recover(w);
    world_assert_state(w, SANDBOX_PAUSED, "paused");
    assert_true(sandbox_lookup(w->host, w->id, NULL)->filesystem_only);
    world_restart(w);
    world_recover(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM settings WHERE value = 'another boot'"),
                     0);
}

static void test_strays_are_removed(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    world_restart(w);
    tempdir_write(&w->dir, "snapshots/11111111-0000-4000-8000-000000000000/memory", "x");
    tempdir_write(&w->dir, "snapshots/22222222-0000-4000-8000-000000000000.new/memory", "x");
    tempdir_write(&w->dir, "layers/33333333-0000-4000-8000-000000000000.qcow2", "x");
    tempdir_write(&w->dir, "run/istray/pid", "1");
    change("INSERT INTO layers (id, parent_id, created_ns) VALUES "
           "('44444444-0000-4000-8000-000000000000', NULL, 1)");
    world_recover(w);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM layers"), 1);
    world_connect(w);
    world_assert_state(w, SANDBOX_RUNNING, "running");
}

static void test_a_snapshot_that_clients_were_told_of_is_no_stray(void **state)
{
    struct world *w = *state;
    world_have_sandbox(w);
    world_snapshot(w, NULL);
    world_kill(w);
    world_restart(w);
    world_recover(w);
    world_create(w, w->snapshot_id);
    assert_int_equal(w->err.code, ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_running_one_is_adopted),
        WORLD_TEST(test_its_longest_life_goes_on),
        WORLD_TEST(test_a_stop_waits_for_the_rows_of_a_recovery),
        WORLD_TEST(test_one_whose_vm_is_gone_is_ended),
        WORLD_TEST(test_a_paused_one_stays_paused),
        WORLD_TEST(test_after_a_start_of_the_host_a_running_one_has_its_disk),
        WORLD_TEST(test_a_layer_that_was_only_named_is_forgotten),
        WORLD_TEST(test_one_that_was_made_from_a_snapshot_keeps_its_layer),
        WORLD_TEST(test_one_that_was_not_resumed_is_paused_as_before),
        WORLD_TEST(test_one_that_ran_and_was_not_resumed_has_its_disk),
        WORLD_TEST(test_one_that_was_resumed_and_then_ended_is_ended),
        WORLD_TEST(test_a_resume_is_gone_on_with_and_its_snapshot_is_none_any_more),
        WORLD_TEST(test_a_start_of_the_host_is_remembered_when_all_rows_know_of_it),
        WORLD_TEST(test_strays_are_removed),
        WORLD_TEST(test_a_snapshot_that_clients_were_told_of_is_no_stray),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
