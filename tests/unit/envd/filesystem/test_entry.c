#include "envd/filesystem/entry.h"

#include "common/base/cleanup.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tempdir dir;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    tempdir_init(&dir);
    /* What realpath() says must be comparable. */
    char real[PATH_MAX];
    assert_non_null(realpath(dir.path, real));
    strcpy(dir.path, real);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tempdir_deinit(&dir);
    arena_deinit(&arena);
    return 0;
}

static Filesystem__EntryInfo *read_path(const char *path)
{
    struct entry_reader r;
    Filesystem__EntryInfo *e = NULL;
    entry_reader_init(&r, &arena);
    char *copy = arena_dup(&arena, str_of(path));
    assert_int_equal(entry_read(&r, copy, &e), 0);
    return e;
}

static Filesystem__EntryInfo *read_entry(const char *name)
{
    return read_path(tempdir_path(&dir, name));
}

static void test_permissions_as_go_prints_them(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        const char *want;
    } cases[] = {
        { S_IFREG | 0644, "-rw-r--r--" },    { S_IFREG | 0, "----------" },
        { S_IFREG | 0755, "-rwxr-xr-x" },    { S_IFDIR | 0755, "drwxr-xr-x" },
        { S_IFDIR | 01777, "dtrwxrwxrwx" },  { S_IFLNK | 0777, "Lrwxrwxrwx" },
        { S_IFIFO | 0600, "prw-------" },    { S_IFSOCK | 0755, "Srwxr-xr-x" },
        { S_IFCHR | 0666, "Dcrw-rw-rw-" },   { S_IFBLK | 0660, "Drw-rw----" },
        { S_IFREG | 04755, "urwxr-xr-x" },   { S_IFREG | 02755, "grwxr-xr-x" },
        { S_IFDIR | 02775, "dgrwxrwxr-x" },  { S_IFREG | 06755, "ugrwxr-xr-x" },
        { S_IFREG | 01644, "trw-r--r--" },   { S_IFDIR | 07777, "dugtrwxrwxrwx" },
        { S_IFCHR | 01600, "Dctrw-------" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[ENTRY_PERMISSIONS_MAX];
        entry_permissions(cases[i].mode, text);
        assert_string_equal(text, cases[i].want);
    }
}

static void test_file(void **state)
{
    (void)state;
    tempdir_write(&dir, "a.txt", "hello");
    const char *path = tempdir_path(&dir, "a.txt");
    assert_int_equal(chmod(path, 0640), 0);
    struct timespec times[2] = { { 5, 6 }, { -7, 123456789 } };
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    const Filesystem__EntryInfo *e = read_entry("a.txt");
    assert_string_equal(e->name, "a.txt");
    assert_string_equal(e->path, path);
    assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_FILE);
    assert_int_equal(e->size, 5);
    assert_int_equal(e->mode, 0640);
    assert_string_equal(e->permissions, "-rw-r-----");
    assert_int_equal(e->modified_time->seconds, -7);
    assert_int_equal(e->modified_time->nanos, 123456789);
    assert_int_equal(e->_symlink_target_case, 0);
    assert_int_equal(e->n_metadata, 0);
    if (geteuid() == 0) {
        assert_string_equal(e->owner, "root");
        assert_string_equal(e->group, "root");
        assert_int_equal(chown(path, 54321, 54322), 0);
        e = read_entry("a.txt");
        assert_string_equal(e->owner, "54321");
        assert_string_equal(e->group, "54322");
    }
}

/* A file system in memory keeps any time; one such file must not make a listing fail. */
static void test_times_that_no_calendar_has(void **state)
{
    (void)state;
    static const struct {
        time_t set;
        int64_t told;
    } cases[] = { { 1LL << 60, 253402300799LL }, { -(1LL << 60), -62135596800LL } };
    char path[] = "/dev/shm/sandpit-entry-XXXXXX";
    AUTO_CLOSE int fd = mkstemp(path);
    if (fd < 0)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct timespec times[2] = { { .tv_sec = cases[i].set }, { .tv_sec = cases[i].set } };
        assert_int_equal(futimens(fd, times), 0);
        assert_int_equal(read_path(path)->modified_time->seconds, cases[i].told);
    }
    assert_int_equal(unlink(path), 0);
}

