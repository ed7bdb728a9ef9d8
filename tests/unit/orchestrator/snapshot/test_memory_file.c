/* A file of pages that is damaged, another's, or does not fit on the disk. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "orchestrator/snapshot/format.h"
#include "orchestrator/snapshot/memory.h"
#include "ram_child.h"
#include "tests/support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGES (2 * CHUNK_PAGES + 9)

static struct tempdir dir;
static int dirfd = -1;
static struct ram_child source, target;
static struct memory_file whole; /* the file "memory" */

/* Every second page, so that the file has many runs, few bytes and several chunks. */
static void scatter(uint8_t *ram, size_t n)
{
    for (size_t i = 0; i < n; i += 2)
        memset(ram + i * PAGE_BYTES, i % 10 == 4 ? 0 : (int)(i % 250 + 1), PAGE_BYTES / 2);
    for (size_t i = 0; i < 5 && i < n; i++)
        for (size_t j = 0; j < PAGE_BYTES; j++)
            ram[i * PAGE_BYTES + j] = (uint8_t)(j * j + i);
}

static int set_up(void **state)
{
    struct err err;
    (void)state;
    tempdir_init_in_memory(&dir);
    dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dirfd >= 0);
    uint8_t *base = ram_make_base(PAGES);
    ram_child_start(&source, base, PAGES, scatter);
    ram_child_start(&target, base, PAGES, NULL);
    free(base);
    assert_int_equal(memory_save(&source.m, dirfd, "memory", false, &whole, &err), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ram_child_stop(&source);
    ram_child_stop(&target);
    close(dirfd);
    tempdir_deinit(&dir);
    return 0;
}

static void refused(const struct memory_file *expect, const char *what, size_t at)
{
    struct err err = { 0 };
    int memfd = -1;
    int rc = memory_apply(dirfd, "memory", expect, &target.m, &err);
    if (rc == 0 || err.code != ERR_DATA_LOSS || !strstr(err.msg, "damaged"))
        fail_msg("%s at %zu: apply says %d %s", what, at, err.code, err.msg);
    err = (struct err){ 0 };
    rc = memory_load(dirfd, "memory", expect, target.m.size, &memfd, &err);
    if (rc == 0 || err.code != ERR_DATA_LOSS || memfd != -1)
        fail_msg("%s at %zu: load says %d %s", what, at, err.code, err.msg);
}

static uint8_t byte_at(int fd, size_t at)
{
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    return byte;
}

static void flip(int fd, size_t at, unsigned bit)
{
    uint8_t byte = byte_at(fd, at) ^ (uint8_t)(1u << bit);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
}

static void test_a_flipped_bit_is_found(void **state)
{
    AUTO_CLOSE int fd = openat(dirfd, "memory", O_RDWR | O_CLOEXEC);
    struct err err;
    (void)state;
    /* Each byte of the header, some runs and the table; of the rest some. */
    size_t step = (size_t)whole.size / 200 + 1;
    size_t table =
        byte_at(fd, 40) + ((size_t)byte_at(fd, 41) << 8) + ((size_t)byte_at(fd, 42) << 16);
    for (size_t at = 0; at < whole.size;) {
        flip(fd, at, at % 8);
        refused(&whole, "a flipped bit", at);
        flip(fd, at, at % 8);
        at += at < FORMAT_HEADER + 64 || at >= table ? 1 : step;
    }
    assert_int_equal(memory_apply(dirfd, "memory", &whole, &target.m, &err), 0);
}

static void test_a_file_cut_short_is_found(void **state)
{
    struct err err;
    (void)state;
    AUTO_FREE char *bytes = tempdir_read(&dir, "memory");
    AUTO_CLOSE int fd = openat(dirfd, "memory", O_RDWR | O_CLOEXEC);
    for (size_t at = 0; at < whole.size; at += at < 100 ? 7 : whole.size / 50) {
        assert_int_equal(ftruncate(fd, (off_t)at), 0);
        refused(&whole, "cut", at);
        /* Whoever believes the size of the file must still not be led astray. */
        struct memory_file shorter = whole;
        shorter.size = at;
        refused(&shorter, "cut and told", at);
        assert_int_equal(pwrite(fd, bytes + at, whole.size - at, (off_t)at), whole.size - at);
    }
    assert_int_equal(ftruncate(fd, (off_t)whole.size + 1), 0);
    refused(&whole, "longer", whole.size);
    assert_int_equal(ftruncate(fd, (off_t)whole.size), 0);
    assert_int_equal(memory_apply(dirfd, "memory", &whole, &target.m, &err), 0);
}

