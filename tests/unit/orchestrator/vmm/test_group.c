/* A real VM in a real control group, where this host gives us any. */
#include "vm_fixture.h"

#include "common/base/fileio.h"
#include "orchestrator/cgroup/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SKIP     77
#define MIB      (UINT64_C(1) << 20)
#define GUEST_MB 128 /* of vm_run_config() */

static struct vm_fixture fixture;
static struct cgroups groups;

static int tidy(void **state)
{
    (void)state;
    vm_fixture_tidy(&fixture);
    vmm_driver_tidy(fixture.driver);
    return 0;
}

static bool is_there(enum cgroup_limit limit)
{
    char path[PATH_MAX];
    struct stat st;
    group_path(&groups, limit, "itest", path);
    return groups.can[limit] && stat(path, &st) == 0;
}

static bool any_is_there(void)
{
    return is_there(CGROUP_MEMORY) || is_there(CGROUP_PIDS) || is_there(CGROUP_CPU);
}

/* The number in a file of the VM's group. */
static uint64_t number(enum cgroup_limit limit, const char *v2, const char *v1)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    uint64_t n;
    group_path(&groups, limit, "itest", path);
    strcat(path, "/");
    strcat(path, groups.version == CGROUP_V2 ? v2 : v1);
    assert_int_equal(file_read(path, 64, &text, NULL), 0);
    struct str rest = buf_str(&text), line = str_split(&rest, '\n');
    assert_true(str_to_u64(str_split(&line, ' '), UINT64_MAX, &n));
    buf_deinit(&text);
    return n;
}

static void assert_member(enum cgroup_limit limit, pid_t pid)
{
    if (groups.can[limit])
        assert_int_equal(number(limit, "cgroup.procs", "cgroup.procs"), pid);
}

static void test_a_vm_runs_in_a_group_with_its_limits(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    for (int i = 0; i < CGROUP_LIMIT_NR; i++)
        assert_member(i, vmm_record(r.v)->pid);
    if (groups.can[CGROUP_MEMORY])
        assert_int_equal(number(CGROUP_MEMORY, "memory.max", "memory.limit_in_bytes"),
                         (2 * GUEST_MB + 320) * MIB);
    if (groups.can[CGROUP_PIDS])
        assert_int_equal(number(CGROUP_PIDS, "pids.max", "pids.max"), 200);
    if (groups.can[CGROUP_CPU])
        assert_int_equal(number(CGROUP_CPU, "cpu.max", "cpu.cfs_quota_us"), 200000);
    vm_destroy(&r);
    assert_false(any_is_there());
}

static void test_an_adopted_vm_keeps_its_group(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    struct vmm_disk disk = { .rootfs = fixture.rootfs, .top = r.top };
    pid_t pid = vmm_record(r.v)->pid;
    vm_readopt(&r, &disk);
    assert_false(r.failed);
    vmm_driver_tidy(fixture.driver); /* spares it */
    for (int i = 0; i < CGROUP_LIMIT_NR; i++)
        assert_member(i, pid);
    vm_destroy(&r);
    assert_false(any_is_there());
}

static void test_what_a_swept_vm_leaves_is_tidied(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    struct vmm_record record = *vmm_record(r.v);
    vm_release(&r);
    run_until(&fixture, &(bool){ true });
    vmm_sweep(r.run_dir, &record);
    assert_true(any_is_there());
    vmm_driver_tidy(fixture.driver);
    assert_false(any_is_there());
}

static void test_a_start_that_fails_leaves_no_group(void **state)
{
    static struct vm_run r;
    (void)state;
    NEED_FAULT_POINTS();
    assert_int_equal(setenv("SANDPIT_FAULTS", "vmm.cgroup", 1), 0);
    vm_boot(&fixture, &r);
    assert_true(r.failed);
    assert_non_null(strstr(r.err.msg, "vmm.cgroup"));
    assert_int_equal(setenv("SANDPIT_FAULTS", "vmm.qmp", 1), 0);
    vm_boot(&fixture, &r);
    assert_true(r.failed);
    unsetenv("SANDPIT_FAULTS");
    assert_false(any_is_there());
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_vm_runs_in_a_group_with_its_limits),
        TEST(test_an_adopted_vm_keeps_its_group),
        TEST(test_what_a_swept_vm_leaves_is_tidied),
        TEST(test_a_start_that_fails_leaves_no_group),
    };
    char owner[64];
    snprintf(owner, sizeof(owner), "test-vm-%d", (int)getpid());
    const struct cgroups_options where = { .where = CGROUP_AUTO, .owner = owner };
    cgroups_open(&groups, &where);
    if (groups.version == CGROUP_NONE) {
        printf("skipped: this host gives us no control groups: %s\n", groups.missing);
        return SKIP;
    }
    const struct vmm_driver_options o = { .cgroups = &groups, .allowance = { 320, 200, 1 } };
    vm_fixture_init_with(&fixture, &o);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
