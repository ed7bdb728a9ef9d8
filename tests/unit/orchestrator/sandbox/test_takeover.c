/* The VMM of a waiting spare for a sandbox that is there already. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"
#include "orchestrator/sandbox/spare.h"

#include <stdio.h>
#include <string.h>

static size_t vmms(void)
{
    size_t n = 0;
    list_for_each (node, &fakes.vmms)
        n++;
    return n;
}

/* VMs, and no work on more. */
#define UNTIL_VMMS(w, n) WORLD_UNTIL(w, vmms() == (n) && list_empty(&fakes.asks))

/* A paused sandbox, and one waiting spare. */
static struct vmm *have_both(struct world *w)
{
    world_have_sandbox(w);
    memcpy(fakes_vmm()->memory + 8192, "written", 7);
    world_pause(w);
    assert_int_equal(vmms(), 0);
    w->config.pool_waiting = 1;
    pool_begin(w->host);
    UNTIL_VMMS(w, 1);
    fakes.starts = 0;
    return fakes_vmm();
}

static const char *name_of(const struct vmm *v)
{
    return strrchr(v->run_dir, '/') + 1;
}

static struct sandbox *sandbox(struct world *w)
{
    struct sandbox *sb = sandbox_lookup(w->host, w->id, w->team);
    assert_non_null(sb);
    return sb;
}

/* It runs with this VMM, and everybody can find it. */
static void assert_runs_with(struct world *w, const struct vmm *v)
{
    char sql[256];
    struct sandbox *sb = sandbox(w);
    assert_int_equal(sm_state(&sb->sm), SANDBOX_RUNNING);
    assert_ptr_equal(sb->vmm, v);
    assert_ptr_equal(vmm_user(v), sb);
    assert_true(v->running);
    assert_false(v->background);
    assert_memory_equal(v->memory + 8192, "written", 7);
    assert_int_equal(v->memory[0], 'T');
    assert_string_equal(own_of(sb)->run_dir, v->run_dir);
    assert_true(own_of(sb)->slot >= 0 && w->host->slots[own_of(sb)->slot]);
    assert_non_null(strstr(v->top, own_of(sb)->layer_id));
    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM sandboxes WHERE id = '%s' AND state = 'running' AND "
             "run_dir LIKE '%%/run/%s'",
             w->id, name_of(v));
    assert_int_equal(world_number(w, sql), 1);
}

static size_t slots_in_use(const struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < SANDBOX_SLOTS; i++)
        n += w->host->slots[i];
    return n;
}

static void test_a_resume_has_the_vmm_of_a_spare(void **state)
{
    struct world *w = *state;
    struct vmm *spare = have_both(w);
    char spare_id[SANDBOX_ID_SIZE];
    snprintf(spare_id, sizeof(spare_id), "%s", ((struct sandbox *)spare->user)->id);
    world_connect(w);
    assert_int_equal(w->resumed, 1);
    assert_int_equal(fakes.replaced, 1);
    assert_runs_with(w, spare);
    assert_string_equal(name_of(spare), spare_id);
    assert_null(map_get(&w->host->by_id, str_of(spare_id)));
    UNTIL_VMMS(w, 2); /* another one for the next */
    assert_int_equal(fakes.starts, 1);
    assert_int_equal(slots_in_use(w), 2);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 2);
    assert_int_equal(tempdir_count(&w->dir, "run"), 2);
    world_kill(w);
    assert_int_equal(slots_in_use(w), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 1);
}

static void test_it_is_paused_and_resumed_again(void **state)
{
    struct world *w = *state;
    have_both(w);
    for (size_t i = 0; i < 3; i++) {
        world_connect(w);
        assert_int_equal(w->err.code, ERR_OK);
        assert_runs_with(w, sandbox(w)->vmm);
        UNTIL_VMMS(w, 2);
        world_pause(w);
        assert_int_equal(w->err.code, ERR_OK);
        assert_int_equal(tempdir_count(&w->dir, "run"), 1);
        assert_int_equal(tempdir_count(&w->dir, "layers"), 2);
    }
    assert_int_equal(fakes.replaced, 3);
    /* Without a spare it has a VMM of its own, by its own name. */
    w->config.pool_waiting = 0;
    fakes_end_vmm(fakes_vmm());
    world_run(w);
    world_connect(w);
    assert_runs_with(w, fakes_vmm());
    assert_string_equal(name_of(fakes_vmm()), w->id);
}