static void test_a_hole_is_found(void **state)
{
    (void)state;
    AUTO_FREE char *bytes = tempdir_read(&dir, "memory");
    AUTO_CLOSE int fd = openat(dirfd, "memory", O_RDWR | O_CLOEXEC);
    static const uint8_t zeros[512];
    for (size_t at = 0; at + sizeof(zeros) < whole.size; at += whole.size / 50) {
        if (memcmp(bytes + at, zeros, sizeof(zeros)) == 0)
            continue;
        assert_int_equal(pwrite(fd, zeros, sizeof(zeros), (off_t)at), sizeof(zeros));
        refused(&whole, "a sector of zeros", at);
        assert_int_equal(pwrite(fd, bytes + at, sizeof(zeros), (off_t)at), sizeof(zeros));
    }
}

static void test_another_manifest_is_refused(void **state)
{
    struct memory_file f = whole;
    struct err err = { 0 };
    (void)state;
    f.sha256[0] = f.sha256[0] == '0' ? '1' : '0';
    refused(&f, "digest", 0);
    f = whole;
    f.pages++;
    refused(&f, "pages", 0);
    f = whole;
    f.zero_pages++;
    refused(&f, "zero pages", 0);
    f = whole;
    f.size++;
    refused(&f, "size", 0);

    struct vmm_memory smaller = target.m;
    smaller.size -= PAGE_BYTES;
    assert_true(memory_apply(dirfd, "memory", &whole, &smaller, &err) < 0);
    assert_int_equal(err.code, ERR_PRECONDITION);
}

static void test_what_is_no_file_is_refused(void **state)
{
    struct err err = { 0 };
    (void)state;
    assert_true(memory_apply(dirfd, "none", &whole, &target.m, &err) < 0);
    assert_int_equal(err.code, ERR_DATA_LOSS);
    assert_non_null(strstr(err.msg, "missing"));
    assert_int_equal(symlinkat("memory", dirfd, "link"), 0);
    assert_true(memory_apply(dirfd, "link", &whole, &target.m, &err) < 0);
    assert_int_equal(mkdirat(dirfd, "folder", 0700), 0);
    assert_true(memory_apply(dirfd, "folder", &whole, &target.m, &err) < 0);
    assert_int_equal(unlinkat(dirfd, "link", 0), 0);
    assert_int_equal(unlinkat(dirfd, "folder", AT_REMOVEDIR), 0);
}

static void test_a_full_disk_leaves_no_file(void **state)
{
    struct memory_file f;
    struct rlimit before, limit;
    struct memory_copy *copy;
    struct err err = { 0 };
    (void)state;
    assert_int_equal(memory_capture(&source.m, &copy, &err), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* Within the first chunk, in a later one, in the table. */
    const size_t room[] = { 0, 1000, whole.size / 2, whole.size - 1 };
    for (size_t i = 0; i < ARRAY_LEN(room); i++) {
        limit = (struct rlimit){ room[i], before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        int rc = memory_write(copy, dirfd, "full", false, &f, &err);
        int direct = memory_save(&source.m, dirfd, "full", false, &f, NULL);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(rc, -EFBIG);
        assert_int_equal(direct, -EFBIG);
        assert_int_equal(err.code, ERR_EXHAUSTED);
        assert_non_null(strstr(err.msg, "does not fit"));
        assert_false(tempdir_exists(&dir, "full"));
    }
    memory_copy_free(copy);
}

static void test_a_present_file_is_not_written_over(void **state)
{
    struct memory_file f;
    struct err err = { 0 };
    (void)state;
    assert_true(memory_save(&source.m, dirfd, "memory", false, &f, &err) < 0);
    assert_int_equal(memory_apply(dirfd, "memory", &whole, &target.m, &err), 0);
}

static void test_fault_points(void **state)
{
    struct memory_file f;
    struct memory_copy *copy = NULL;
    struct err err = { 0 };
    int memfd = -1;
    (void)state;
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "snapshot.memory,memory.capture,memory.apply,memory.load", 1);
    assert_true(memory_save(&source.m, dirfd, "fault", false, &f, &err) < 0);
    assert_false(tempdir_exists(&dir, "fault"));
    assert_true(memory_capture(&source.m, &copy, &err) < 0);
    assert_null(copy);
    assert_true(memory_apply(dirfd, "memory", &whole, &target.m, &err) < 0);
    assert_true(memory_load(dirfd, "memory", &whole, target.m.size, &memfd, &err) < 0);
    assert_int_equal(memfd, -1);
    unsetenv("SANDPIT_FAULTS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flipped_bit_is_found),
        cmocka_unit_test(test_a_file_cut_short_is_found),
        cmocka_unit_test(test_a_hole_is_found),
        cmocka_unit_test(test_another_manifest_is_refused),
        cmocka_unit_test(test_what_is_no_file_is_refused),
        cmocka_unit_test(test_a_full_disk_leaves_no_file),
        cmocka_unit_test(test_a_present_file_is_not_written_over),
        cmocka_unit_test(test_fault_points),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
