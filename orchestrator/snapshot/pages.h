/* Which pages of a VM's RAM are dirty, and moving pages out of its process and into it. */
#ifndef ORCHESTRATOR_SNAPSHOT_PAGES_H
#define ORCHESTRATOR_SNAPSHOT_PAGES_H

#include "common/base/err.h"
#include "orchestrator/vmm/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define PAGE_BYTES 4096

/* Dirty pages are worked on in chunks of this many (the last one has fewer), each independent of
 * the others: 1 MiB stays in a core's cache from the copy to the compressor. */
#define CHUNK_PAGES 256
#define CHUNK_BYTES (CHUNK_PAGES * PAGE_BYTES)

struct page_run {
    uint32_t page, count;
};

/* Runs in ascending order. A run never reaches over the end of a chunk. */
struct page_set {
    struct page_run *runs;
    size_t nruns, runs_cap;
    size_t *chunks; /* each chunk's first run */
    size_t nchunks, chunks_cap;
    uint64_t pages;
};

void page_set_deinit(struct page_set *s);

/* Append pages behind those that are held. 0 or -ENOMEM. */
int page_set_add(struct page_set *s, uint32_t page, uint32_t count);

/* The runs of chunk k, and how many pages they are. */
size_t page_set_chunk(const struct page_set *s, size_t k, const struct page_run **runs,
                      size_t *pages);

/* The anonymous pages of the mapping. *out is empty before and owns memory after, also on failure.
 * ERR_UNAVAILABLE when the process may not be looked into. */
int pages_scan(const struct vmm_memory *m, struct page_set *out, struct err *err);

/* Copy the pages of n runs (a chunk's at most) out of the process, one after the other. 0 or
 * -errno. */
int pages_read(const struct vmm_memory *m, const struct page_run *runs, size_t n, void *to);

/* The other way: local[i] holds the pages of runs[i]. */
int pages_write(const struct vmm_memory *m, const struct page_run *runs, const struct iovec *local,
                size_t n);

#endif
