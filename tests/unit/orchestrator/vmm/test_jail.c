/* Real children in the jail. What needs root is skipped without it. */
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/vmm/jail.h"
#include "orchestrator/vmm/process.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TEST_UID    201001
#define DEADLINE_MS 20000
#define LOG_SIZE    65536

static struct tempdir dir;
static struct jail_means means;

struct result {
    int rc;
    struct err err;
    struct process_exit how;
    char log[LOG_SIZE];
};

static struct jail_spec spec_of(char *const *argv, int log_fd)
{
    return (struct jail_spec){ .program = argv[0],
                               .argv = argv,
                               .means = means,
                               .uid = TEST_UID,
                               .max_file_size = 1 << 20,
                               .log_fd = log_fd };
}

/* Run a program with `spec` changed by `change`, to its end. */
static struct result *run(char *const *argv, void (*change)(struct jail_spec *spec))
{
    static struct result r;
    struct jail_child child;
    r = (struct result){ 0 };
    AUTO_CLOSE int log = jail_log_new(LOG_SIZE);
    assert_true(log >= 0);
    struct jail_spec spec = spec_of(argv, log);
    if (change)
        change(&spec);
    r.rc = jail_spawn(&child, &spec, &r.err);
    if (r.rc == 0) {
        assert_int_equal(process_wait(child.pidfd, DEADLINE_MS, &r.how), 0);
        close(child.pidfd);
    }
    jail_log_read(log, r.log, sizeof(r.log));
    return &r;
}

static struct result *shell_with(const char *script, void (*change)(struct jail_spec *spec))
{
    char *argv[] = { (char[]){ "/bin/sh" }, (char[]){ "-c" }, (char *)(uintptr_t)script, NULL };
    return run(argv, change);
}

static struct result *shell(const char *script)
{
    return shell_with(script, NULL);
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip();
}

/* The value of a line "Key:\tvalue" in /proc/PID/status text. */
static const char *field(const char *status, const char *key)
{
    static char value[256];
    const char *at = strstr(status, key);
    assert_non_null(at);
    at += strlen(key);
    at += strspn(at, " \t");
    size_t n = strcspn(at, "\n");
    while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
        n--;
    snprintf(value, sizeof(value), "%.*s", (int)n, at);
    return value;
}

static void test_privileges_are_gone(void **state)
{
    (void)state;
    need_root();
    struct result *r = shell("cat /proc/self/status");
    assert_int_equal(r->rc, 0);
    assert_string_equal(field(r->log, "\nUid:"), "201001\t201001\t201001\t201001");
    assert_string_equal(field(r->log, "\nGid:"), "201001\t201001\t201001\t201001");
    assert_string_equal(field(r->log, "\nGroups:"), "");
    static const char *const caps[] = { "\nCapInh:", "\nCapPrm:", "\nCapEff:", "\nCapBnd:",
                                        "\nCapAmb:" };
    for (size_t i = 0; i < ARRAY_LEN(caps); i++)
        assert_string_equal(field(r->log, caps[i]), "0000000000000000");
    assert_string_equal(field(r->log, "\nNoNewPrivs:"), "1");
    assert_string_equal(field(r->log, "\nSigBlk:"), "0000000000000000");
    assert_string_equal(field(r->log, "\nSigIgn:"), "0000000000000000");
}

static void test_network_namespace_is_empty(void **state)
{
    (void)state;
    if (!means.net_ns)
        skip();
    struct result *r = shell("tail -n +3 /proc/self/net/dev | cut -d: -f1 | tr -d ' '; "
                             "cat /proc/self/net/route | wc -l; readlink /proc/self/ns/net");
    char here[64] = { 0 };
    assert_true(readlink("/proc/self/ns/net", here, sizeof(here) - 1) > 0);
    assert_memory_equal(r->log, "lo\n", 3);
    assert_null(strstr(r->log, here));
    assert_non_null(strstr(r->log, "net:["));
}

static void test_session_and_surroundings(void **state)
{
    (void)state;
    assert_int_equal(setenv("SANDPIT_TEST_SECRET", "xyzzy", 1), 0);
    struct result *r = shell("cat; umask; pwd; env | sort | cut -d= -f1 | tr '\\n' ' '; echo; "
                             "ulimit -c; ulimit -n; ulimit -f; cut -d' ' -f1,6 /proc/$$/stat");
    unsetenv("SANDPIT_TEST_SECRET");
    int pid, session, nofile, fsize;
    char names[128];
    assert_int_equal(
        sscanf(r->log, "0077 / %127[^\n] 0 %d %d %d %d", names, &nofile, &fsize, &pid, &session),
        5);
    assert_string_equal(names, "LC_ALL PATH PWD ");
    assert_int_equal(pid, session);
    assert_int_equal(nofile, 256);
    assert_int_equal(fsize, (1 << 20) / 512);
}

