/* The overlay that we write by hand, judged by QEMU's own tool. */
#include "common/base/cleanup.h"
#include "orchestrator/vmm/qemu/disk.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct tempdir dir;

static const char *make_backing(off_t size)
{
    const char *path = tempdir_path(&dir, "rootfs");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(pwrite(fd, "FIRST BYTES", 11, 0), 11);
    return path;
}

static int create(const char *path, const char *backing, uint64_t size_mb, uid_t uid,
                  struct err *err)
{
    return disk_create(path, &(struct disk_backing){ .path = backing }, size_mb, uid, err);
}

/* Standard output of a command; fails when the command does. */
static size_t run(const char *command, char *out, size_t n)
{
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t got = fread(out, 1, n - 1, p);
    out[got] = 0;
    int status = pclose(p);
    if (status != 0)
        fail_msg("%s: status %d", command, status);
    return got;
}

static void check(const char *path, uint64_t size_mb, const char *backing)
{
    char command[PATH_MAX + 64], out[8192];
    snprintf(command, sizeof(command), "qemu-img check -q '%s' 2>&1", path);
    run(command, out, sizeof(out));
    snprintf(command, sizeof(command), "qemu-img info --output=json '%s'", path);
    run(command, out, sizeof(out));
    json_t *info = json_loads(out, 0, NULL);
    assert_non_null(info);
    assert_int_equal(json_integer_value(json_object_get(info, "virtual-size")), size_mb << 20);
    assert_string_equal(json_string_value(json_object_get(info, "format")), "qcow2");
    assert_string_equal(json_string_value(json_object_get(info, "backing-filename")), backing);
    assert_string_equal(json_string_value(json_object_get(info, "backing-filename-format")), "raw");
    assert_false(json_is_true(json_object_get(info, "dirty-flag")));
    json_decref(info);
}

