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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_apply),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
