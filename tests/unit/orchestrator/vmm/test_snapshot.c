/* Real VMs that are saved, and others that start from what was saved. */
#include "snapshot_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/snapshot/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MOMENT_TRIES 100

static void test_clone_runs_on(void **state)
{
    static struct vm_run r;
    (void)state;
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    load_vm(&r, s->state);
    go_on(&r);
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    assert_string_equal(vm_ask(&r, "head"), "WRITTEN BY GUEST");
    check_disk(r.top);
    vm_destroy(&r);
}

/* What a snapshot's file leaves out must be the base's. */
static void test_a_waiting_vmm_has_written_no_memory(void **state)
{
    static struct vm_run r;
    struct vmm_memory m;
    struct err err;
    uint64_t bytes = 0;
    const int zeros = -1;
    (void)state;
    struct saved *s = template();
    const int memories[] = { s->memory, zeros };
    for (size_t i = 0; i < ARRAY_LEN(memories); i++) {
        start_vm(&r, "waits", &s->disk, memories[i]);
        assert_int_equal(vmm_memory(r.v, &m, &err), 0);
        assert_int_equal(memory_dirty_bytes(&m, &bytes, &err), 0);
        assert_int_equal(bytes, 0);
        vm_destroy(&r);
    }
    clone_up(&r, "runs");
    assert_int_equal(vmm_memory(r.v, &m, &err), 0);
    assert_int_equal(memory_dirty_bytes(&m, &bytes, &err), 0);
    assert_true(bytes > 0);
    vm_destroy(&r);
}

static void test_order_is_kept(void **state)
{
    static struct vm_run r;
    struct told save = { 0 }, load = { 0 }, resume = { 0 }, again = { 0 };
    (void)state;
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    vmm_save(r.v, on_saved, &save);
    vmm_resume(r.v, on_told, &resume);
    expect_error(&save, ERR_PRECONDITION, "not stopped");
    expect_error(&resume, ERR_PRECONDITION, "waits for a snapshot");
    load_vm(&r, s->state);
    vmm_load(r.v, s->state, on_told, &load);
    expect_error(&load, ERR_PRECONDITION, "does not wait");
    go_on(&r);
    vmm_save(r.v, on_saved, &again);
    expect_error(&again, ERR_PRECONDITION, "not stopped");
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    vm_destroy(&r);
}

static void test_when_it_stood_still_is_known(void **state)
{
    static struct vm_run r;
    int64_t stopped = 0;
    (void)state;
    clone_up(&r, "moments");
    int64_t began = vmm_went_on_ns(r.v);
    assert_true(began > 0 && began < clock_wall_ns());
    for (int i = 0; i < MOMENT_TRIES && !stopped; i++) { /* a busy host may be too slow to tell */
        int64_t from = clock_wall_ns() / 1000 * 1000;
        pause_vm(&r);
        stopped = vmm_stopped_ns(r.v);
        assert_true(!stopped || (stopped >= from && stopped < clock_wall_ns()));
        resume_vm(&r);
        assert_true(vmm_went_on_ns(r.v) >= stopped && vmm_went_on_ns(r.v) <= clock_wall_ns());
    }
    assert_true(stopped > began);
    vm_destroy(&r);
}

static void test_clones_do_not_see_each_other(void **state)
{
    static struct vm_run a, b;
    (void)state;
    clone_up(&a, "a");
    assert_string_equal(vm_ask(&a, "set of a"), "set");
    assert_string_equal(vm_ask(&a, "put written by a    "), "written by a    ");
    clone_up(&b, "b");
    assert_string_equal(vm_ask(&b, "get"), "of the template");
    assert_string_equal(vm_ask(&b, "head"), "WRITTEN BY GUEST");
    assert_string_equal(vm_ask(&b, "set of b"), "set");
    assert_string_equal(vm_ask(&b, "put written by b    "), "written by b    ");
    assert_string_equal(vm_ask(&a, "get"), "of a");
    assert_string_equal(vm_ask(&a, "head"), "written by a    ");
    vm_destroy(&a);
    assert_string_equal(vm_ask(&b, "get"), "of b");
    vm_destroy(&b);
}

