#include "envd/filesystem/metadata.h"

#include "common/base/cleanup.h"
#include "envd/filesystem/entry.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>

static struct tempdir dir;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    tempdir_init(&dir);
    tempdir_write(&dir, "f", "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tempdir_deinit(&dir);
    arena_deinit(&arena);
    return 0;
}

static void need_attributes(void)
{
    if (setxattr(tempdir_path(&dir, "f"), "user.other", "o", 1, 0) < 0) {
        print_message("no extended attributes here: %s\n", strerror(errno));
        skip();
    }
}

static Filesystem__EntryInfo *read_it(void)
{
    struct entry_reader r;
    Filesystem__EntryInfo *e = NULL;
    entry_reader_init(&r, &arena);
    assert_int_equal(entry_read(&r, arena_dup(&arena, str_of(tempdir_path(&dir, "f"))), &e), 0);
    return e;
}

static const char *value_of(const Filesystem__EntryInfo *e, const char *key)
{
    for (size_t i = 0; i < e->n_metadata; i++)
        if (strcmp(e->metadata[i]->key, key) == 0)
            return e->metadata[i]->value;
    return NULL;
}

static void test_what_was_set_is_read(void **state)
{
    (void)state;
    need_attributes();
    AUTO_CLOSE int fd = open(tempdir_path(&dir, "f"), O_RDWR | O_CLOEXEC);
    struct metadata first[] = { { STR("a"), STR("1") }, { STR("b"), STR("") } };
    struct metadata second[] = { { STR("c"), STR("3") } };
    assert_int_equal(metadata_replace(fd, first, 2), 0);
    const Filesystem__EntryInfo *e = read_it();
    assert_int_equal(e->n_metadata, 2);
    assert_string_equal(value_of(e, "a"), "1");
    assert_string_equal(value_of(e, "b"), "");
    assert_int_equal(metadata_replace(fd, second, 1), 0);
    e = read_it();
    assert_int_equal(e->n_metadata, 1);
    assert_string_equal(value_of(e, "c"), "3");
    assert_int_equal(metadata_replace(fd, NULL, 0), 0);
    assert_int_equal(read_it()->n_metadata, 0);
    char other[8];
    assert_int_equal(fgetxattr(fd, "user.other", other, sizeof(other)), 1);
}

static void test_bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    need_attributes();
    assert_int_equal(setxattr(tempdir_path(&dir, "f"), "user.e2b.k", "x\xff\0y", 4, 0), 0);
    assert_string_equal(value_of(read_it(), "k"), "x\xef\xbf\xbd\xef\xbf\xbdy");
}

/* The list of names does not fit the reader's first buffer. */
static void test_many_names(void **state)
{
    (void)state;
    need_attributes();
    for (int i = 0; i < 12; i++) {
        char name[256] = "user.e2b.";
        memset(name + 9, 'a' + i, 200);
        assert_int_equal(setxattr(tempdir_path(&dir, "f"), name, "v", 1, 0), 0);
    }
    assert_int_equal(read_it()->n_metadata, 12);
}

static void test_a_file_system_without_attributes_is_no_error(void **state)
{
    (void)state;
    AUTO_CLOSE int fd = open("/proc/self/comm", O_RDWR | O_CLOEXEC);
    struct metadata m = { STR("a"), STR("1") };
    if (fd < 0)
        skip();
    assert_int_equal(metadata_replace(fd, &m, 1), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_what_was_set_is_read),
        CASE(test_bytes_that_are_no_text_are_replaced),
        CASE(test_many_names),
        CASE(test_a_file_system_without_attributes_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