static void test_directories_and_names(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "d");
    const Filesystem__EntryInfo *e = read_entry("d//");
    assert_string_equal(e->name, "d");
    assert_string_equal(e->path, tempdir_path(&dir, "d//"));
    assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_DIRECTORY);
    assert_true(entry_is_real_dir(e));
    e = read_path("/");
    assert_string_equal(e->name, "/");
    assert_string_equal(e->path, "/");
}

static void test_links(void **state)
{
    (void)state;
    tempdir_write(&dir, "d/file", "hello");
    assert_int_equal(chmod(tempdir_path(&dir, "d/file"), 0600), 0);
    assert_int_equal(symlink("d/file", tempdir_path(&dir, "one")), 0);
    assert_int_equal(symlink("one", tempdir_path(&dir, "two")), 0);
    const Filesystem__EntryInfo *e = read_entry("two");
    assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_FILE);
    assert_int_equal(e->mode, 0600);
    assert_int_equal(e->size, 3); /* the link's own */
    assert_string_equal(e->permissions, "Lrwxrwxrwx");
    assert_string_equal(e->symlink_target, tempdir_path(&dir, "d/file"));
    assert_string_equal(e->name, "two");

    assert_int_equal(symlink("d", tempdir_path(&dir, "to-dir")), 0);
    e = read_entry("to-dir");
    assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_DIRECTORY);
    assert_false(entry_is_real_dir(e));
}

static void test_broken_links(void **state)
{
    (void)state;
    assert_int_equal(symlink("nothing", tempdir_path(&dir, "broken")), 0);
    assert_int_equal(symlink("loop", tempdir_path(&dir, "loop")), 0);
    static const char *const names[] = { "broken", "loop" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const Filesystem__EntryInfo *e = read_entry(names[i]);
        assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_UNSPECIFIED);
        assert_int_equal(e->mode, 0);
        assert_int_equal(e->_symlink_target_case,
                         FILESYSTEM__ENTRY_INFO___SYMLINK_TARGET_SYMLINK_TARGET);
        assert_string_equal(e->symlink_target, tempdir_path(&dir, names[i]));
    }
}

static void test_special_files(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(tempdir_path(&dir, "fifo"), 0600), 0);
    assert_int_equal(read_entry("fifo")->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_UNSPECIFIED);
    assert_string_equal(read_entry("fifo")->permissions, "prw-------");
    const Filesystem__EntryInfo *e = read_path("/dev/null");
    assert_int_equal(e->type, FILESYSTEM__FILE_TYPE__FILE_TYPE_UNSPECIFIED);
    assert_string_equal(e->permissions, "Dcrw-rw-rw-");
}

static void test_names_that_are_no_utf8(void **state)
{
    (void)state;
    tempdir_write(&dir, "a\xff", "");
    const Filesystem__EntryInfo *e = read_entry("a\xff");
    assert_string_equal(e->name, "a\xef\xbf\xbd");
}

static void test_missing(void **state)
{
    (void)state;
    struct entry_reader r;
    Filesystem__EntryInfo *e;
    entry_reader_init(&r, &arena);
    assert_int_equal(entry_read(&r, arena_dup(&arena, str_of(tempdir_path(&dir, "x"))), &e),
                     -ENOENT);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permissions_as_go_prints_them),
        CASE(test_file),
        CASE(test_times_that_no_calendar_has),
        CASE(test_directories_and_names),
        CASE(test_links),
        CASE(test_broken_links),
        CASE(test_special_files),
        CASE(test_names_that_are_no_utf8),
        CASE(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