static void status_field(pid_t pid, const char *key, char out[static 64])
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    AUTO_FCLOSE FILE *f = fopen(path, "r");
    assert_non_null(f);
    out[0] = 0;
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), " %63[^\n]", out);
}

/* The uid of a started VMM, its capabilities and system calls, and who owns its disk. */
static void test_waiting_vmm_is_jailed(void **state)
{
    static struct vm_run r;
    static const struct {
        const char *key, *value;
    } fields[] = { { "CapPrm:", "0000000000000000" },
                   { "CapEff:", "0000000000000000" },
                   { "CapBnd:", "0000000000000000" },
                   { "Uid:", "201000\t201000\t201000\t201000" },
                   { "Gid:", "201000\t201000\t201000\t201000" },
                   { "NoNewPrivs:", "1" },
                   { "Seccomp:", "2" } };
    char value[64];
    struct stat st;
    (void)state;
    if (geteuid() != 0)
        skip();
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        status_field(vmm_record(r.v)->pid, fields[i].key, value);
        assert_string_equal(value, fields[i].value);
    }
    assert_int_equal(stat(r.top, &st), 0);
    assert_int_equal(st.st_uid, TEST_UID);
    assert_int_equal(st.st_mode & 07777, 0600);
    /* A frozen layer of any other owner, whom the VMM is not, serves as well. */
    assert_int_equal(chown(s->layer, 0, 0), 0);
    load_vm(&r, s->state);
    go_on(&r);
    assert_string_equal(vm_ask(&r, "head"), "WRITTEN BY GUEST");
    vm_destroy(&r);
}

static void test_switch_of_a_running_vm_keeps_data(void **state)
{
    static struct vm_run r;
    struct stat before, after;
    (void)state;
    clone_up(&r, "clone");
    assert_string_equal(vm_ask(&r, "put in the first    "), "in the first    ");
    vm_send(&r, "fill");
    switch_disk(&r, "second.qcow2");
    vm_read(&r);
    assert_string_equal(r.line, "filled");
    const struct vmm_disk *d = vmm_disk(r.v);
    assert_int_equal(d->nlayers, 2);
    assert_string_equal(vm_ask(&r, "sum"), vm_ask(&r, "sum"));
    assert_string_equal(vm_ask(&r, "put in the second   "), "in the second   ");
    check_disk(d->layers[1]);
    assert_int_equal(stat(d->layers[1], &before), 0);
    switch_disk(&r, "third.qcow2");
    assert_int_equal(d->nlayers, 3);
    vm_send(&r, "fill");
    vm_read(&r);
    assert_int_equal(stat(d->layers[1], &after), 0);
    assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
                before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    check_disk(d->layers[1]);
    check_disk(d->layers[2]);
    check_disk(d->top);
    assert_string_equal(d->layers[0], template()->layer);
    remove_layers(d, 1);
    vm_destroy(&r);
}

/* A child made from a stopped VM that then goes on: each has what there was, and nothing of what
 * the other does from then on. */
static void test_fork(void **state)
{
    static struct vm_run parent, child;
    (void)state;
    clone_up(&parent, "parent");
    assert_string_equal(vm_ask(&parent, "set of both"), "set");
    assert_string_equal(vm_ask(&parent, "put of both         "), "of both         ");
    pause_vm(&parent);
    switch_disk(&parent, "parent2.qcow2");
    int state_fd = save_vm(&parent);
    start_vm(&child, "child", vmm_disk(parent.v), template()->memory);
    size_t pages = guest_memory_carry(parent.v, child.v);
    print_message("%zu pages carried\n", pages);
    assert_true(pages > 10 && pages < 16384);
    resume_vm(&parent);
    assert_string_equal(vm_ask(&parent, "set of the parent"), "set");
    assert_string_equal(vm_ask(&parent, "put of the parent   "), "of the parent   ");
    load_vm(&child, state_fd);
    close(state_fd);
    go_on(&child);
    assert_string_equal(vm_ask(&child, "get"), "of both");
    assert_string_equal(vm_ask(&child, "head"), "of both         ");
    assert_string_equal(vm_ask(&child, "put of the child    "), "of the child    ");
    assert_string_equal(vm_ask(&parent, "head"), "of the parent   ");
    assert_string_equal(vm_ask(&parent, "get"), "of the parent");
    check_disk(child.top);
    check_disk(parent.top);
    remove_layers(vmm_disk(parent.v), 1);
    vm_destroy(&parent);
    vm_destroy(&child);
}

