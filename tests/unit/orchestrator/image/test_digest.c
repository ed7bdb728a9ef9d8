#include "common/base/cleanup.h"
#include "orchestrator/image/digest.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* A file of `size` bytes with "data" at 1 MiB, the rest a hole or written zeroes. */
static const char *make(const struct tempdir *d, const char *name, off_t size, bool holes)
{
    static const char zeroes[65536];
    const char *path = tempdir_path(d, name);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    for (off_t at = 0; at < size && !holes; at += (off_t)sizeof(zeroes))
        assert_int_equal(pwrite(fd, zeroes, sizeof(zeroes), at), sizeof(zeroes));
    assert_int_equal(ftruncate(fd, size), 0);
    assert_int_equal(pwrite(fd, "data", 4, 1048576), 4);
    return path;
}

static void test_plain_digest(void **state)
{
    (void)state;
    struct tempdir d;
    struct image_file f;
    tempdir_init(&d);
    tempdir_write(&d, "abc", "abc");
    assert_int_equal(digest_file(tempdir_path(&d, "abc"), &f, NULL), 0);
    assert_int_equal(f.size, 3);
    /* FIPS 180-4's own example. */
    assert_string_equal(f.sha256,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_file(tempdir_path(&d, "none"), &f, NULL), -ENOENT);
    tempdir_deinit(&d);
}

static void test_holes_and_zeroes_are_one(void **state)
{
    (void)state;
    struct tempdir d;
    struct image_file holes, zeroes, other;
    tempdir_init(&d);
    const off_t size = 3 * 1048576 + 100;
    assert_int_equal(digest_sparse_file(make(&d, "holes", size, true), &holes, NULL), 0);
    assert_int_equal(digest_sparse_file(make(&d, "zeroes", size, false), &zeroes, NULL), 0);
    assert_string_equal(holes.sha256, zeroes.sha256);
    assert_int_equal(holes.size, size);

    /* One byte more, and the same bytes elsewhere, are other contents. */
    const char *path = tempdir_path(&d, "holes");
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, size - 1), 1);
    assert_int_equal(digest_sparse_file(path, &other, NULL), 0);
    assert_string_not_equal(holes.sha256, other.sha256);
    assert_int_equal(pwrite(fd, "\0", 1, size - 1), 1);
    assert_int_equal(digest_sparse_file(path, &other, NULL), 0);
    assert_string_equal(holes.sha256, other.sha256);
    assert_int_equal(pwrite(fd, "\0\0\0\0", 4, 1048576), 4);
    assert_int_equal(pwrite(fd, "data", 4, 2 * 1048576), 4);
    assert_int_equal(digest_sparse_file(path, &other, NULL), 0);
    assert_string_not_equal(holes.sha256, other.sha256);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_digest),
        cmocka_unit_test(test_holes_and_zeroes_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