static void assert_left_alone(struct world *w, struct vmm *spare)
{
    const void *owner = spare->user;
    world_connect(w);
    assert_int_equal(w->err.code, ERR_OK);
    assert_ptr_equal(spare->user, owner);
    assert_int_equal(fakes.replaced, 0);
    assert_string_equal(name_of(sandbox(w)->vmm), w->id);
    world_pause(w);
}

static void test_one_that_does_not_fit_is_left_alone(void **state)
{
    struct world *w = *state;
    struct vmm *spare = have_both(w);
    struct sandbox *sb = spare->user;
    struct source *source = own_of(sb)->spare->source;
    char *const ids[] = { source->image_build_id, source->base_build_id };
    unsigned *const sizes[] = { &sb->vcpus, &sb->memory_mb };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        ids[i][0] ^= 1;
        assert_left_alone(w, spare);
        ids[i][0] ^= 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        ++*sizes[i];
        assert_left_alone(w, spare);
        --*sizes[i];
    }
    sb->disk_mb++;
    assert_left_alone(w, spare);
    sb->disk_mb--;
    world_connect(w);
    assert_runs_with(w, spare);
}

static void test_a_hot_one_is_left_alone(void **state)
{
    struct world *w = *state;
    world_have_paused(w);
    w->config.pool_hot = 1;
    pool_begin(w->host);
    UNTIL_VMMS(w, 1);
    struct vmm *spare = fakes_vmm();
    world_connect(w);
    assert_int_equal(w->err.code, ERR_OK);
    assert_ptr_not_equal(sandbox(w)->vmm, spare);
    assert_int_equal(fakes.replaced, 0);
}

/* The spare is gone, and the sandbox runs with a VMM that was started for it. */
static void assert_did_without(struct world *w)
{
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(vmms(), 1);
    assert_int_equal(fakes.starts, 1);
    assert_runs_with(w, fakes_vmm());
    assert_string_equal(name_of(fakes_vmm()), w->id);
    assert_int_equal(slots_in_use(w), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
}

static void test_a_takeover_that_fails_costs_the_spare_only(void **state)
{
    struct world *w = *state;
    have_both(w);
    fakes.fail = "vmm_replace_disk";
    world_connect(w);
    assert_did_without(w);
}

#ifdef SANDPIT_FAULT_POINTS
static void test_a_takeover_that_is_not_begun(void **state)
{
    struct world *w = *state;
    have_both(w);
    setenv("SANDPIT_FAULTS", "pool.take", 1);
    world_connect(w);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(fakes.replaced, 0);
    assert_did_without(w);
}
#endif

static void test_a_spare_that_ends_while_it_is_taken(void **state)
{
    struct world *w = *state;
    struct vmm *spare = have_both(w);
    fakes.hold = "vmm_replace_disk";
    world_connect(w);
    fakes_end_vmm(spare);
    world_go(w);
    assert_did_without(w);
}

/* Its VMM may still have the disk open: nobody else gets that before it is gone. */
static void test_the_next_vmm_waits_for_the_end_of_the_failed_one(void **state)
{
    struct world *w = *state;
    have_both(w);
    fakes.fail = "vmm_replace_disk";
    fakes.hold = "vmm_destroy";
    world_connect(w);
    assert_true(fakes_waits("vmm_destroy"));
    assert_int_equal(fakes.starts, 0);
    fakes.fail = NULL;
    world_go(w);
    assert_int_equal(fakes.starts, 1);
    assert_int_equal(w->resumed, 1);
}

static void test_a_later_failure_leaves_it_paused(void **state)
{
    struct world *w = *state;
    have_both(w);
    for (size_t i = 0; i < 4; i++) {
        UNTIL_VMMS(w, 1);
        struct vmm *spare = fakes_vmm();
        fakes.hold = "vmm_load";
        world_connect(w);
        assert_ptr_equal(spare->user, sandbox(w));
        if (i % 2)
            fakes.fail = "vmm_load";
        else
            fakes_end_vmm(spare);
        world_go(w);
        fakes.fail = NULL;
        assert_true(w->err.code != ERR_OK);
        assert_int_equal(sm_state(&sandbox(w)->sm), SANDBOX_PAUSED);
        assert_false(sandbox(w)->filesystem_only);
        assert_null(sandbox(w)->vmm);
    }
    UNTIL_VMMS(w, 1);
    assert_int_equal(slots_in_use(w), 1);
    assert_int_equal(tempdir_count(&w->dir, "run"), 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 2);
    struct vmm *spare = fakes_vmm();
    world_connect(w);
    assert_runs_with(w, spare);
}

static void test_a_stop_waits_for_a_takeover(void **state)
{
    struct world *w = *state;
    struct vmm *spare = have_both(w);
    fakes.hold = "vmm_replace_disk";
    world_connect(w);
    world_stop(w, false);
    assert_int_equal(w->stopped, 0);
    world_go(w);
    assert_int_equal(w->stopped, 1);
    assert_int_equal(w->resumed, 1);
    assert_int_equal(fakes.released, 1);
    assert_true(spare->running);
}

static void test_a_kill_waits_for_a_takeover(void **state)
{
    struct world *w = *state;
    have_both(w);
    fakes.hold = "vmm_replace_disk";
    world_connect(w);
    world_kill(w);
    assert_int_equal(w->killed, 0);
    world_go(w);
    assert_int_equal(w->killed, 1);
    UNTIL_VMMS(w, 1);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 1);
}

