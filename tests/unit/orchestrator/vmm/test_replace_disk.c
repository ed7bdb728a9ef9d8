/* Real VMMs that wait with one disk and go on with another. */
#include "snapshot_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A saved VM that has written to two layers of its own, and its disk under other names. */
struct paused {
    int state;
    char top[PATH_MAX], layer[PATH_MAX];
    struct vmm_disk disk;
    struct vm_run vm; /* stands still */
};

static void have_paused(struct paused *p)
{
    *p = (struct paused){ 0 };
    clone_up(&p->vm, "before");
    assert_string_equal(vm_ask(&p->vm, "set before"), "set");
    assert_string_equal(vm_ask(&p->vm, "put in a layer      "), "in a layer      ");
    vm_send(&p->vm, "fill");
    vm_read(&p->vm);
    snprintf(p->layer, sizeof(p->layer), "%s", p->vm.top);
    switch_disk(&p->vm, "top.qcow2");
    assert_string_equal(vm_ask(&p->vm, "put in the top      "), "in the top      ");
    snprintf(p->top, sizeof(p->top), "%s", p->vm.top);
    pause_vm(&p->vm);
    p->state = save_vm(&p->vm);
    p->disk = (struct vmm_disk){ .rootfs = fixture.rootfs,
                                 .layers = { template()->layer, p->layer },
                                 .nlayers = 2,
                                 .top = p->top };
}

/* The VM that wrote the disk goes; its files stay, to be removed with `after`. */
static void replace(struct paused *p, struct vm_run *after)
{
    struct told t = { 0 };
    guest_memory_carry(p->vm.v, after->v);
    AUTO_FREE char *keep = strdup(tempdir_path(&fixture.dir, "keep"));
    assert_int_equal(link(p->top, keep), 0);
    vm_destroy(&p->vm);
    assert_int_equal(rename(keep, p->top), 0);
    assert_int_equal(unlink(after->top), 0);
    int64_t begun = clock_mono_ns();
    vmm_replace_disk(after->v, &p->disk, on_told, &t);
    assert_false(t.done);
    expect_ok(&t);
    print_message("replaced in %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    snprintf(after->top, sizeof(after->top), "%s", p->top);
}

static void assert_disk(const struct vm_run *r, const struct vmm_disk *d)
{
    const struct vmm_disk *have = vmm_disk(r->v);
    assert_int_equal(have->nlayers, d->nlayers);
    for (size_t i = 0; i < d->nlayers; i++)
        assert_string_equal(have->layers[i], d->layers[i]);
    assert_string_equal(have->top, d->top);
    assert_string_equal(have->rootfs, d->rootfs);
}

static void until_closed(const struct vm_run *r, const char *name)
{
    int64_t due = clock_mono_ms() + TEST_DEADLINE_MS;
    while (has_open(vmm_record(r->v)->pid, name)) {
        assert_true(clock_mono_ms() < due);
        uv_run(&fixture.loop, UV_RUN_NOWAIT);
    }
}

static void test_a_vm_goes_on_with_the_other_disk(void **state)
{
    static struct paused p;
    static struct vm_run r;
    struct told merge = { 0 };
    struct stat st;
    (void)state;
    have_paused(&p);
    vm_run_init(&fixture, &r, "waits");
    r.uid = geteuid() == 0 ? TEST_UID + 1 : r.uid;
    vm_start(&r, &template()->disk, template()->memory);
    assert_false(r.failed);
    replace(&p, &r);
    assert_disk(&r, &p.disk);
    assert_int_equal(stat(p.top, &st), 0);
    assert_int_equal(st.st_uid, r.uid == (uid_t)-1 ? geteuid() : r.uid);
    load_vm(&r, p.state);
    close(p.state);
    go_on(&r);
    assert_string_equal(vm_ask(&r, "get"), "before");
    assert_string_equal(vm_ask(&r, "drop"), "dropped");
    assert_string_equal(vm_ask(&r, "head"), "in the top      ");
    until_closed(&r, "waits.qcow2");
    assert_string_equal(vm_ask(&r, "put after           "), "after           ");
    AUTO_FREE char *sum = strdup(vm_ask(&r, "sum"));
    check_disk(p.top);
    check_disk(p.layer);
    /* It is a disk as any other from then on: frozen, taken over, merged. */
    switch_disk(&r, "third.qcow2");
    struct vmm_disk now = { .rootfs = fixture.rootfs,
                            .layers = { template()->layer, p.layer, p.top },
                            .nlayers = 3,
                            .top = r.top };
    assert_disk(&r, &now);
    vm_readopt(&r, &now);
    assert_false(r.failed);
    assert_disk(&r, &now);
    vm_connect(&r);
    vmm_merge_disk(r.v, 1, on_told, &merge);
    expect_ok(&merge);
    assert_int_equal(unlink(p.layer), 0);
    assert_int_equal(unlink(p.top), 0);
    assert_string_equal(vm_ask(&r, "drop"), "dropped");
    assert_string_equal(vm_ask(&r, "sum"), sum);
    assert_string_equal(vm_ask(&r, "head"), "after           ");
    check_disk(r.top);
    vm_destroy(&r);
}

/* Layers that only the old disk had are let go of, and a top that is not there is made. */
static void test_nothing_is_shared_but_the_root(void **state)
{
    static struct vm_run r;
    struct told t = { 0 }, again = { 0 };
    (void)state;
    struct vmm_disk bare = { .rootfs = fixture.rootfs,
                             .top = tempdir_path(&fixture.dir, "bare.qcow2") };
    start_vm(&r, "waits", &template()->disk, template()->memory);
    vmm_replace_disk(r.v, &bare, on_told, &t);
    expect_ok(&t);
    unlink(r.top);
    snprintf(r.top, sizeof(r.top), "%s", vmm_disk(r.v)->top);
    assert_disk(&r, &bare);
    check_disk(r.top);
    vmm_replace_disk(r.v, &template()->disk, on_told, &again);
    expect_error(&again, ERR_PRECONDITION, "with the disk it was given");
    load_vm(&r, template()->state);
    go_on(&r);
    until_closed(&r, "layer.qcow2");
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    vm_destroy(&r);
}

static void test_one_that_runs_keeps_its_disk(void **state)
{
    static struct vm_run r;
    struct told t = { 0 }, other = { 0 };
    (void)state;
    struct vmm_disk d = { .rootfs = "/elsewhere", .top = "/never" };
    start_vm(&r, "waits", &template()->disk, template()->memory);
    vmm_replace_disk(r.v, &d, on_told, &other);
    expect_error(&other, ERR_PRECONDITION, "not the same root file system");
    load_vm(&r, template()->state);
    d.rootfs = fixture.rootfs;
    vmm_replace_disk(r.v, &d, on_told, &t);
    expect_error(&t, ERR_PRECONDITION, "does not wait");
    go_on(&r);
    assert_string_equal(vm_ask(&r, "head"), "WRITTEN BY GUEST");
    vm_destroy(&r);
}

#ifdef SANDPIT_FAULT_POINTS
static void test_each_failing_step_is_told(void **state)
{
    /* Passes are counted on: the files are a layer, and the top twice. */
    static const char *const points[] = { "vmm.replace_open",   "vmm.overlay",
                                          "vmm.replace_set",    "vmm.replace_set:3",
                                          "vmm.replace_set:6",  "vmm.replace_node:3",
                                          "vmm.replace_node:5", "vmm.replace_disk",
                                          "vmm.replace_remove" };
    static struct vm_run r;
    (void)state;
    AUTO_FREE char *top = strdup(tempdir_path(&fixture.dir, "other.qcow2"));
    struct vmm_disk d = { .rootfs = fixture.rootfs,
                          .layers = { template()->layer, template()->layer },
                          .nlayers = 2,
                          .top = top };
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        struct told t = { 0 };
        start_vm(&r, "waits", &template()->disk, template()->memory);
        assert_int_equal(setenv("SANDPIT_FAULTS", points[i], 1), 0);
        vmm_replace_disk(r.v, &d, on_told, &t);
        expect_error(&t, ERR_INTERNAL, "fault injected at vmm.");
        unsetenv("SANDPIT_FAULTS");
        assert_false(tempdir_exists(&fixture.dir, "other.qcow2"));
        vm_destroy(&r);
    }
}
#endif

