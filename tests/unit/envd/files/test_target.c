#include "envd/files/target.h"

#include "common/base/cleanup.h"
#include "files_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct user tester(void)
{
    struct user user = { 0 };
    assert_int_equal(user_find(STR("tester"), &user, NULL), 0);
    return user;
}

/* Write a file of n bytes; the first failure is returned. */
static int write_file(const char *path, size_t n, struct err *err)
{
    static const char zeros[65536];
    static struct target t;
    struct user user = tester();
    int rc = target_open(&t, path, &user, err);
    if (rc < 0)
        return rc;
    while (rc == 0 && n) {
        size_t piece = n < sizeof(zeros) ? n : sizeof(zeros);
        rc = target_write(&t, zeros, piece, err);
        n -= piece;
    }
    if (rc < 0) {
        target_abandon(&t);
        return rc;
    }
    return target_commit(&t, &user, NULL, 0, err);
}

static void test_two_uploads_at_once(void **state)
{
    struct fixture *x = *state;
    static struct target a, b;
    struct user user = tester();
    const char *path = tempdir_path(&x->dir, "home/f");
    struct err err = { 0 };
    assert_int_equal(target_open(&a, path, &user, &err), 0);
    assert_int_equal(target_open(&b, path, &user, &err), 0);
    assert_int_equal(target_write(&a, "first", 5, &err), 0);
    assert_int_equal(target_write(&b, "second", 6, &err), 0);
    assert_int_equal(target_commit(&a, &user, NULL, 0, &err), 0);
    assert_int_equal(target_commit(&b, &user, NULL, 0, &err), 0);
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/f");
    assert_string_equal(text, "second");
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
}

static void test_the_directory_goes_away_meanwhile(void **state)
{
    struct fixture *x = *state;
    static struct target t;
    struct user user = tester();
    struct err err = { 0 };
    assert_int_equal(target_open(&t, tempdir_path(&x->dir, "home/d/f"), &user, &err), 0);
    assert_int_equal(rmdir(tempdir_path(&x->dir, "home/d")), 0);
    assert_int_equal(target_commit(&t, &user, NULL, 0, &err), -ENOENT);
    assert_int_equal(err.code, ERR_INTERNAL);
}

static void test_a_directory_takes_the_name_meanwhile(void **state)
{
    struct fixture *x = *state;
    static struct target t;
    struct user user = tester();
    struct err err = { 0 };
    assert_int_equal(target_open(&t, tempdir_path(&x->dir, "home/f"), &user, &err), 0);
    tempdir_mkdir(&x->dir, "home/f");
    assert_int_equal(target_commit(&t, &user, NULL, 0, &err), -EISDIR);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
}

static void test_a_very_long_name(void **state)
{
    struct fixture *x = *state;
    char name[NAME_MAX + 8] = "home/";
    struct err err = { 0 };
    memset(name + 5, 'n', NAME_MAX);
    tempdir_write(&x->dir, name, "old");
    assert_int_equal(write_file(tempdir_path(&x->dir, name), 3, &err), 0);
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
    name[5 + NAME_MAX] = 'n';
    assert_int_equal(write_file(tempdir_path(&x->dir, name), 3, &err), -ENAMETOOLONG);
    assert_int_equal(err.code, ERR_INVALID);
}