/* A daemon that comes later finds it by its row, and ends what no row names. */
static void test_it_is_adopted_by_its_row(void **state)
{
    struct world *w = *state;
    struct vmm *spare = have_both(w);
    world_connect(w);
    w->config.pool_waiting = 0;
    char stray[64];
    snprintf(stray, sizeof(stray), "run/%s", w->id); /* its own name is nobody's now */
    world_restart(w);
    tempdir_mkdir(&w->dir, stray);
    world_recover(w);
    assert_runs_with(w, spare);
    assert_false(tempdir_exists(&w->dir, stray));
    world_pause(w);
    assert_int_equal(w->err.code, ERR_OK);
    world_connect(w);
    assert_string_equal(name_of(fakes_vmm()), w->id);
    world_kill(w);
    world_assert_empty(w);
}

static void test_a_fork_has_one_too(void **state)
{
    struct world *w = *state;
    have_both(w);
    world_connect(w);
    UNTIL_VMMS(w, 2);
    size_t starts = fakes.starts;
    fakes.hold = "vmm_start"; /* which only the second child asks for */
    world_fork(w, 2);
    WORLD_UNTIL(w, fakes_waits("vmm_start"));
    assert_int_equal(fakes.replaced, 2);
    assert_int_equal(fakes.starts, starts + 1);
    world_go(w);
    assert_int_equal(w->children, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_resume_has_the_vmm_of_a_spare),
        WORLD_TEST(test_it_is_paused_and_resumed_again),
        WORLD_TEST(test_one_that_does_not_fit_is_left_alone),
        WORLD_TEST(test_a_hot_one_is_left_alone),
        WORLD_TEST(test_a_takeover_that_fails_costs_the_spare_only),
#ifdef SANDPIT_FAULT_POINTS
        WORLD_TEST(test_a_takeover_that_is_not_begun),
#endif
        WORLD_TEST(test_a_spare_that_ends_while_it_is_taken),
        WORLD_TEST(test_the_next_vmm_waits_for_the_end_of_the_failed_one),
        WORLD_TEST(test_a_later_failure_leaves_it_paused),
        WORLD_TEST(test_a_stop_waits_for_a_takeover),
        WORLD_TEST(test_a_kill_waits_for_a_takeover),
        WORLD_TEST(test_it_is_adopted_by_its_row),
        WORLD_TEST(test_a_fork_has_one_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
