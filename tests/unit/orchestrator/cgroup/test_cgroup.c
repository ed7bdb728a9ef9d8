#include "fake_host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static struct cgroups c;
static struct err err;

static const struct cgroup_limits some = { .memory_bytes = 1536 * MIB,
                                           .swap_bytes = 512 * MIB,
                                           .pids = 256,
                                           .cpu_percent = 300,
                                           .weight = 200 };

static int setup_v2(void **state)
{
    (void)state;
    fake_init();
    fake_add_v2("cpu memory pids");
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(c.missing, "");
    return 0;
}

static int setup_v1(void **state)
{
    (void)state;
    fake_init();
    fake_add_v1("cpu,cpuacct");
    fake_add_v1("memory");
    fake_add_v1("pids");
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(c.missing, "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_deinit();
    return 0;
}

static const char *value_v2(const char *file)
{
    return fake_value(FAKE_V2 "/sandpit/%s-vm/%s", c.tag, file);
}

#define MEMORY(file) fake_value(FAKE_V1("memory/sandpit/%s-vm/") file, c.tag)
#define CPU(file)    fake_value(FAKE_V1("cpu,cpuacct/sandpit/%s-vm/") file, c.tag)

static bool exists(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/sandpit/%s-%s", dir, c.tag, name);
    return tempdir_exists(&fake.dir, path);
}

static void test_version_2_gets_the_limits(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_string_equal(value_v2("memory.max"), "1610612736");
    assert_string_equal(value_v2("memory.swap.max"), "536870912");
    assert_string_equal(value_v2("pids.max"), "256");
    assert_string_equal(value_v2("cpu.max"), "300000 100000");
    assert_string_equal(value_v2("cpu.weight"), "200");
}

static void test_version_1_gets_the_limits(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_string_equal(MEMORY("memory.limit_in_bytes"), "1610612736");
    assert_string_equal(MEMORY("memory.memsw.limit_in_bytes"), "2147483648");
    assert_string_equal(fake_value(FAKE_V1("pids/sandpit/%s-vm/pids.max"), c.tag), "256");
    assert_string_equal(CPU("cpu.cfs_quota_us"), "300000");
    assert_string_equal(CPU("cpu.cfs_period_us"), "100000");
    assert_string_equal(CPU("cpu.shares"), "2048");
}

static void test_no_limit_leaves_the_kernels(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &(struct cgroup_limits){ 0 }, &err), 0);
    assert_string_equal(value_v2("memory.max"), "max");
    assert_string_equal(value_v2("memory.swap.max"), "max");
    assert_string_equal(value_v2("pids.max"), "max");
    assert_string_equal(value_v2("cpu.max"), "max 100000");
    assert_string_equal(value_v2("cpu.weight"), "100");
}

static void test_another_weight_leaves_the_rest(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(cgroup_set_weight(&c, "vm", 10), 0);
    assert_string_equal(value_v2("cpu.weight"), "10");
    assert_string_equal(value_v2("cpu.max"), "300000 100000");
    assert_int_equal(cgroup_set_weight(&c, "other", 10), -ENOENT);
    c.can[CGROUP_CPU] = false;
    assert_int_equal(cgroup_set_weight(&c, "other", 10), 0);
}

static void test_the_greatest_weight_is_kept(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &(struct cgroup_limits){ .weight = 100000 }, &err), 0);
    assert_string_equal(value_v2("cpu.weight"), "10000");
}

static void test_swap_that_is_not_counted_is_no_error(void **state)
{
    (void)state;
    fake.no_swap = true;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
}

static void test_a_process_enters_every_hierarchy(void **state)
{
    (void)state;
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(fake_enter(&c, "vm"), 0);
    assert_string_equal(MEMORY("tasks"), pid);
    assert_string_equal(CPU("tasks"), pid);
    assert_string_equal(fake_value(FAKE_V1("pids/sandpit/%s-vm/tasks"), c.tag), pid);
}

static void test_a_group_that_fails_is_taken_back(void **state)
{
    (void)state;
    fake.refused = "cpu.cfs_quota_us";
    fake.refused_errno = EINVAL;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "cannot make the control group"));
    assert_false(exists(FAKE_V1("memory"), "vm"));
    assert_false(exists(FAKE_V1("pids"), "vm"));
    assert_false(exists(FAKE_V1("cpu,cpuacct"), "vm"));
}

static void test_entering_tells_why_it_fails(void **state)
{
    (void)state;
    struct cgroup_door door;
    assert_int_equal(cgroup_door_open(&c, "vm", &door, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "cannot open"));
    assert_int_equal(door.nfiles, 0);
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    fake.refused = "/tasks";
    fake.refused_errno = ESRCH;
    assert_int_equal(fake_enter(&c, "vm"), -1);
    assert_int_equal(errno, ESRCH);
}