/* A daemon that died in the middle of a switch left a node and a set; its successor can switch and
 * save all the same. */
static void test_adopted_vm_is_switched_and_saved(void **state)
{
    static struct vm_run r, child;
    (void)state;
    clone_up(&r, "clone");
    assert_string_equal(vm_ask(&r, "set before"), "set");
    /* The daemon died when a switch was written down, and before it was done. */
    struct vmm_disk disk = { .rootfs = fixture.rootfs,
                             .layers = { template()->layer, r.top },
                             .nlayers = 2,
                             .top = "/never" };
    vm_readopt(&r, &disk);
    assert_false(r.failed);
    assert_int_equal(vmm_disk(r.v)->nlayers, 1);
    assert_string_equal(vmm_disk(r.v)->top, r.top);
    vm_connect(&r);
    assert_string_equal(vm_ask(&r, "get"), "before");
    assert_string_equal(vm_ask(&r, "put adopted         "), "adopted         ");
    AUTO_FREE char *first = strdup(r.top);
    switch_disk(&r, "second.qcow2");
    /* Here it died when the switch was done. */
    disk.layers[1] = first;
    disk.top = r.top;
    vm_readopt(&r, &disk);
    assert_false(r.failed);
    assert_int_equal(vmm_disk(r.v)->nlayers, 2);
    assert_string_equal(vmm_disk(r.v)->top, r.top);
    pause_vm(&r);
    int state_fd = save_vm(&r);
    start_vm(&child, "child", vmm_disk(r.v), template()->memory);
    guest_memory_carry(r.v, child.v);
    load_vm(&child, state_fd);
    close(state_fd);
    go_on(&child);
    assert_string_equal(vm_ask(&child, "get"), "before");
    assert_string_equal(vm_ask(&child, "head"), "adopted         ");
    remove_layers(vmm_disk(r.v), 1);
    vm_destroy(&r);
    vm_destroy(&child);
}

static void test_merge_lets_go_of_layers(void **state)
{
    static struct vm_run r;
    struct told t = { 0 };
    (void)state;
    clone_up(&r, "clone");
    assert_string_equal(vm_ask(&r, "put kept            "), "kept            ");
    switch_disk(&r, "second.qcow2");
    vm_send(&r, "fill2");
    vm_read(&r);
    switch_disk(&r, "third.qcow2");
    AUTO_FREE char *sum = strdup(vm_ask(&r, "sum"));
    const struct vmm_disk *d = vmm_disk(r.v);
    assert_int_equal(d->nlayers, 3);
    AUTO_FREE char *first = strdup(d->layers[1]), *second = strdup(d->layers[2]);
    vmm_merge_disk(r.v, 1, on_told, &t);
    expect_ok(&t);
    assert_int_equal(d->nlayers, 1);
    assert_int_equal(unlink(first), 0);
    assert_int_equal(unlink(second), 0);
    assert_false(has_open(vmm_record(r.v)->pid, "clone.qcow2"));
    assert_false(has_open(vmm_record(r.v)->pid, "second.qcow2"));
    assert_true(has_open(vmm_record(r.v)->pid, "third.qcow2"));
    check_disk(d->top);
    assert_string_equal(vm_ask(&r, "drop"), "dropped");
    assert_string_equal(vm_ask(&r, "sum"), sum);
    assert_string_equal(vm_ask(&r, "head"), "kept            ");
    /* All of it, onto the root file system. */
    switch_disk(&r, "fourth.qcow2");
    struct told all = { 0 }, nothing = { 0 };
    vmm_merge_disk(r.v, 5, on_told, &nothing);
    expect_ok(&nothing);
    assert_int_equal(d->nlayers, 2);
    AUTO_FREE char *third = strdup(d->layers[1]);
    vmm_merge_disk(r.v, 0, on_told, &all);
    expect_ok(&all);
    assert_int_equal(d->nlayers, 0);
    assert_int_equal(unlink(third), 0);
    assert_string_equal(vm_ask(&r, "drop"), "dropped");
    assert_string_equal(vm_ask(&r, "sum"), sum);
    check_disk(d->top);
    vm_destroy(&r);
}

