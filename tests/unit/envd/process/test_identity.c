/* Who a process is and what it sees: user, groups, environment, working directory. */
#include "tests/support/test.h"
#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct rpc_call *run(struct harness *h, const struct start_args *a,
                            const struct call_options *o)
{
    struct rpc_call *c = start_command(h, a, o);
    run_until(h, &c->closed);
    return c;
}

static void environment_has_its_order(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    envd_set_env(&h.envd.envs, STR("A"), "default");
    envd_set_env(&h.envd.envs, STR("B"), "default");
    envd_set_env(&h.envd.envs, STR("E2B_SANDBOX"), "forged");
    envd_set_env(&h.envd.envs, STR("LOGNAME"), "default");
    envd_set_env(&h.envd.internal_envs, STR("E2B_SANDBOX"), "true");
    const char *args[] = { "-c", "echo $A $B $E2B_SANDBOX $LOGNAME $PATH", NULL };
    struct rpc_call *c =
        run(&h,
            &(struct start_args){
                .cmd = "/bin/sh", .args = args, .env_name = "B", .env_value = "request $x\n" },
            NULL);
    assert_str(data_of(c, 0), "default request $x true default /usr/bin:/bin\n");
    /* The request wins over everything. */
    c = run(&h,
            &(struct start_args){
                .cmd = "/bin/sh", .args = args, .env_name = "E2B_SANDBOX", .env_value = "mine" },
            NULL);
    assert_str(data_of(c, 0), "default default mine default /usr/bin:/bin\n");
    harness_close(&h);
}

static void environment_has_nothing_else(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    setenv("SANDPIT_TEST_SECRET", "leaks", 1);
    struct user me;
    user_find(str_of(h.envd.default_user), &me, NULL);
    struct rpc_call *c = run(&h, &(struct start_args){ .cmd = "env" }, NULL);
    char expected[8192];
    snprintf(expected, sizeof(expected), "PATH=/usr/bin:/bin\nHOME=%s\nUSER=%s\nLOGNAME=%s\n",
             me.home, me.name, me.name);
    assert_str(data_of(c, 0), expected);
    harness_close(&h);
}

static void command_is_looked_up_in_its_own_path(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    char dir[] = "/tmp/sandpit-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char file[64], path[128];
    snprintf(file, sizeof(file), "%s/hello", dir);
    snprintf(path, sizeof(path), "/no/such/dir:%s:/usr/bin", dir);
    FILE *f = fopen(file, "w");
    fputs("#!/bin/sh\necho here\n", f);
    fclose(f);
    struct start_args a = { .cmd = "hello", .env_name = "PATH", .env_value = path };
    /* There, but without the right to be executed. */
    chmod(file, 0644);
    struct rpc_call *c = run(&h, &a, NULL);
    assert_int_equal(c->exit_code, 126);
    chmod(file, 0755);
    c = run(&h, &a, NULL);
    assert_str(data_of(c, 0), "here\n");
    c = run(&h, &(struct start_args){ .cmd = "hello" }, NULL);
    assert_int_equal(c->exit_code, 127);
    unlink(file);
    rmdir(dir);
    harness_close(&h);
}

static void working_directory_is_resolved(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    assert_str(data_of(run(&h, &(struct start_args){ .cmd = "pwd" }, NULL), 0), "/\n");
    struct rpc_call *c = run(&h, &(struct start_args){ .cmd = "pwd", .cwd = "/usr/bin" }, NULL);
    assert_str(data_of(c, 0), "/usr/bin\n");
    struct user me;
    user_find(str_of(h.envd.default_user), &me, NULL);
    char home[PATH_MAX + 2];
    snprintf(home, sizeof(home), "%s\n", me.home);
    c = run(&h, &(struct start_args){ .cmd = "pwd", .cwd = "~" }, NULL);
    assert_str(data_of(c, 0), home);
    c = run(&h, &(struct start_args){ .cmd = "pwd", .cwd = "~else" }, NULL);
    assert_int_equal(c->err.code, ERR_INVALID);
    harness_close(&h);
}

static void unknown_user_is_unauthenticated(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = run(&h, &(struct start_args){ .cmd = "id" },
                             &(struct call_options){ .user = "no-such-user" });
    assert_int_equal(c->err.code, ERR_UNAUTHENTICATED);
    assert_string_equal(c->err.msg, "invalid username: 'no-such-user'");
    harness_close(&h);
}

