/* What the kernel of this host does with groups, where it gives us any. */
#include "orchestrator/cgroup/cgroup.h"
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB  (1 << 20)
#define SKIP 77

static struct cgroups c;
static struct err err;

/* Run work(arg) in a child in the group; what waitpid() tells. */
static int run_in(const char *name, int (*work)(int arg), int arg)
{
    struct cgroup_door door;
    bool inside;
    int status;
    assert_int_equal(cgroup_door_open(&c, name, &door, &err), 0);
    pid_t pid = cgroup_fork(&door, &inside);
    if (pid == 0)
        _exit(inside || cgroup_door_enter(&door) == 0 ? work(arg) : 100);
    assert_true(pid > 0);
    cgroup_door_close(&door);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int take_memory(int mib)
{
    size_t n = (size_t)mib * MIB;
    char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    for (size_t i = 0; i < n; i += 4096)
        ((volatile char *)p)[i] = 1;
    return 0;
}

/* While this process is in the group, nobody removes it. */
static int try_remove(int expected)
{
    return cgroup_remove(&c, "used") == expected ? 0 : 1;
}

/* Fork until the kernel refuses, at most `most` times; how often it did not. */
static int fork_many(int most)
{
    pid_t made[10];
    int n = 0;
    while (n < most) {
        made[n] = fork();
        if (made[n] == 0)
            for (;;)
                pause();
        if (made[n] < 0)
            break;
        n++;
    }
    for (int i = 0; i < n; i++) {
        kill(made[i], SIGKILL);
        waitpid(made[i], NULL, 0);
    }
    return n;
}

static void test_memory_is_limited_and_the_kill_is_seen(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .memory_bytes = 32 * MIB };
    if (!c.can[CGROUP_MEMORY])
        skip();
    assert_int_equal(cgroup_create(&c, "memory", &limits, &err), 0);
    assert_false(cgroup_ran_out_of_memory(&c, "memory"));
    int status = run_in("memory", take_memory, 64);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(cgroup_ran_out_of_memory(&c, "memory"));
    assert_int_equal(cgroup_remove(&c, "memory"), 0);
}

static void test_less_memory_than_the_limit_is_given(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .memory_bytes = 96 * MIB };
    if (!c.can[CGROUP_MEMORY])
        skip();
    assert_int_equal(cgroup_create(&c, "memory", &limits, &err), 0);
    assert_int_equal(run_in("memory", take_memory, 64), 0);
    assert_false(cgroup_ran_out_of_memory(&c, "memory"));
    assert_int_equal(cgroup_remove(&c, "memory"), 0);
}

static void test_processes_are_limited(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .pids = 3 };
    if (!c.can[CGROUP_PIDS])
        skip();
    assert_int_equal(cgroup_create(&c, "pids", &limits, &err), 0);
    int status = run_in("pids", fork_many, 10);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2);
    assert_int_equal(cgroup_remove(&c, "pids"), 0);
}

static void test_a_group_in_use_is_not_removed(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "used", &(struct cgroup_limits){ 0 }, &err), 0);
    assert_int_equal(run_in("used", try_remove, -EBUSY), 0);
    assert_int_equal(cgroup_remove(&c, "used"), 0);
}

static void test_sweep_removes_what_was_left(void **state)
{
    (void)state;
    assert_int_equal(cgroup_create(&c, "left", &(struct cgroup_limits){ .pids = 9 }, &err), 0);
    assert_true(cgroups_sweep(&c) >= 1);
    assert_int_equal(cgroups_sweep(&c), 0);
}

/* With an argument: the group that they are made in. */
int main(int argc, char **argv)
{
    char owner[64], text[128];
    snprintf(owner, sizeof(owner), "test-%d", (int)getpid());
    const struct cgroups_options o = { .where = argc > 1 ? argv[1] : CGROUP_AUTO, .owner = owner };
    cgroups_open(&c, &o);
    if (c.version == CGROUP_NONE) {
        printf("skipped: this host gives us no control groups: %s\n", c.missing);
        return SKIP;
    }
    cgroups_text(&c, text, sizeof(text));
    printf("%s %s\n", text, c.missing);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_limited_and_the_kill_is_seen),
        cmocka_unit_test(test_less_memory_than_the_limit_is_given),
        cmocka_unit_test(test_processes_are_limited),
        cmocka_unit_test(test_a_group_in_use_is_not_removed),
        cmocka_unit_test(test_sweep_removes_what_was_left),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    cgroups_close(&c);
    return rc;
}