/* A merge gives way to a switch and to a save, and ends with its VM. */
static void test_merge_gives_way(void **state)
{
    static struct vm_run r;
    struct told merge = { 0 }, again = { 0 }, last = { 0 };
    (void)state;
    clone_up(&r, "clone");
    vm_send(&r, "fill2");
    vm_read(&r);
    AUTO_FREE char *sum = strdup(vm_ask(&r, "sum"));
    switch_disk(&r, "second.qcow2");
    vmm_merge_disk(r.v, 0, on_told, &merge);
    switch_disk(&r, "third.qcow2");
    expect_error(&merge, ERR_CANCELED, "needed otherwise");
    assert_int_equal(vmm_disk(r.v)->nlayers, 3);
    pause_vm(&r);
    vmm_merge_disk(r.v, 0, on_told, &again);
    close(save_vm(&r));
    expect_error(&again, ERR_CANCELED, "needed otherwise");
    resume_vm(&r);
    assert_string_equal(vm_ask(&r, "drop"), "dropped");
    assert_string_equal(vm_ask(&r, "sum"), sum);
    check_disk(r.top);
    vmm_merge_disk(r.v, 0, on_told, &last);
    remove_layers(vmm_disk(r.v), 1);
    vm_destroy(&r);
    assert_false(last.done);
}

/* A disk goes from one VM to the next, whose uid is another. */
static void test_top_is_taken_over(void **state)
{
    static struct vm_run before, after;
    struct stat st;
    (void)state;
    clone_up(&before, "before");
    assert_string_equal(vm_ask(&before, "put goes on         "), "goes on         ");
    pause_vm(&before);
    int state_fd = save_vm(&before);
    vm_run_init(&fixture, &after, "after");
    assert_int_equal(link(before.top, after.top), 0);
    after.uid = geteuid() == 0 ? TEST_UID + 1 : after.uid;
    vm_start(&after, &template()->disk, template()->memory);
    if (after.failed)
        fail_msg("%s", after.err.msg);
    guest_memory_carry(before.v, after.v);
    vm_destroy(&before);
    load_vm(&after, state_fd);
    close(state_fd);
    go_on(&after);
    assert_int_equal(stat(after.top, &st), 0);
    assert_int_equal(st.st_uid, geteuid() == 0 ? TEST_UID + 1 : geteuid());
    assert_string_equal(vm_ask(&after, "drop"), "dropped");
    assert_string_equal(vm_ask(&after, "head"), "goes on         ");
    vm_destroy(&after);
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clone_runs_on),
        TEST(test_a_waiting_vmm_has_written_no_memory),
        TEST(test_order_is_kept),
        TEST(test_when_it_stood_still_is_known),
        TEST(test_clones_do_not_see_each_other),
        TEST(test_waiting_vmm_is_jailed),
        TEST(test_switch_of_a_running_vm_keeps_data),
        TEST(test_fork),
        TEST(test_adopted_vm_is_switched_and_saved),
        TEST(test_merge_lets_go_of_layers),
        TEST(test_merge_gives_way),
        TEST(test_top_is_taken_over),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    vm_fixture_init(&fixture, 0, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
