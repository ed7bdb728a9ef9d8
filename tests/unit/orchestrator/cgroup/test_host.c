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

/* A child that waits for a byte, then writes `mib` of memory. Returns the pipe's end. */
static pid_t start_child(int *go, size_t mib)
{
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        if (read(ends[0], &byte, 1) != 1)
            _exit(2);
        char *p = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            _exit(1);
        for (size_t i = 0; i < mib * MIB; i += 4096)
            ((volatile char *)p)[i] = 1;
        _exit(0);
    }
    assert_true(pid > 0);
    close(ends[0]);
    *go = ends[1];
    return pid;
}

static int end_child(pid_t pid, int go)
{
    int status;
    assert_int_equal(write(go, "", 1), 1);
    close(go);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_memory_is_limited_and_the_kill_is_seen(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .memory_bytes = 32 * MIB };
    int go;
    if (!c.can[CGROUP_MEMORY])
        skip();
    pid_t pid = start_child(&go, 64);
    assert_int_equal(cgroup_create(&c, "memory", &limits, &err), 0);
    assert_int_equal(cgroup_enter(&c, "memory", pid, &err), 0);
    assert_int_equal(cgroup_remove(&c, "memory"), -EBUSY);
    assert_false(cgroup_ran_out_of_memory(&c, "memory"));
    int status = end_child(pid, go);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(cgroup_ran_out_of_memory(&c, "memory"));
    assert_int_equal(cgroup_remove(&c, "memory"), 0);
}

static void test_less_memory_than_the_limit_is_given(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .memory_bytes = 96 * MIB };
    int go;
    if (!c.can[CGROUP_MEMORY])
        skip();
    pid_t pid = start_child(&go, 64);
    assert_int_equal(cgroup_create(&c, "memory", &limits, &err), 0);
    assert_int_equal(cgroup_enter(&c, "memory", pid, &err), 0);
    int status = end_child(pid, go);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(cgroup_ran_out_of_memory(&c, "memory"));
    assert_int_equal(cgroup_remove(&c, "memory"), 0);
}

/* Fork until the kernel refuses, at most 10 times; how often it did not. */
static int fork_many(void)
{
    pid_t made[10];
    int n = 0;
    while (n < 10) {
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

static void test_processes_are_limited(void **state)
{
    (void)state;
    const struct cgroup_limits limits = { .pids = 3 };
    int go[2], status;
    char byte;
    if (!c.can[CGROUP_PIDS])
        skip();
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(read(go[0], &byte, 1) == 1 ? fork_many() : 100);
    assert_int_equal(cgroup_create(&c, "pids", &limits, &err), 0);
    assert_int_equal(cgroup_enter(&c, "pids", pid, &err), 0);
    assert_int_equal(write(go[1], "", 1), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(go[0]);
    close(go[1]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2);
    assert_int_equal(cgroup_remove(&c, "pids"), 0);
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
        cmocka_unit_test(test_sweep_removes_what_was_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
