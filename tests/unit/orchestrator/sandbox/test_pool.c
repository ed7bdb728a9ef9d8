/* Spares that come some of the way before anybody asks. */
#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"
#include "orchestrator/sandbox/pool.h"

#include <limits.h>
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

static void have_pool(struct world *w, unsigned hot, unsigned waiting)
{
    w->config.pool_hot = hot;
    w->config.pool_waiting = waiting;
    pool_begin(w->host);
    UNTIL_VMMS(w, hot + waiting);
}

static void assert_hidden(struct world *w, struct vmm *v)
{
    const struct sandbox *spare = v->user;
    assert_null(sandbox_lookup(w->host, spare->id, NULL));
    struct sandbox_usage usage;
    sandbox_host_usage(w->host, &usage);
    assert_int_equal(usage.sandboxes, 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes"), 0);
}

static void test_a_hot_spare_only_has_to_go_on(void **state)
{
    struct world *w = *state;
    have_pool(w, 1, 0);
    struct vmm *spare = fakes_vmm();
    assert_hidden(w, spare);
    assert_false(spare->running);
    assert_true(spare->background);
    fakes.hold = "vmm_start";
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_OK);
    assert_ptr_equal(w->made->vmm, spare);
    assert_true(spare->running);
    assert_false(spare->background);
    assert_int_equal(fakes.configures, 2); /* and the one that it rehearsed */
    fakes.hold = NULL;
    UNTIL_VMMS(w, 2); /* the next one */
    world_kill(w);
    assert_int_equal(w->killed, 1);
}

/* A hot one needs nothing of the image any more, so its files are not asked for again. */
static void test_an_image_is_read_once(void **state)
{
    struct world *w = *state;
    have_pool(w, 1, 0);
    char from[PATH_MAX], to[PATH_MAX];
    snprintf(from, sizeof(from), "%s", tempdir_path(&w->dir, "templates/base/snapshot"));
    snprintf(to, sizeof(to), "%s", tempdir_path(&w->dir, "templates/base/elsewhere"));
    assert_int_equal(rename(from, to), 0);
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_OK);
    assert_int_equal(rename(to, from), 0);
    world_kill(w);
}

static void test_a_guest_whose_program_does_not_end_is_a_spare_too(void **state)
{
    struct world *w = *state;
    fakes.silent_command = true;
    w->host->spare_command_ms = 10;
    have_pool(w, 1, 0);
    WORLD_UNTIL(w, fakes.configures == 1 && !fakes_vmm()->running);
    assert_int_equal(fakes.commands_canceled, 1);
}

static void test_a_waiting_spare_is_filled(void **state)
{
    struct world *w = *state;
    have_pool(w, 0, 1);
    struct vmm *spare = fakes_vmm();
    assert_hidden(w, spare);
    fakes.hold = "vmm_start";
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_OK);
    assert_ptr_equal(w->made->vmm, spare);
    assert_true(spare->running);
    world_go(w);
}

static void test_a_hot_one_is_taken_first(void **state)
{
    struct world *w = *state;
    have_pool(w, 1, 1);
    fakes.hold = "vmm_load"; /* which a hot one has behind it */
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_OK);
    world_go(w);
}

static void test_a_spare_whose_vm_ends_is_replaced(void **state)
{
    struct world *w = *state;
    have_pool(w, 0, 1);
    fakes_end_vmm(fakes_vmm());
    world_run(w);
    assert_int_equal(vmms(), 0);
    assert_int_equal(tempdir_count(&w->dir, "run"), 0);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 0);
    world_create(w, "base");
    assert_int_equal(w->err.code, ERR_OK);
    UNTIL_VMMS(w, 2);
}

static void test_a_spare_that_cannot_be_made_leaves_nothing(void **state)
{
    static const char *const steps[] = { "vmm_start", "vmm_load", "vmm_resume", "Hello",
                                         "Configure", "Quiesce",  "vmm_pause" };
    struct world *w = *state;
    w->config.pool_hot = 1;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        size_t before = fakes.starts;
        fakes.fail = steps[i];
        pool_begin(w->host);
        WORLD_UNTIL(w, fakes.starts == before + 1);
        world_run(w);
        world_assert_empty(w);
        world_restart(w);
    }
    fakes.fail = NULL;
    pool_begin(w->host);
    UNTIL_VMMS(w, 1);
}

static void test_a_vm_that_ends_while_it_is_made(void **state)
{
    static const char *const steps[] = { "vmm_load",  "vmm_resume", "Hello",
                                         "Configure", "Quiesce",    "vmm_pause" };
    struct world *w = *state;
    w->config.pool_hot = 1;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        pool_begin(w->host);
        WORLD_UNTIL(w, fakes_waits(steps[i]));
        fakes_end_vmm(fakes_vmm());
        world_go(w);
        world_assert_empty(w);
        world_restart(w);
    }
}

static void test_a_stop_ends_all_spares(void **state)
{
    static const char *const steps[] = { FAKE_STORE,   "vmm_start", "vmm_load",
                                         "vmm_resume", "Hello",     "vmm_pause" };
    struct world *w = *state;
    w->config.pool_hot = 1;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        fakes.hold = steps[i];
        pool_begin(w->host);
        WORLD_UNTIL(w, fakes_waits(steps[i]));
        world_stop(w, false);
        world_go(w);
        assert_int_equal(w->stopped, 1);
        world_assert_empty(w);
        world_restart(w);
    }
    have_pool(w, 1, 1);
    world_stop(w, false);
    assert_int_equal(w->stopped, 1);
    world_assert_empty(w);
}

static void test_a_claimed_spare_whose_vm_ends_undoes_the_create(void **state)
{
    struct world *w = *state;
    have_pool(w, 1, 0);
    fakes.hold = "Configure";
    world_create(w, "base");
    fakes_end_vmm(fakes_vmm());
    world_go(w);
    assert_int_equal(w->created, 1);
    assert_null(w->made);
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_a_hot_spare_only_has_to_go_on),
        WORLD_TEST(test_an_image_is_read_once),
        WORLD_TEST(test_a_guest_whose_program_does_not_end_is_a_spare_too),
        WORLD_TEST(test_a_waiting_spare_is_filled),
        WORLD_TEST(test_a_hot_one_is_taken_first),
        WORLD_TEST(test_a_spare_whose_vm_ends_is_replaced),
        WORLD_TEST(test_a_spare_that_cannot_be_made_leaves_nothing),
        WORLD_TEST(test_a_vm_that_ends_while_it_is_made),
        WORLD_TEST(test_a_stop_ends_all_spares),
        WORLD_TEST(test_a_claimed_spare_whose_vm_ends_undoes_the_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
