/* Real VMs again: what cannot be loaded, steps that fail, callers that change their mind. */
#include "snapshot_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A state that is none: QEMU's own words reach whoever asked, and the VMM is gone. */
static void test_damaged_state_is_refused(void **state)
{
    static struct vm_run r;
    struct told t = { 0 };
    (void)state;
    struct saved *s = template();
    AUTO_CLOSE int fd = memfd_create("damaged", MFD_CLOEXEC);
    assert_int_equal(write(fd, "no device state", 15), 15);
    start_vm(&r, "clone", &s->disk, s->memory);
    vmm_load(r.v, fd, on_told, &t);
    expect_error(&t, ERR_UNAVAILABLE, "load of migration failed");
    run_until(&fixture, &r.ended);
    assert_int_equal(r.end, VMM_END_EXIT);
    vm_destroy(&r);
}

static void test_wrong_memory_is_refused(void **state)
{
    static struct vm_run r;
    (void)state;
    AUTO_CLOSE int fd = memfd_create("small", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 64 << 20), 0);
    vm_run_init(&fixture, &r, "clone");
    vm_start(&r, &template()->disk, fd);
    assert_true(r.failed);
    assert_non_null(strstr(r.err.msg, "is not 128 MiB"));
    assert_int_equal(tempdir_count(&fixture.dir, "."), 1);
}

static size_t open_fds(pid_t pid)
{
    char path[48];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    size_t n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void arm(const char *fault)
{
    assert_int_equal(setenv("SANDPIT_FAULTS", fault, 1), 0);
}

static void test_each_failing_start_is_undone(void **state)
{
    static const char *const points[] = { "vmm.run_dir", "vmm.start", "vmm.memory", "vmm.socket",
                                          "vmm.overlay", "vmm.layer", "vmm.spawn",  "vmm.record",
                                          "vmm.cgroup",  "vmm.qmp",   "vmm.console" };
    static struct vm_run r;
    (void)state;
    NEED_FAULT_POINTS();
    struct saved *s = template();
    size_t fds = open_fds(getpid());
    for (size_t i = 0; i < ARRAY_LEN(points); i++) {
        vm_run_init(&fixture, &r, "clone");
        arm(points[i]);
        vm_start(&r, &s->disk, s->memory);
        unsetenv("SANDPIT_FAULTS");
        if (!r.failed)
            fail_msg("%s did not make it fail", points[i]);
        assert_int_equal(r.err.code, ERR_INTERNAL);
        assert_int_equal(open_fds(getpid()), fds);
        assert_int_equal(tempdir_count(&fixture.dir, "."), 1);
    }
}

/* Whatever fails: the VM goes on as it was, nobody holds on to anything, and the next try works. */
static void test_each_failing_operation_changes_nothing(void **state)
{
    static const char *const loads[] = { "vmm.load_fd", "vmm.load" };
    static const char *const saves[] = { "vmm.save_fd", "vmm.save" };
    static const char *const switches[] = { "vmm.switch_create", "vmm.switch_fd:1",
                                            "vmm.switch_fd:2", "vmm.switch_node",
                                            "vmm.switch_disk" };
    static struct vm_run r;
    struct told merge = { 0 };
    (void)state;
    NEED_FAULT_POINTS();
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    pid_t pid = vmm_record(r.v)->pid;
    size_t here = open_fds(getpid());
    for (size_t i = 0; i < ARRAY_LEN(loads); i++) {
        struct told t = { 0 };
        arm(loads[i]);
        vmm_load(r.v, s->state, on_told, &t);
        expect_error(&t, ERR_INTERNAL, "fault injected at vmm.load");
    }
    unsetenv("SANDPIT_FAULTS");
    load_vm(&r, s->state);
    for (size_t i = 0; i < ARRAY_LEN(saves); i++) {
        struct told t = { 0 };
        arm(saves[i]);
        vmm_save(r.v, on_saved, &t);
        expect_error(&t, ERR_INTERNAL, "fault injected at vmm.save");
    }
    for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
        struct told t = { 0 };
        arm(switches[i]);
        vmm_switch_disk(r.v, tempdir_path(&fixture.dir, "second.qcow2"), on_told, &t);
        expect_error(&t, ERR_INTERNAL, "fault injected at vmm.switch");
        assert_false(tempdir_exists(&fixture.dir, "second.qcow2"));
        assert_int_equal(vmm_disk(r.v)->nlayers, 1);
    }
    arm("vmm.merge_disk");
    vmm_merge_disk(r.v, 0, on_told, &merge);
    expect_error(&merge, ERR_INTERNAL, "fault injected at vmm.merge_disk");
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(open_fds(getpid()), here);
    go_on(&r);
    /* QEMU closes what it was told to forget once the VM runs. */
    int64_t due = clock_mono_ms() + TEST_DEADLINE_MS;
    while (has_open(pid, "device-state") || has_open(pid, "second.qcow2")) {
        assert_true(clock_mono_ms() < due);
        uv_run(&fixture.loop, UV_RUN_NOWAIT);
    }
    pause_vm(&r);
    close(save_vm(&r));
    switch_disk(&r, "second.qcow2");
    resume_vm(&r);
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    remove_layers(vmm_disk(r.v), 1);
    vm_destroy(&r);
}

/* A caller that changes its mind, n turns of the loop into an operation. */
static void test_destroy_during_an_operation(void **state)
{
    static struct vm_run r;
    struct saved *s = template();
    (void)state;
    size_t fds = open_fds(getpid());
    for (int turns = 0; turns < 12; turns++) {
        struct told load = { 0 }, save = { 0 }, change = { 0 };
        start_vm(&r, "clone", &s->disk, s->memory);
        if (turns % 2)
            load_vm(&r, s->state);
        else
            vmm_load(r.v, s->state, on_told, &load);
        vmm_save(r.v, on_saved, &save);
        vmm_switch_disk(r.v, tempdir_path(&fixture.dir, "second.qcow2"), on_told, &change);
        for (int i = 0; i < turns; i++)
            uv_run(&fixture.loop, UV_RUN_NOWAIT);
        bool was[] = { load.done, save.done, change.done };
        vm_destroy(&r);
        assert_true(was[0] == load.done && was[1] == save.done && was[2] == change.done);
        if (save.done && !save.err.code)
            close(save.fd);
        unlink(tempdir_path(&fixture.dir, "second.qcow2"));
        assert_int_equal(open_fds(getpid()), fds);
        assert_int_equal(tempdir_count(&fixture.dir, "."), 1);
    }
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_damaged_state_is_refused),     TEST(test_wrong_memory_is_refused),
        TEST(test_each_failing_start_is_undone), TEST(test_each_failing_operation_changes_nothing),
        TEST(test_destroy_during_an_operation),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    vm_fixture_init(&fixture, 0, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
