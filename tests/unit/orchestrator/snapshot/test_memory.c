/* Dirty pages of a process that stands in for a VM: captured, saved, put back. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "orchestrator/snapshot/host_memory.h"
#include "orchestrator/snapshot/memory.h"
#include "ram_child.h"
#include "tests/support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

/* No multiple of a chunk, so that the last one is not full. */
#define PAGES (3 * CHUNK_PAGES + 77)

static struct tempdir dir;
static int dirfd = -1;
static uint8_t *base;

static int set_up(void **state)
{
    (void)state;
    tempdir_init(&dir);
    dirfd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dirfd >= 0);
    base = ram_make_base(PAGES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(base);
    close(dirfd);
    tempdir_deinit(&dir);
    return 0;
}

/* Every third page from the second on, the last two, and one all zero where the base is not. */
static void scatter(uint8_t *ram, size_t n)
{
    for (size_t i = 1; i < n; i += 3)
        memset(ram + i * PAGE_BYTES + 100, (int)(i % 250 + 1), 500);
    ram[(n - 1) * PAGE_BYTES + PAGE_BYTES - 1] = 1;
    ram[(n - 2) * PAGE_BYTES] = 2;
    memset(ram + 6 * PAGE_BYTES, 0, (size_t)3 * PAGE_BYTES);
}

static void nothing(uint8_t *ram, size_t n)
{
    (void)ram;
    (void)n;
}

/* Noise, which does not compress. */
static void everything(uint8_t *ram, size_t n)
{
    uint32_t noise = 99;
    for (size_t i = 0; i < n * PAGE_BYTES; i++) {
        noise = noise * 1664525 + 1013904223;
        ram[i] = (uint8_t)(noise >> 24);
    }
}

static void zeros_everywhere(uint8_t *ram, size_t n)
{
    memset(ram, 0, n * PAGE_BYTES);
}

static void one_page(uint8_t *ram, size_t n)
{
    (void)n;
    ram[5] = 1;
}

static void save(const struct ram_child *c, bool on_zeros, bool by_copy, struct memory_file *out)
{
    struct memory_copy *copy = NULL;
    struct err err = { 0 };
    int rc = by_copy ? memory_capture(&c->m, &copy, &err) : 0;
    if (rc == 0)
        rc = by_copy ? memory_write(copy, dirfd, "memory", on_zeros, out, &err)
                     : memory_save(&c->m, dirfd, "memory", on_zeros, out, &err);
    memory_copy_free(copy);
    if (rc < 0)
        fail_msg("%s", err.msg);
}

/* What a child wrote comes back in another of the same base, by apply and by load. */
static void round_trip(const uint8_t *from, ram_write_cb write, bool by_copy)
{
    struct ram_child source, target;
    struct memory_file f;
    struct err err = { 0 };
    ram_child_start(&source, from, PAGES, write);
    save(&source, !from, by_copy, &f);
    ram_child_stop(&source);

    ram_child_start(&target, from, PAGES, NULL);
    if (memory_apply(dirfd, "memory", &f, &target.m, &err) < 0)
        fail_msg("%s", err.msg);
    ram_child_expect(&target, from, write);
    ram_child_stop(&target);

    int memfd = -1;
    assert_int_equal(memory_load(dirfd, "memory", &f, PAGES * PAGE_BYTES, &memfd, &err), 0);
    assert_int_equal(fcntl(memfd, F_GET_SEALS),
                     F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (!from) {
        ram_child_start_on(&target, memfd, PAGES, NULL);
        ram_child_expect(&target, NULL, write);
        ram_child_stop(&target);
    }
    close(memfd);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
}

static void test_save_and_apply(void **state)
{
    static const ram_write_cb writes[] = { scatter, nothing, everything, zeros_everywhere,
                                           one_page };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        for (int by_copy = 0; by_copy < 2; by_copy++) {
            round_trip(base, writes[i], by_copy);
            round_trip(NULL, writes[i], by_copy);
        }
    }
}

static void test_counts(void **state)
{
    struct ram_child c;
    struct memory_file f;
    struct err err;
    uint64_t bytes;
    (void)state;
    ram_child_start(&c, base, PAGES, nothing);
    assert_int_equal(memory_dirty_bytes(&c.m, &bytes, &err), 0);
    assert_int_equal(bytes, 0);
    ram_child_stop(&c);

    ram_child_start(&c, base, PAGES, zeros_everywhere);
    assert_int_equal(memory_dirty_bytes(&c.m, &bytes, &err), 0);
    assert_int_equal(bytes, PAGES * PAGE_BYTES);
    save(&c, false, false, &f);
    assert_int_equal(f.pages, 0);
    assert_int_equal(f.zero_pages, PAGES);
    assert_true(f.size < 1024);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
    save(&c, true, false, &f);
    assert_int_equal(f.pages, 0);
    assert_int_equal(f.zero_pages, 0);
    ram_child_stop(&c);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
}