static void test_a_limit_on_file_size(void **state)
{
    struct fixture *x = *state;
    struct rlimit old;
    struct rlimit limit = { 100000, 100000 };
    struct err err = { 0 };
    tempdir_write(&x->dir, "home/f", "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = write_file(tempdir_path(&x->dir, "home/f"), 1000000, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, -EFBIG);
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/f");
    assert_string_equal(text, "old");
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
}

/* In a mount namespace of its own, a small tmpfs on home; exits 0 when all is as it should be. */
static void run_on_small_disk(const struct fixture *x, const char *options, size_t bytes,
                              const char *message)
{
    const char *home = tempdir_path(&x->dir, "home");
    struct err err = { 0 };
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", home, "tmpfs", 0, options) < 0)
        _exit(77);
    tempdir_write(&x->dir, "home/f", "old");
    int rc = write_file(tempdir_path(&x->dir, "home/f"), bytes, &err);
    if (rc != -ENOSPC || strcmp(err.msg, message) != 0 || err.code != ERR_EXHAUSTED) {
        fprintf(stderr, "%d: %s\n", rc, err.msg);
        _exit(1);
    }
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/f");
    _exit(text && strcmp(text, "old") == 0 && tempdir_count(&x->dir, "home") == 1 ? 0 : 2);
}

static void on_small_disk(const struct fixture *x, const char *options, size_t bytes,
                          const char *message)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run_on_small_disk(x, options, bytes, message);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no mount namespace can be had here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_full_disk(void **state)
{
    on_small_disk(*state, "size=1m", 2U << 20, "not enough disk space available");
}

static void test_no_inodes(void **state)
{
    on_small_disk(*state, "size=1m,nr_inodes=2", 10, "not enough inodes available");
}

/* A file system that has no nameless files. */
static void test_temporary_names(void **state)
{
    struct fixture *x = *state;
    static struct target t;
    struct user user = tester();
    struct err err = { 0 };
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "files.nameless", 1);
    tempdir_write(&x->dir, "home/f", "old");
    assert_int_equal(target_open(&t, tempdir_path(&x->dir, "home/f"), &user, &err), 0);
    assert_int_equal(tempdir_count(&x->dir, "home"), 2);
    target_abandon(&t);
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
    assert_int_equal(write_file(tempdir_path(&x->dir, "home/f"), 5, &err), 0);
    assert_int_equal(write_file(tempdir_path(&x->dir, "home/g"), 5, &err), 0);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(tempdir_count(&x->dir, "home"), 2);
    struct stat st;
    assert_int_equal(stat(tempdir_path(&x->dir, "home/g"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    assert_int_equal(st.st_size, 5);
}

static void test_a_quota(void **state)
{
    struct fixture *x = *state;
    struct err err = { 0 };
    NEED_FAULT_POINTS();
    tempdir_write(&x->dir, "home/f", "old");
    setenv("SANDPIT_FAULTS", "files.quota", 1);
    assert_int_equal(write_file(tempdir_path(&x->dir, "home/f"), 5, &err), -EDQUOT);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(err.code, ERR_EXHAUSTED);
    assert_string_equal(err.msg, "not enough disk space available");
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/f");
    assert_string_equal(text, "old");
}

/* A file that is mounted on its own cannot be renamed over. */
static void run_on_mounted_file(const struct fixture *x)
{
    const char *path = tempdir_path(&x->dir, "home/f");
    struct err err = { 0 };
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(tempdir_path(&x->dir, "other"), path, NULL, MS_BIND, NULL) < 0)
        _exit(77);
    if (write_file(path, 100000, &err) < 0)
        _exit(1);
    struct stat st;
    _exit(stat(path, &st) == 0 && st.st_size == 100000 && tempdir_count(&x->dir, "home") == 1 ? 0
                                                                                              : 2);
}

static void test_a_mounted_file(void **state)
{
    struct fixture *x = *state;
    int status;
    tempdir_write(&x->dir, "home/f", "below");
    tempdir_write(&x->dir, "other", "old");
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        run_on_mounted_file(x);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no mount namespace can be had here\n");
        skip();
    }
    assert_int_equal(status, 0);
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/f");
    assert_string_equal(text, "below");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_two_uploads_at_once),
        CASE(test_the_directory_goes_away_meanwhile),
        CASE(test_a_directory_takes_the_name_meanwhile),
        CASE(test_a_very_long_name),
        CASE(test_a_limit_on_file_size),
        CASE(test_full_disk),
        CASE(test_no_inodes),
        CASE(test_a_mounted_file),
        CASE(test_temporary_names),
        CASE(test_a_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