/* A directory that is no group, so that clone3() fails. */
static void test_a_child_enters_by_itself_where_clone_cannot(void **state)
{
    (void)state;
    struct cgroup_door door;
    char expected[16];
    bool inside;
    int status;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(cgroup_door_open(&c, "vm", &door, &err), 0);
    assert_true(door.dir >= 0);
    pid_t pid = cgroup_fork(&door, &inside);
    if (pid == 0)
        _exit(inside || cgroup_door_enter(&door) < 0);
    cgroup_door_close(&door);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    snprintf(expected, sizeof(expected), "%d", (int)pid);
    assert_string_equal(value_v2("cgroup.procs"), expected);
}

static void test_what_an_earlier_vm_left_is_made_anew(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(cgroup_create(&c, "vm", &(struct cgroup_limits){ 0 }, &err), 0);
    assert_string_equal(value_v2("pids.max"), "max");
}

static void test_a_group_in_use_is_not_taken_over(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(fake_enter(&c, "vm"), 0);
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), -EBUSY);
    assert_string_equal(value_v2("pids.max"), "256");
}

static void test_remove_tells_of_a_group_in_use(void **state)
{
    (void)state;
    assert_int_equal(cgroup_remove(&c, "vm"), 0);
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_int_equal(fake_enter(&c, "vm"), 0);
    assert_int_equal(cgroup_remove(&c, "vm"), -EBUSY);
    assert_true(exists(FAKE_V1("memory"), "vm"));
}

static void test_sweep_spares_processes_and_other_owners(void **state)
{
    (void)state;
    struct cgroups other = c;
    snprintf(other.tag, sizeof(other.tag), "other");
    assert_int_equal(cgroup_create(&other, "vm", &some, &err), 0);
    assert_int_equal(cgroup_create(&c, "dead", &some, &err), 0);
    assert_int_equal(cgroup_create(&c, "alive", &some, &err), 0);
    assert_int_equal(fake_enter(&c, "alive"), 0);
    assert_int_equal(cgroups_sweep(&c), 1);
    assert_false(exists(FAKE_V2, "dead"));
    assert_true(exists(FAKE_V2, "alive"));
    assert_int_equal(cgroups_sweep(&other), 1);
}

static void set_events(const char *file, const char *text)
{
    char name[256];
    snprintf(name, sizeof(name), "%s/sandpit/%s-vm/%s",
             c.version == CGROUP_V2 ? FAKE_V2 : FAKE_V1("memory"), c.tag, file);
    tempdir_write(&fake.dir, name, text);
}

static void test_a_kill_for_want_of_memory_is_seen_in_version_2(void **state)
{
    (void)state;
    assert_false(cgroup_ran_out_of_memory(&c, "vm"));
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_false(cgroup_ran_out_of_memory(&c, "vm"));
    set_events("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 0\noom_group_kill 1\n");
    assert_false(cgroup_ran_out_of_memory(&c, "vm"));
    set_events("memory.events", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\n");
    assert_true(cgroup_ran_out_of_memory(&c, "vm"));
}

static void test_a_kill_for_want_of_memory_is_seen_in_version_1(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "vm", &some, &err), 0);
    assert_false(cgroup_ran_out_of_memory(&c, "vm"));
    set_events("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    assert_true(cgroup_ran_out_of_memory(&c, "vm"));
}

static void test_without_groups_nothing_is_done(void **state)
{
    (void)state;
    static const struct cgroups none;
    assert_int_equal(cgroup_create(&none, "vm", &some, &err), 0);
    struct cgroup_door door;
    assert_int_equal(cgroup_door_open(&none, "vm", &door, &err), 0);
    assert_int_equal(door.nfiles, 0);
    assert_int_equal(door.dir, -1);
    assert_false(cgroup_ran_out_of_memory(&none, "vm"));
    assert_int_equal(cgroup_remove(&none, "vm"), 0);
    assert_int_equal(cgroups_sweep(&none), 0);
}

int main(void)
{
#define V2(name) cmocka_unit_test_setup_teardown(name, setup_v2, teardown)
#define V1(name) cmocka_unit_test_setup_teardown(name, setup_v1, teardown)
    const struct CMUnitTest tests[] = {
        V2(test_version_2_gets_the_limits),
        V1(test_version_1_gets_the_limits),
        V2(test_no_limit_leaves_the_kernels),
        V2(test_another_weight_leaves_the_rest),
        V2(test_the_greatest_weight_is_kept),
        V2(test_swap_that_is_not_counted_is_no_error),
        V1(test_swap_that_is_not_counted_is_no_error),
        V1(test_a_process_enters_every_hierarchy),
        V1(test_a_group_that_fails_is_taken_back),
        V1(test_entering_tells_why_it_fails),
        V2(test_a_child_enters_by_itself_where_clone_cannot),
        V2(test_what_an_earlier_vm_left_is_made_anew),
        V2(test_a_group_in_use_is_not_taken_over),
        V1(test_remove_tells_of_a_group_in_use),
        V2(test_sweep_spares_processes_and_other_owners),
        V2(test_a_kill_for_want_of_memory_is_seen_in_version_2),
        V1(test_a_kill_for_want_of_memory_is_seen_in_version_1),
        cmocka_unit_test(test_without_groups_nothing_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