static void test_own_dev_and_masked_directories(void **state)
{
    (void)state;
    if (!means.mount_ns)
        skip();
    struct result *r = shell("ls /dev | tr '\\n' ' '; ls -A /root /home /tmp /run /var; "
                             "touch /dev/x /tmp/x /var/x; head -c 4 /dev/zero | wc -c; "
                             "echo x > /dev/null && echo written");
    assert_memory_equal(r->log, "null random urandom zero ", 25);
    assert_null(strstr(strchr(r->log, ' '), "sandpit"));
    assert_non_null(strstr(r->log, "/root:\n\n"));
    assert_non_null(strstr(r->log, "/var:\n"));
    assert_non_null(strstr(r->log, "cannot touch '/tmp/x'"));
    assert_non_null(strstr(r->log, "cannot touch '/dev/x'"));
    assert_non_null(strstr(r->log, "4\nwritten"));
}

static void without_mounts(struct jail_spec *spec)
{
    spec->means.mount_ns = false;
}

/* Even where the directories cannot be masked, permissions keep the child out. */
static void test_files_of_others_are_closed(void **state)
{
    char script[3 * PATH_MAX];
    (void)state;
    need_root();
    assert_int_equal(chmod(dir.path, 0755), 0);
    tempdir_write(&dir, "database", "root's");
    assert_int_equal(chmod(tempdir_path(&dir, "database"), 0600), 0);
    tempdir_mkdir(&dir, "other");
    tempdir_write(&dir, "other/disk", "another VM's");
    assert_int_equal(chown(tempdir_path(&dir, "other"), TEST_UID + 1, TEST_UID + 1), 0);
    assert_int_equal(chmod(tempdir_path(&dir, "other"), 0700), 0);
    tempdir_write(&dir, "mine", "its own");
    assert_int_equal(chown(tempdir_path(&dir, "mine"), TEST_UID, TEST_UID), 0);
    assert_int_equal(chmod(tempdir_path(&dir, "mine"), 0600), 0);
    snprintf(script, sizeof(script),
             "for f in database other/disk mine; do cat %s/$f && echo \" read\"; done 2>&1; "
             "kill -0 %d 2>&1",
             dir.path, (int)getpid());
    struct result *r = shell_with(script, without_mounts);
    assert_non_null(strstr(r->log, "database: Permission denied"));
    assert_non_null(strstr(r->log, "other/disk: Permission denied"));
    assert_non_null(strstr(r->log, "its own read"));
    assert_non_null(strstr(r->log, "not permitted"));
    assert_null(strstr(r->log, "root's"));
}

static int given[3];

static void give_three(struct jail_spec *spec)
{
    spec->fds = given;
    spec->nfds = 3;
}

static void test_descriptors_are_those_given(void **state)
{
    (void)state;
    /* Given ones in an order that collides with the target numbers, and one that stays behind. */
    static const char *const names[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++) {
        tempdir_write(&dir, names[i], names[i]);
        given[2 - i] = open(tempdir_path(&dir, names[i]), O_RDONLY);
        assert_true(given[2 - i] >= 0);
    }
    int leak = open(tempdir_path(&dir, "a"), O_RDONLY); /* not close-on-exec */
    struct result *r =
        shell_with("cat <&3; cat <&4; cat <&5; echo; ls /proc/$$/fd; true", give_three);
    close(leak);
    for (int i = 0; i < 3; i++)
        close(given[i]);
    assert_string_equal(r->log, "cba\n0\n1\n2\n3\n4\n5");
}

