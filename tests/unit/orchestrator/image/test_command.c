#include "common/base/cleanup.h"
#include "orchestrator/image/command.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

static int run(const struct tempdir *d, const char *const *argv, struct buf *output,
               struct err *err)
{
    struct command c = {
        .argv = argv, .package = "the-package", .log = tempdir_path(d, "log"), .output = output
    };
    return command_run(&c, err);
}

static int shell(const struct tempdir *d, const char *script, struct buf *output, struct err *err)
{
    const char *const argv[] = { "sh", "-c", script, NULL };
    return run(d, argv, output, err);
}

static void test_output_and_log_are_apart(void **state)
{
    (void)state;
    struct tempdir d;
    struct buf out = { 0 };
    tempdir_init(&d);
    assert_int_equal(shell(&d, "echo seen; echo told >&2; cat", &out, NULL), 0);
    assert_str(buf_str(&out), "seen\n");
    AUTO_FREE char *log = tempdir_read(&d, "log");
    assert_string_equal(log, "told\n");
    buf_deinit(&out);
    tempdir_deinit(&d);
}

static void test_output_is_bounded(void **state)
{
    (void)state;
    struct tempdir d;
    struct buf out = { 0 };
    tempdir_init(&d);
    assert_int_equal(shell(&d, "head -c 1000000 /dev/zero", &out, NULL), 0);
    assert_in_range(buf_len(&out), 1, COMMAND_OUTPUT_MAX);
    buf_deinit(&out);
    tempdir_deinit(&d);
}

static void test_failures_are_told_in_one_line(void **state)
{
    (void)state;
    static const char *const missing[] = { "no-such-program-here", NULL };
    struct tempdir d;
    struct err err;
    tempdir_init(&d);
    assert_int_equal(command_check("sh", "dash", &err), 0);
    assert_int_equal(command_check("no-such-program-here", "p", &err), -ENOENT);
    assert_string_equal(err.msg, "no-such-program-here is missing: install the package p");
    assert_int_equal(run(&d, missing, NULL, &err), -ENOENT);
    assert_string_equal(err.msg,
                        "no-such-program-here is missing: install the package the-package");
    assert_int_equal(shell(&d, "echo first; echo 'E: the reason'; echo; exit 3", NULL, &err), -EIO);
    assert_non_null(strstr(err.msg, "sh failed: E: the reason (log: "));
    assert_int_equal(shell(&d, "echo 'write error: No space left on device'; exit 1", NULL, &err),
                     -ENOSPC);
    assert_non_null(strstr(err.msg, "the disk is full"));
    assert_int_equal(shell(&d, "kill -9 $$", NULL, &err), -EIO);
    assert_non_null(strstr(err.msg, "killed by signal 9"));
    tempdir_deinit(&d);
}

static void test_full_disk_is_seen_further_up_in_the_log(void **state)
{
    (void)state;
    struct tempdir d;
    struct err err;
    tempdir_init(&d);
    assert_int_equal(
        shell(&d, "echo 'dpkg: No space left on device'; echo 'E: apt failed'; exit 1", NULL, &err),
        -ENOSPC);
    tempdir_deinit(&d);
}

static void on_tick(void *user, const char *line)
{
    (void)user;
    if (strcmp(line, "started") == 0)
        command_interrupt();
}

/* Interruption is for good, so it has a process of its own. */
static void test_interrupt_ends_the_command_and_its_children(void **state)
{
    (void)state;
    struct tempdir d;
    int status;
    tempdir_init(&d);
    pid_t pid = fork();
    if (pid == 0) {
        static const char *const argv[] = { "sh", "-c", "echo started; sleep 600 & wait", NULL };
        struct err err = { 0 };
        struct command c = {
            .argv = argv, .package = "x", .log = tempdir_path(&d, "log"), .tick = on_tick
        };
        bool ok = command_run(&c, &err) == -EINTR && command_run(&c, &err) == -EINTR &&
                  strcmp(err.msg, "interrupted") == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_log_are_apart),
        cmocka_unit_test(test_output_is_bounded),
        cmocka_unit_test(test_failures_are_told_in_one_line),
        cmocka_unit_test(test_full_disk_is_seen_further_up_in_the_log),
        cmocka_unit_test(test_interrupt_ends_the_command_and_its_children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
