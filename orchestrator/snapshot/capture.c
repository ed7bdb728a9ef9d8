#include "orchestrator/snapshot/copy.h"
#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "orchestrator/snapshot/host_memory.h"
#include "orchestrator/snapshot/parallel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

int memory_dirty_bytes(const struct vmm_memory *m, uint64_t *bytes, struct err *err)
{
    struct page_set set = { 0 };
    int rc = pages_scan(m, &set, err);
    *bytes = set.pages * PAGE_BYTES;
    page_set_deinit(&set);
    return rc;
}

struct capture {
    const struct vmm_memory *m;
    struct memory_copy *copy;
    atomic_size_t next;
    atomic_int rc;
};

static void copy_chunks(void *user)
{
    struct capture *job = user;
    const struct page_set *set = &job->copy->set;
    size_t k;
    while (job->rc == 0 && (k = job->next++) < set->nchunks) {
        const struct page_run *runs;
        size_t pages, n = page_set_chunk(set, k, &runs, &pages);
        int rc = pages_read(job->m, runs, n, job->copy->data + k * CHUNK_BYTES);
        if (rc < 0)
            job->rc = rc;
    }
}

static int map_copy(struct memory_copy *c, struct err *err)
{
    c->size = (size_t)c->set.pages * PAGE_BYTES;
    void *data = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM,
                       "the host gives no memory to copy %" PRIu64 " MB of a sandbox's memory",
                       (uint64_t)c->size >> 20);
    c->data = data;
    /* Filled at once: fewer page faults while the VM stands still. */
    madvise(data, c->size, MADV_HUGEPAGE);
    return 0;
}

static int fill(const struct vmm_memory *m, struct memory_copy *c, struct err *err)
{
    int rc = pages_scan(m, &c->set, err);
    c->ram_size = m->size;
    uint64_t bytes = c->set.pages * PAGE_BYTES;
    if (rc < 0 || bytes == 0)
        return rc;
    rc = host_memory_reserve(bytes, err);
    if (rc < 0)
        return rc;
    rc = map_copy(c, err);
    if (rc == 0) {
        struct capture job = { .m = m, .copy = c };
        parallel_run(parallel_threads(c->set.nchunks), copy_chunks, &job);
        rc = job.rc;
        if (rc < 0)
            rc = err_set(err, ERR_UNAVAILABLE, -rc, "cannot read the VM's memory: %s",
                         strerror(-rc));
    }
    host_memory_release(bytes);
    return rc;
}

int memory_capture(const struct vmm_memory *m, struct memory_copy **out, struct err *err)
{
    struct memory_copy *c = calloc(1, sizeof(*c));
    if (!c)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = FAULT_POINT("memory.capture")
                 ? err_set(err, ERR_UNAVAILABLE, EIO, "fault point memory.capture")
                 : fill(m, c, err);
    if (rc < 0) {
        memory_copy_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void memory_copy_free(struct memory_copy *c)
{
    if (!c)
        return;
    if (c->data)
        munmap(c->data, c->size);
    page_set_deinit(&c->set);
    free(c);
}
