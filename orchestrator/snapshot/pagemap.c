#include "orchestrator/snapshot/pages.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Entries of /proc/PID/pagemap, which are read in blocks of this many. */
#define ENTRIES     32768
#define IS_FILE     (UINT64_C(1) << 61)
#define IS_SWAPPED  (UINT64_C(1) << 62)
#define IS_PRESENT  (UINT64_C(1) << 63)
#define ALL_FLAGS   (IS_FILE | IS_SWAPPED | IS_PRESENT)
#define ADDRESS_MAX (UINT64_C(1) << 47)

/* A page that belongs to the mapping alone: it has contents and they are not the file's. */
static bool is_dirty(uint64_t entry)
{
    return !(entry & IS_FILE) && (entry & (IS_PRESENT | IS_SWAPPED));
}

static int take(struct page_set *out, const uint64_t *entries, size_t n, uint32_t first)
{
    for (size_t i = 0; i < n;) {
        /* Most of a guest's RAM was never touched. */
        if (i + 4 <= n &&
            !((entries[i] | entries[i + 1] | entries[i + 2] | entries[i + 3]) & ALL_FLAGS)) {
            i += 4;
            continue;
        }
        size_t from = i;
        while (i < n && is_dirty(entries[i]))
            i++;
        if (i > from && page_set_add(out, first + (uint32_t)from, (uint32_t)(i - from)) < 0)
            return -ENOMEM;
        i += i == from;
    }
    return 0;
}

static int read_entries(int fd, uint64_t *to, size_t n, uint64_t first)
{
    ssize_t got;
    do
        got = pread(fd, to, n * sizeof(*to), (off_t)(first * sizeof(*to)));
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    return got == (ssize_t)(n * sizeof(*to)) ? 0 : -ESRCH;
}

static int scan(int fd, const struct vmm_memory *m, uint64_t *entries, struct page_set *out)
{
    uint64_t npages = m->size / PAGE_BYTES, base = m->address / PAGE_BYTES;
    for (uint64_t at = 0; at < npages; at += ENTRIES) {
        size_t n = npages - at < ENTRIES ? npages - at : ENTRIES;
        int rc = read_entries(fd, entries, n, base + at);
        if (rc == 0)
            rc = take(out, entries, n, (uint32_t)at);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int pages_scan(const struct vmm_memory *m, struct page_set *out, struct err *err)
{
    char path[64];
    if (m->pid <= 0 || m->address % PAGE_BYTES || m->size % PAGE_BYTES || m->size == 0 ||
        m->size >= ADDRESS_MAX || m->address >= ADDRESS_MAX - m->size ||
        m->size / PAGE_BYTES > UINT32_MAX)
        return err_set(err, ERR_INTERNAL, EINVAL, "no such memory of a VM");
    snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)m->pid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "cannot look into the VM's process: %s: %s",
                       path, strerror(errno));
    AUTO_FREE uint64_t *entries = malloc(ENTRIES * sizeof(*entries));
    int rc = entries ? scan(fd, m, entries, out) : -ENOMEM;
    if (rc == -ENOMEM)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory for the list of dirty pages");
    if (rc < 0)
        return err_set(err, ERR_UNAVAILABLE, -rc, "cannot read %s: %s", path, strerror(-rc));
    return 0;
}
