#include "guest_memory.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#define PAGE 4096

/* Of an entry in /proc/PID/pagemap. */
#define PRESENT   (UINT64_C(1) << 63)
#define SWAPPED   (UINT64_C(1) << 62)
#define FROM_FILE (UINT64_C(1) << 61)

static int open_of(const struct vmm_memory *m, const char *name, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)m->pid, name);
    int fd = open(path, flags | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static struct vmm_memory memory_of(const struct vmm *v)
{
    struct vmm_memory m;
    struct err err;
    if (vmm_memory(v, &m, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(m.address % PAGE, 0);
    return m;
}

/* Each changed page of `m` to `to` at `at` and following. */
static size_t copy_changed(const struct vmm_memory *m, int to, uint64_t at)
{
    static uint8_t page[PAGE];
    size_t n = 0;
    AUTO_CLOSE int map = open_of(m, "pagemap", O_RDONLY);
    AUTO_CLOSE int mem = open_of(m, "mem", O_RDONLY);
    for (uint64_t o = 0; o < m->size; o += PAGE) {
        uint64_t entry;
        assert_int_equal(pread(map, &entry, 8, (off_t)((m->address + o) / PAGE * 8)), 8);
        if (!(entry & (PRESENT | SWAPPED)) || (entry & FROM_FILE))
            continue;
        assert_int_equal(pread(mem, page, PAGE, (off_t)(m->address + o)), PAGE);
        assert_int_equal(pwrite(to, page, PAGE, (off_t)(at + o)), PAGE);
        n++;
    }
    return n;
}

int guest_memory_copy(const struct vmm *v, size_t *pages)
{
    struct vmm_memory m = memory_of(v);
    int fd = memfd_create("base", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, (off_t)m.size), 0);
    *pages = copy_changed(&m, fd, 0);
    assert_int_equal(
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    return fd;
}

size_t guest_memory_carry(const struct vmm *v, const struct vmm *to)
{
    struct vmm_memory from = memory_of(v), into = memory_of(to);
    AUTO_CLOSE int mem = open_of(&into, "mem", O_RDWR);
    return copy_changed(&from, mem, into.address);
}
