#include "envd/filesystem/operations.h"

#include "common/base/cleanup.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define UID 12345
#define GID 12346

static struct tempdir dir;
static struct arena arena;
static struct user user;
static struct err err;

static int setup(void **state)
{
    (void)state;
    tempdir_init(&dir);
    err = (struct err){ 0 };
    user = (struct user){ .name = "tester", .uid = geteuid(), .gid = getegid() };
    if (geteuid() == 0) {
        user.uid = UID;
        user.gid = GID;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tempdir_deinit(&dir);
    arena_deinit(&arena);
    return 0;
}

static const char *at(const char *name)
{
    return tempdir_path(&dir, name);
}

static void assert_failed(int rc, int errnum, enum err_code code, const char *message,
                          const char *name)
{
    char want[PATH_MAX + 128];
    snprintf(want, sizeof(want), "%s: %s", message, at(name));
    assert_int_equal(rc, -errnum);
    assert_int_equal(err.code, code);
    assert_string_equal(err.msg, want);
}

static void test_stat(void **state)
{
    (void)state;
    Filesystem__EntryInfo *e = NULL;
    tempdir_write(&dir, "f", "12");
    assert_int_equal(operation_stat(&arena, at("f"), &e, &err), 0);
    assert_int_equal(e->size, 2);
    assert_failed(operation_stat(&arena, at("x"), &e, &err), ENOENT, ERR_NOT_FOUND,
                  "file not found", "x");
    assert_failed(operation_stat(&arena, at("f/x"), &e, &err), ENOTDIR, ERR_NOT_FOUND,
                  "file not found", "f/x");
    char name[NAME_MAX + 2] = "";
    memset(name, 'n', NAME_MAX + 1);
    assert_int_equal(operation_stat(&arena, at(name), &e, &err), -ENAMETOOLONG);
    assert_int_equal(err.code, ERR_INVALID);
}

static void test_make_dir(void **state)
{
    (void)state;
    struct stat st;
    mode_t old = umask(077);
    assert_int_equal(operation_make_dir(at("a/b"), &user, &err), 0);
    umask(old);
    static const char *const made[] = { "a", "a/b" };
    for (size_t i = 0; i < ARRAY_LEN(made); i++) {
        assert_int_equal(lstat(at(made[i]), &st), 0);
        assert_int_equal(st.st_mode, S_IFDIR | 0755);
        assert_int_equal(st.st_uid, user.uid);
        assert_int_equal(st.st_gid, user.gid);
    }
    assert_int_equal(lstat(dir.path, &st), 0);
    assert_int_equal(st.st_uid, geteuid());
    assert_failed(operation_make_dir(at("a/b"), &user, &err), EEXIST, ERR_EXISTS,
                  "directory already exists", "a/b");
    tempdir_write(&dir, "f", "");
    assert_failed(operation_make_dir(at("f"), &user, &err), ENOTDIR, ERR_INVALID,
                  "path already exists but it is not a directory", "f");
    assert_failed(operation_make_dir(at("f/x"), &user, &err), ENOTDIR, ERR_INVALID,
                  "a parent of the path is not a directory", "f/x");
    assert_int_equal(symlink("a", at("link")), 0);
    assert_failed(operation_make_dir(at("link"), &user, &err), EEXIST, ERR_EXISTS,
                  "directory already exists", "link");
    assert_int_equal(symlink("nowhere", at("dangling")), 0);
    assert_failed(operation_make_dir(at("dangling"), &user, &err), ENOTDIR, ERR_INVALID,
                  "path is a file, not a directory", "dangling");
}

static void test_move(void **state)
{
    (void)state;
    struct stat st;
    tempdir_write(&dir, "f", "text");
    assert_int_equal(operation_move(at("f"), at("new/dir/g"), &user, &err), 0);
    assert_false(tempdir_exists(&dir, "f"));
    AUTO_FREE char *text = tempdir_read(&dir, "new/dir/g");
    assert_string_equal(text, "text");
    assert_int_equal(lstat(at("new/dir"), &st), 0);
    assert_int_equal(st.st_uid, user.uid);
    /* A file is replaced, a link moved as such. */
    tempdir_write(&dir, "h", "other");
    assert_int_equal(symlink("nothing", at("link")), 0);
    assert_int_equal(operation_move(at("link"), at("h"), &user, &err), 0);
    assert_int_equal(lstat(at("h"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void test_move_errors(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "d");
    tempdir_write(&dir, "full/f", "");
    assert_failed(operation_move(at("x"), at("new/x"), &user, &err), ENOENT, ERR_NOT_FOUND,
                  "source file not found", "x");
    assert_false(tempdir_exists(&dir, "new"));
    assert_int_equal(operation_move(at("d"), at("full"), &user, &err), -ENOTEMPTY);
    assert_int_equal(err.code, ERR_INTERNAL);
    assert_int_equal(operation_move(at("d"), at("d/in/itself"), &user, &err), -EINVAL);
    assert_int_equal(err.code, ERR_INTERNAL);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_stat),
        CASE(test_make_dir),
        CASE(test_move),
        CASE(test_move_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
