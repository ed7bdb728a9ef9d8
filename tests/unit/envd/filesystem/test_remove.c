#include "envd/filesystem/remove.h"

#include "common/base/cleanup.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tempdir dir;
static const atomic_bool never;

static int setup(void **state)
{
    (void)state;
    tempdir_init_in_memory(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tempdir_deinit(&dir);
    return 0;
}

static void remove_ok(const char *name)
{
    struct err err = { 0 };
    if (remove_tree(tempdir_path(&dir, name), &never, &err) < 0)
        fail_msg("%s", err.msg);
    assert_false(tempdir_exists(&dir, name));
}

static void test_a_tree(void **state)
{
    (void)state;
    tempdir_write(&dir, "t/a/b/c", "");
    tempdir_write(&dir, "t/a/d", "");
    tempdir_write(&dir, "t/e", "");
    tempdir_mkdir(&dir, "t/empty");
    assert_int_equal(mkfifo(tempdir_path(&dir, "t/fifo"), 0600), 0);
    remove_ok("t");
}

static void test_files_and_missing(void **state)
{
    (void)state;
    struct err err = { 0 };
    tempdir_write(&dir, "f", "");
    tempdir_mkdir(&dir, "d");
    assert_int_equal(remove_file(tempdir_path(&dir, "f"), &err), 0);
    assert_false(tempdir_exists(&dir, "f"));
    assert_int_equal(remove_file(tempdir_path(&dir, "f"), &err), 0);
    assert_int_equal(remove_file(tempdir_path(&dir, "missing/x"), &err), 0);
    assert_int_equal(remove_file(tempdir_path(&dir, "d"), &err), 0);
    assert_false(tempdir_exists(&dir, "d"));
    tempdir_write(&dir, "d/f", "");
    assert_int_equal(remove_file(tempdir_path(&dir, "d"), &err), 1);
    assert_true(tempdir_exists(&dir, "d/f"));
    remove_ok("missing");
    tempdir_write(&dir, "g", "");
    remove_ok("g");
    remove_ok("d/");
}

static void test_links_are_removed_not_followed(void **state)
{
    (void)state;
    tempdir_write(&dir, "keep/f", "");
    tempdir_mkdir(&dir, "t");
    assert_int_equal(symlink("../keep", tempdir_path(&dir, "t/link")), 0);
    remove_ok("t");
    assert_true(tempdir_exists(&dir, "keep/f"));
    assert_int_equal(symlink("keep", tempdir_path(&dir, "link")), 0);
    remove_ok("link");
    assert_int_equal(symlink("keep", tempdir_path(&dir, "link")), 0);
    remove_ok("link/"); /* the link, as without the slash */
    assert_true(tempdir_exists(&dir, "keep/f"));
}

static void test_what_cannot_be_removed(void **state)
{
    (void)state;
    struct err err = { 0 };
    static const char *const paths[] = { "/", "//", "/tmp/.", "/tmp/..", "..", "." };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(remove_tree(paths[i], &never, &err), -EINVAL);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(remove_file(paths[i], &err), -EINVAL);
    }
    assert_true(remove_tree("/proc/self", &never, &err) < 0);
    assert_int_equal(err.code, ERR_INTERNAL);
}

/* Deeper than descriptors would allow, and than PATH_MAX. */
static void test_a_deep_tree(void **state)
{
    (void)state;
    int at = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 1100; i++) {
        assert_int_equal(mkdirat(at, "dir", 0755), 0);
        int next = openat(at, "dir", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
    }
    close(at);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit few = { 32, old.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct err err = { 0 };
    int rc = remove_tree(tempdir_path(&dir, "dir"), &never, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, 0);
    assert_false(tempdir_exists(&dir, "dir"));
}

static void test_a_wide_tree(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "t");
    for (int i = 0; i < 700; i++) {
        char name[64];
        snprintf(name, sizeof(name), "t/%d/f", i);
        tempdir_write(&dir, name, "");
    }
    remove_ok("t");
}

static void test_a_removal_is_stopped(void **state)
{
    (void)state;
    const atomic_bool at_once = true;
    struct err err = { 0 };
    tempdir_write(&dir, "t/a/f", "");
    tempdir_write(&dir, "t/g", "");
    assert_int_equal(remove_tree(tempdir_path(&dir, "t"), &at_once, &err), -ECANCELED);
    assert_int_equal(err.code, ERR_CANCELED);
    assert_true(tempdir_exists(&dir, "t/a/f"));
    assert_true(tempdir_exists(&dir, "t/g"));
    remove_ok("t");
}

static atomic_bool stop;

/* Someone else creates files and directories all the time. */
static void *create_files(void *arg)
{
    (void)arg;
    char path[PATH_MAX + 64];
    for (int i = 0; !stop; i++) {
        snprintf(path, sizeof(path), "%s/t/%d", dir.path, i % 50);
        mkdir(path, 0755);
        strcat(path, "/f");
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

static void test_others_create_and_remove_meanwhile(void **state)
{
    (void)state;
    pthread_t thread;
    struct err err = { 0 };
    stop = false;
    tempdir_mkdir(&dir, "t");
    assert_int_equal(pthread_create(&thread, NULL, create_files, NULL), 0);
    for (int i = 0; i < 8; i++) {
        /* It either ends with the tree gone, or with a truthful error: never otherwise. */
        int rc = remove_tree(tempdir_path(&dir, "t"), &never, &err);
        if (rc < 0)
            assert_int_equal(rc, -ENOTEMPTY);
        mkdir(tempdir_path(&dir, "t"), 0755);
    }
    stop = true;
    pthread_join(thread, NULL);
    remove_ok("t");
}

static void *remove_too(void *arg)
{
    struct err err = { 0 };
    *(int *)arg = remove_tree(tempdir_path(&dir, "t"), &never, &err);
    return NULL;
}

static void test_two_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 200; i++) {
            char name[64];
            snprintf(name, sizeof(name), "t/%d/%d/f", i % 10, i);
            tempdir_write(&dir, name, "");
        }
        pthread_t thread;
        struct err err = { 0 };
        int other = -1;
        char path[PATH_MAX];
        strcpy(path, tempdir_path(&dir, "t"));
        assert_int_equal(pthread_create(&thread, NULL, remove_too, &other), 0);
        int rc = remove_tree(path, &never, &err);
        pthread_join(thread, NULL);
        assert_int_equal(rc, 0);
        assert_int_equal(other, 0);
        assert_false(tempdir_exists(&dir, "t"));
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_a_tree),
        CASE(test_files_and_missing),
        CASE(test_links_are_removed_not_followed),
        CASE(test_what_cannot_be_removed),
        CASE(test_a_deep_tree),
        CASE(test_a_wide_tree),
        CASE(test_a_removal_is_stopped),
        CASE(test_others_create_and_remove_meanwhile),
        CASE(test_two_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
