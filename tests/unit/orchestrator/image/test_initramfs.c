#include "common/base/buf.h"
#include "common/base/fileio.h"
#include "orchestrator/image/initramfs.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* Our own reader of "newc", by the kernel's Documentation/driver-api/early-userspace. */
struct entry {
    char name[64];
    unsigned mode, nlink;
    struct str data;
};

static unsigned hex(struct str archive, size_t at, unsigned field)
{
    char digits[9] = "";
    unsigned value;
    memcpy(digits, archive.p + at + 6 + 8 * field, 8);
    assert_int_equal(sscanf(digits, "%x", &value), 1);
    return value;
}

static size_t align4(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* The entry at *at; *at moves to the next. */
static struct entry next_entry(struct str archive, size_t *at)
{
    struct entry e = { 0 };
    assert_true(*at + 110 <= archive.n);
    assert_memory_equal(archive.p + *at, "070701", 6);
    size_t size = hex(archive, *at, 6), name = hex(archive, *at, 11);
    e.mode = hex(archive, *at, 1);
    e.nlink = hex(archive, *at, 4);
    assert_in_range(name, 1, sizeof(e.name));
    assert_true(*at + 110 + name <= archive.n);
    memcpy(e.name, archive.p + *at + 110, name);
    size_t from = align4(*at + 110 + name);
    assert_true(from + size <= archive.n);
    e.data = (struct str){ archive.p + from, size };
    *at = align4(from + size);
    return e;
}

static void expect(struct str archive, size_t *at, const char *name, unsigned mode, struct str data)
{
    struct entry e = next_entry(archive, at);
    assert_string_equal(e.name, name);
    assert_int_equal(e.mode, mode);
    assert_true(str_eq(e.data, data));
}

static struct buf build(const struct tempdir *d, const char *to)
{
    struct buf archive = { 0 };
    struct err err;
    const char *path = tempdir_path(d, to);
    assert_int_equal(initramfs_write(path, STR("the agent"), tempdir_path(d, "modules"), &err), 0);
    assert_int_equal(file_read(path, 1 << 20, &archive, &err), 0);
    return archive;
}

static void test_write_holds_everything_in_order(void **state)
{
    (void)state;
    struct tempdir d;
    size_t at = 0;
    tempdir_init(&d);
    tempdir_write(&d, "modules/modules.list", "virtio.ko\nblk.ko\n");
    tempdir_write(&d, "modules/virtio.ko", "V");
    tempdir_write(&d, "modules/blk.ko", "BLK");
    struct buf archive = build(&d, "initramfs");
    struct str a = buf_str(&archive);
    expect(a, &at, "modules", S_IFDIR | 0755, STR(""));
    expect(a, &at, "init", S_IFREG | 0555, STR("the agent"));
    expect(a, &at, "modules/virtio.ko", S_IFREG | 0444, STR("V"));
    expect(a, &at, "modules/blk.ko", S_IFREG | 0444, STR("BLK"));
    expect(a, &at, "modules.list", S_IFREG | 0444, STR("/modules/virtio.ko\n/modules/blk.ko\n"));
    assert_string_equal(next_entry(a, &at).name, "TRAILER!!!");

    struct buf again = build(&d, "again");
    assert_true(str_eq(a, buf_str(&again)));
    buf_deinit(&again);
    buf_deinit(&archive);
    tempdir_deinit(&d);
}

static void test_write_tells_of_a_missing_module(void **state)
{
    (void)state;
    struct tempdir d;
    struct err err;
    tempdir_init(&d);
    tempdir_write(&d, "modules/modules.list", "gone.ko\n");
    assert_int_equal(
        initramfs_write(tempdir_path(&d, "i"), STR("x"), tempdir_path(&d, "modules"), &err),
        -ENOENT);
    assert_non_null(strstr(err.msg, "gone.ko"));
    assert_int_equal(initramfs_write("/nonexistent/i", STR("x"), tempdir_path(&d, "modules"), &err),
                     -ENOENT);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_holds_everything_in_order),
        cmocka_unit_test(test_write_tells_of_a_missing_module),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