static void make_and_check(uint64_t size_mb)
{
    struct err err = { 0 };
    struct stat st;
    const char *backing = make_backing(3 << 20), *path = tempdir_path(&dir, "disk");
    unlink(path);
    AUTO_CLOSE int fd = create(path, backing, size_mb, (uid_t)-1, &err);
    if (fd < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(st.st_blocks * 512 < 65536); /* sparse */
    check(path, size_mb, backing);
}

static void test_create_is_a_valid_image(void **state)
{
    (void)state;
    make_and_check(4096);
}

static void test_create_of_odd_sizes(void **state)
{
    static const uint64_t sizes[] = { 3, 511, 512, 513, 100000, DISK_MAX_MB };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        make_and_check(sizes[i]);
}

static void test_created_disk_reads_the_backing_and_takes_writes(void **state)
{
    char command[2 * PATH_MAX], out[4096];
    (void)state;
    make_and_check(1024);
    const char *path = tempdir_path(&dir, "disk");
    /* Beyond the backing's end it is zero; a write in the last cluster grows the tables. */
    snprintf(command, sizeof(command),
             "qemu-io -f qcow2 -c 'read -P 0x46 0 1' -c 'read -P 0 4M 64k' "
             "-c 'write -P 7 1023M 1M' -c 'read -P 7 1023M 1M' '%s' 2>&1",
             path);
    run(command, out, sizeof(out));
    assert_null(strstr(out, "verification failed"));
    assert_null(strstr(out, "error"));
    check(path, 1024, tempdir_path(&dir, "rootfs"));
}

/* What ext4, for one, has of a file whose bytes were never written out. */
static void test_one_without_a_header_is_blank(void **state)
{
    struct err err = { 0 };
    const char *path = tempdir_path(&dir, "disk");
    (void)state;
    make_and_check(1024);
    assert_false(disk_is_blank(path));
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(disk_sync_new(fd, path, &err), 0);
    assert_int_equal(pwrite(fd, "\0\0\0\0", 4, 0), 4);
    assert_true(disk_is_blank(path));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_true(disk_is_blank(path));
    assert_int_equal(pwrite(fd, "no disk", 7, 0), 7);
    assert_false(disk_is_blank(path));
    assert_int_equal(unlink(path), 0);
    assert_false(disk_is_blank(path));
}

static void test_create_gives_it_to_the_uid(void **state)
{
    struct err err;
    struct stat st;
    (void)state;
    if (geteuid() != 0)
        skip();
    const char *path = tempdir_path(&dir, "owned");
    AUTO_CLOSE int fd = create(path, make_backing(1 << 20), 16, 201000, &err);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 201000);
    assert_int_equal(st.st_gid, 201000);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_create_refuses(void **state)
{
    struct err err;
    (void)state;
    const char *backing = make_backing(3 << 20), *path = tempdir_path(&dir, "refused");
    assert_int_equal(create(path, backing, 2, (uid_t)-1, &err), -EINVAL);
    assert_int_equal(err.code, ERR_INVALID);
    assert_int_equal(create(path, backing, 0, (uid_t)-1, &err), -EINVAL);
    assert_int_equal(create(path, backing, DISK_MAX_MB + 1, (uid_t)-1, &err), -EINVAL);
    assert_int_equal(create(path, backing, UINT64_MAX, (uid_t)-1, &err), -EINVAL);
    assert_int_equal(create(path, tempdir_path(&dir, "none"), 16, (uid_t)-1, &err), -ENOENT);
    assert_false(tempdir_exists(&dir, "refused"));
    /* An existing file, or a link to one, is not written through. */
    tempdir_write(&dir, "precious", "x");
    assert_int_equal(symlink(tempdir_path(&dir, "precious"), path), 0);
    assert_int_equal(create(path, backing, 16, (uid_t)-1, &err), -EEXIST);
    AUTO_FREE char *text = tempdir_read(&dir, "precious");
    assert_string_equal(text, "x");
}

/* An overlay on an overlay: its header tells format and path of what it stands on. */
static void test_overlay_on_an_overlay(void **state)
{
    struct err err;
    char command[2 * PATH_MAX], out[8192];
    (void)state;
    make_and_check(64);
    const char *below = tempdir_path(&dir, "disk"), *path = tempdir_path(&dir, "above");
    struct disk_backing backing = { .path = below, .qcow2 = true };
    AUTO_CLOSE int fd = disk_create(path, &backing, 64, (uid_t)-1, &err);
    assert_true(fd >= 0);
    snprintf(
        command, sizeof(command),
        "qemu-io -f qcow2 -c 'write -P 9 1M 64k' '%s' >&2 && qemu-io -f qcow2 -c 'read -P 9 1M "
        "64k' -c 'read -P 0x46 0 1' '%s' 2>&1",
        below, path);
    run(command, out, sizeof(out));
    assert_null(strstr(out, "verification failed"));
    snprintf(command, sizeof(command), "qemu-img info --output=json '%s'", path);
    run(command, out, sizeof(out));
    json_t *info = json_loads(out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(info, "backing-filename")), below);
    assert_string_equal(json_string_value(json_object_get(info, "backing-filename-format")),
                        "qcow2");
    json_decref(info);
}

static void test_open_takes_regular_files_only(void **state)
{
    struct err err;
    (void)state;
    tempdir_write(&dir, "there", "x");
    AUTO_CLOSE int fd = disk_open(tempdir_path(&dir, "there"), (uid_t)-1, &err);
    assert_true(fd >= 0);
    const char *link = tempdir_path(&dir, "link");
    assert_int_equal(symlink("there", link), 0);
    assert_true(disk_open(link, (uid_t)-1, &err) < 0);
    assert_true(disk_open(tempdir_path(&dir, "."), (uid_t)-1, &err) < 0);
    assert_true(disk_open("/dev/null", (uid_t)-1, &err) < 0);
    assert_non_null(strstr(err.msg, "cannot open the disk /dev/null"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_is_a_valid_image),
        cmocka_unit_test(test_create_of_odd_sizes),
        cmocka_unit_test(test_created_disk_reads_the_backing_and_takes_writes),
        cmocka_unit_test(test_one_without_a_header_is_blank),
        cmocka_unit_test(test_create_gives_it_to_the_uid),
        cmocka_unit_test(test_create_refuses),
        cmocka_unit_test(test_overlay_on_an_overlay),
        cmocka_unit_test(test_open_takes_regular_files_only),
    };
    tempdir_init(&dir);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tempdir_deinit(&dir);
    return rc;
}