/* Holds nearly all of the host's memory, on paper. */
static uint64_t claim_nearly_all(void)
{
    struct err err;
    uint64_t total = 0;
    for (uint64_t part = UINT64_C(1) << 40; part >= 65536; part /= 2) {
        while (host_memory_reserve(part, &err) == 0)
            total += part;
        assert_int_equal(err.code, ERR_UNAVAILABLE);
    }
    return total;
}

static void test_capture_and_load_need_memory(void **state)
{
    struct ram_child c;
    struct memory_copy *copy = NULL;
    struct memory_file f;
    struct err err = { 0 };
    int memfd = -1;
    (void)state;
    ram_child_start(&c, NULL, PAGES, everything);
    save(&c, true, false, &f);
    uint64_t claimed = claim_nearly_all();
    /* The host's memory is in use by others too: some of it may have become free meanwhile. */
    assert_int_equal(host_memory_reserve(UINT64_C(1) << 40, &err), -ENOMEM);
    int rc = memory_capture(&c.m, &copy, &err);
    if (rc < 0) {
        assert_int_equal(err.code, ERR_UNAVAILABLE);
        assert_non_null(strstr(err.msg, "too little memory"));
        assert_null(copy);
    }
    memory_copy_free(copy);
    rc = memory_load(dirfd, "memory", &f, c.m.size, &memfd, &err);
    assert_true(rc == 0 || (err.code == ERR_UNAVAILABLE && memfd == -1));
    close(memfd);
    host_memory_release(claimed);

    assert_int_equal(memory_capture(&c.m, &copy, &err), 0);
    memory_copy_free(copy);
    ram_child_stop(&c);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
}

static void test_file_is_the_same_for_the_same_pages(void **state)
{
    struct ram_child c;
    struct memory_file a, b;
    (void)state;
    ram_child_start(&c, base, PAGES, scatter);
    save(&c, false, false, &a);
    AUTO_FREE char *first = tempdir_read(&dir, "memory");
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
    save(&c, false, true, &b);
    AUTO_FREE char *second = tempdir_read(&dir, "memory");
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
    ram_child_stop(&c);
    assert_memory_equal(&a, &b, sizeof(a));
    assert_memory_equal(first, second, a.size);
}

static void test_a_copy_is_of_its_moment(void **state)
{
    struct ram_child c, target;
    struct memory_copy *copy;
    struct memory_file f;
    struct err err;
    uint8_t other[PAGE_BYTES];
    struct iovec local = { other, sizeof(other) };
    struct page_run run = { 1, 1 };
    (void)state;
    ram_child_start(&c, base, PAGES, scatter);
    assert_int_equal(memory_capture(&c.m, &copy, &err), 0);
    memset(other, 0xee, sizeof(other));
    assert_int_equal(pages_write(&c.m, &run, &local, 1), 0);
    ram_child_stop(&c);
    assert_int_equal(memory_write(copy, dirfd, "memory", false, &f, &err), 0);
    memory_copy_free(copy);
    ram_child_start(&target, base, PAGES, NULL);
    assert_int_equal(memory_apply(dirfd, "memory", &f, &target.m, &err), 0);
    ram_child_expect(&target, base, scatter);
    ram_child_stop(&target);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
}

static void test_a_dead_process_is_unavailable(void **state)
{
    struct ram_child c;
    struct memory_copy *copy = NULL;
    struct memory_file f;
    struct err err = { 0 };
    uint64_t bytes;
    (void)state;
    ram_child_start(&c, base, PAGES, scatter);
    save(&c, false, false, &f);
    ram_child_stop(&c);
    assert_true(memory_dirty_bytes(&c.m, &bytes, &err) < 0);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_true(memory_capture(&c.m, &copy, &err) < 0);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_true(memory_save(&c.m, dirfd, "other", false, &f, &err) < 0);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_false(tempdir_exists(&dir, "other"));
    struct memory_file again = f;
    assert_true(memory_apply(dirfd, "memory", &again, &c.m, &err) < 0);
    assert_int_equal(unlinkat(dirfd, "memory", 0), 0);
}

static void test_impossible_memory_is_refused(void **state)
{
    const struct vmm_memory bad[] = { { 0, 0x10000, 0x1000 },
                                      { 1, 0x10001, 0x1000 },
                                      { 1, 0x10000, 0x1001 },
                                      { 1, 0x10000, 0 },
                                      { 1, UINT64_MAX - 4095, 0x2000 } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err err = { 0 };
        uint64_t bytes;
        assert_int_equal(memory_dirty_bytes(&bad[i], &bytes, &err), -EINVAL);
        assert_int_equal(err.code, ERR_INTERNAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_apply),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_capture_and_load_need_memory),
        cmocka_unit_test(test_file_is_the_same_for_the_same_pages),
        cmocka_unit_test(test_a_copy_is_of_its_moment),
        cmocka_unit_test(test_a_dead_process_is_unavailable),
        cmocka_unit_test(test_impossible_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