static void test_file_size_is_limited(void **state)
{
    (void)state;
    tempdir_write(&dir, "grow", "");
    assert_int_equal(chmod(dir.path, 0755), 0);
    assert_int_equal(chmod(tempdir_path(&dir, "grow"), 0666), 0);
    char script[PATH_MAX + 64];
    snprintf(script, sizeof(script), "exec head -c 3000000 /dev/zero > %s",
             tempdir_path(&dir, "grow"));
    struct result *r = shell_with(script, without_mounts);
    struct stat st;
    assert_int_equal(stat(tempdir_path(&dir, "grow"), &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(r->how.signaled || r->how.number != 0);
}

static void test_log_is_bounded(void **state)
{
    (void)state;
    struct result *r = shell("echo first; yes | head -c 1000000; echo last");
    assert_memory_equal(r->log, "first\ny\n", 8);
    assert_null(strstr(r->log, "last"));
    assert_true(strlen(r->log) < LOG_SIZE);
}

static void test_missing_program_is_told(void **state)
{
    (void)state;
    char *argv[] = { (char[]){ "/nonexistent/program" }, NULL };
    struct result *r = run(argv, NULL);
    assert_int_equal(r->rc, -ENOENT);
    assert_non_null(strstr(r->err.msg, "cannot execute /nonexistent/program"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and no child is left */
    assert_int_equal(errno, ECHILD);
}

static void impossible_fd(struct jail_spec *spec)
{
    static const int fds[] = { 9999 };
    spec->fds = fds;
    spec->nfds = 1;
}

static void test_failing_step_is_told(void **state)
{
    (void)state;
    struct result *r = shell_with("echo ran", impossible_fd);
    assert_int_equal(r->rc, -EBADF);
    assert_non_null(strstr(r->err.msg, "cannot hand descriptors to /bin/sh"));
    assert_string_equal(r->log, "");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static pid_t noted_pid;
static uint64_t noted_ticks;

static int refuse(void *user, pid_t pid, uint64_t ticks, struct err *err)
{
    (void)user;
    noted_pid = pid;
    noted_ticks = ticks;
    return err_set(err, ERR_INTERNAL, EIO, "refused by the test");
}

static void with_refusal(struct jail_spec *spec)
{
    spec->on_forked = refuse;
}

static void test_refused_child_never_runs(void **state)
{
    (void)state;
    struct result *r = shell_with("echo ran", with_refusal);
    assert_int_equal(r->rc, -EIO);
    assert_string_equal(r->err.msg, "refused by the test");
    assert_string_equal(r->log, "");
    assert_true(noted_pid > 0 && noted_ticks > 0);
    assert_int_equal(process_open(noted_pid, noted_ticks), -ESRCH);
}

static int die(void *user, pid_t pid, uint64_t ticks, struct err *err)
{
    (void)user;
    (void)pid;
    (void)ticks;
    (void)err;
    _exit(0);
}

/* A daemon that is killed before it has written the process down. */
static void test_child_of_a_dying_parent_never_runs(void **state)
{
    (void)state;
    char text[64];
    AUTO_CLOSE int log = jail_log_new(LOG_SIZE);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = { (char[]){ "/bin/echo" }, (char[]){ "ran" }, NULL };
        struct jail_spec spec = spec_of(argv, log);
        struct jail_child child;
        spec.on_forked = die;
        _exit(jail_spawn(&child, &spec, NULL) < 0);
    }
    int reaped = 0, status = 0;
    while (waitpid(-1, &status, 0) > 0) {
        assert_int_equal(status, 0);
        reaped++;
    }
    assert_int_equal(reaped, 2); /* the parent, and its child that became ours */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
    assert_int_equal(jail_log_read(log, text, sizeof(text)), 0);
}

static void test_weakness_names_what_is_missing(void **state)
{
    char text[256];
    (void)state;
    jail_weakness(&(struct jail_means){ true, true, true }, text, sizeof(text));
    assert_string_equal(text, "");
    jail_weakness(&(struct jail_means){ false, true, false }, text, sizeof(text));
    assert_string_equal(text, "VMMs run under the daemon's own uid; VMMs see the host's /dev and "
                              "directories");
}

static void no_means(struct jail_spec *spec)
{
    spec->means = (struct jail_means){ 0 };
}

static void test_without_means_it_runs_all_the_same(void **state)
{
    (void)state;
    struct result *r = shell_with("grep -E 'CapEff|NoNewPrivs' /proc/self/status", no_means);
    assert_int_equal(r->rc, 0);
    assert_string_equal(field(r->log, "NoNewPrivs:"), "1");
}

/* What a daemon of an ordinary user can still do, tried in a child that is one. */
static void test_ordinary_user(void **state)
{
    (void)state;
    need_root();
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(TEST_UID + 2) < 0 || setuid(TEST_UID + 2) < 0)
            _exit(1);
        jail_probe(&means);
        if (means.own_uid || means.mount_ns)
            _exit(2);
        struct result *r = shell("cat /proc/self/status");
        if (r->rc != 0 || !strstr(r->log, "CapEff:\t0000000000000000") ||
            !strstr(r->log, "NoNewPrivs:\t1"))
            _exit(3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_privileges_are_gone),
        cmocka_unit_test(test_network_namespace_is_empty),
        cmocka_unit_test(test_session_and_surroundings),
        cmocka_unit_test(test_own_dev_and_masked_directories),
        cmocka_unit_test(test_files_of_others_are_closed),
        cmocka_unit_test(test_descriptors_are_those_given),
        cmocka_unit_test(test_file_size_is_limited),
        cmocka_unit_test(test_log_is_bounded),
        cmocka_unit_test(test_missing_program_is_told),
        cmocka_unit_test(test_failing_step_is_told),
        cmocka_unit_test(test_refused_child_never_runs),
        cmocka_unit_test(test_child_of_a_dying_parent_never_runs),
        cmocka_unit_test(test_weakness_names_what_is_missing),
        cmocka_unit_test(test_without_means_it_runs_all_the_same),
        cmocka_unit_test(test_ordinary_user),
    };
    tempdir_init(&dir);
    jail_probe(&means);
    if (geteuid() == 0)
        print_message("means: uid %d, network %d, mounts %d\n", means.own_uid, means.net_ns,
                      means.mount_ns);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tempdir_deinit(&dir);
    return rc;
}