/* A caller that changes its mind, n turns of the loop into it; and a VMM that ends. */
static void test_an_end_in_the_middle(void **state)
{
    static struct vm_run r;
    (void)state;
    AUTO_FREE char *top = strdup(tempdir_path(&fixture.dir, "other.qcow2"));
    struct vmm_disk d = {
        .rootfs = fixture.rootfs, .layers = { template()->layer }, .nlayers = 1, .top = top
    };
    for (int turns = 0; turns < 14; turns++) {
        struct told t = { 0 };
        start_vm(&r, "waits", &template()->disk, template()->memory);
        vmm_replace_disk(r.v, &d, on_told, &t);
        for (int i = 0; i < turns / 2; i++)
            uv_run(&fixture.loop, UV_RUN_ONCE);
        bool was = t.done;
        if (turns % 2 && !was) {
            kill(vmm_record(r.v)->pid, SIGKILL);
            run_until(&fixture, &r.ended);
            run_until(&fixture, &t.done);
            was = true;
        }
        vm_destroy(&r);
        assert_true(was == t.done);
        unlink(top);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_vm_goes_on_with_the_other_disk),
        TEST(test_nothing_is_shared_but_the_root),
        TEST(test_one_that_runs_keeps_its_disk),
#ifdef SANDPIT_FAULT_POINTS
        TEST(test_each_failing_step_is_told),
#endif
        TEST(test_an_end_in_the_middle),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    vm_fixture_init(&fixture, 0, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