static void process_runs_as_the_user(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct harness h;
    harness_open(&h);
    struct call_options nobody = { .user = "nobody" };
    const char *args[] = {
        "-c",
        "id -un; id -Gn; echo $USER; grep -E '^(Uid|Gid):' /proc/self/status; echo x >/root/y", NULL
    };
    struct user u;
    assert_int_equal(user_find(STR("nobody"), &u, NULL), 0);
    struct rpc_call *c = run(&h, &(struct start_args){ .cmd = "sh", .args = args }, &nobody);
    char expected[256];
    snprintf(expected, sizeof(expected),
             "nobody\nnogroup\nnobody\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", u.uid, u.uid,
             u.uid, u.uid, u.gid, u.gid, u.gid, u.gid);
    assert_str(data_of(c, 0), expected);
    assert_int_not_equal(c->exit_code, 0);
    /* A directory that only root may enter. */
    c = run(&h, &(struct start_args){ .cmd = "pwd", .cwd = "/root" }, &nobody);
    assert_int_equal(c->err.code, ERR_INVALID);
    assert_string_equal(c->err.msg,
                        "cwd '/root' cannot be entered by user 'nobody': Permission denied");
    /* A terminal is its user's. */
    const char *tty_args[] = { "-c", "stat -c %U $(tty); echo ok >$(tty)", NULL };
    c = run(&h, &(struct start_args){ .cmd = "sh", .args = tty_args, .pty = true }, &nobody);
    assert_str(data_of(c, 2), "nobody\r\nok\r\n");
    /* envd itself is what it was. */
    assert_int_equal(geteuid(), 0);
    harness_close(&h);
}

static void priority_is_that_of_a_user_process(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct harness h;
    harness_open(&h);
    int before = nice(0);
    assert_int_equal(nice(-5), before - 5);
    const char *args[] = { "-c", "nice; ionice", NULL };
    struct rpc_call *c = run(&h, &(struct start_args){ .cmd = "sh", .args = args }, NULL);
    assert_int_equal(nice(5), before);
    assert_str(data_of(c, 0), "0\nbest-effort: prio 4\n");
    harness_close(&h);
}

/* Where cgroup v2 is mounted, in `dir`; false when nowhere. */
static bool find_cgroup2(char *dir, size_t size)
{
    AUTO_FCLOSE FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024], at[512], type[64];
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%*s %511s %63s", at, type) == 2 && strcmp(type, "cgroup2") == 0)
            return snprintf(dir, size, "%s/sandpit-test-%d", at, getpid()) < (int)size;
    }
    return false;
}

static void process_is_put_into_its_cgroup(void **state)
{
    (void)state;
    char dir[600];
    if (!find_cgroup2(dir, sizeof(dir)) || mkdir(dir, 0755) < 0)
        skip();
    struct harness h;
    harness_open(&h);
    h.envd.cgroup_user = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(h.envd.cgroup_user >= 0);
    const char *args[] = { "-c", "grep ^0: /proc/self/cgroup", NULL };
    struct start_args a = { .cmd = "sh", .args = args };
    struct rpc_call *c = run(&h, &a, NULL);
    char expected[64];
    snprintf(expected, sizeof(expected), "/sandpit-test-%d\n", getpid());
    assert_non_null(memmem(data_of(c, 0).p, data_of(c, 0).n, expected, strlen(expected)));
    /* Not those of the system. */
    a.tag = "_system";
    c = run(&h, &a, NULL);
    assert_null(memmem(data_of(c, 0).p, data_of(c, 0).n, "sandpit-test", 12));
    close(h.envd.cgroup_user);
    harness_close(&h);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(environment_has_its_order),
        cmocka_unit_test(environment_has_nothing_else),
        cmocka_unit_test(command_is_looked_up_in_its_own_path),
        cmocka_unit_test(working_directory_is_resolved),
        cmocka_unit_test(unknown_user_is_unauthenticated),
        cmocka_unit_test(process_runs_as_the_user),
        cmocka_unit_test(process_is_put_into_its_cgroup),
        cmocka_unit_test(priority_is_that_of_a_user_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
