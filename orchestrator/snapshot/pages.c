#include "orchestrator/snapshot/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void page_set_deinit(struct page_set *s)
{
    free(s->runs);
    free(s->chunks);
    *s = (struct page_set){ 0 };
}

/* Room for one more item; 0 or -ENOMEM. */
static int grow(void **items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return 0;
    size_t more = *cap ? *cap * 2 : 256;
    void *bigger = reallocarray(*items, more, size);
    if (!bigger)
        return -ENOMEM;
    *items = bigger;
    *cap = more;
    return 0;
}

static int add_run(struct page_set *s, uint32_t page, uint32_t count)
{
    bool new_chunk = s->pages % CHUNK_PAGES == 0;
    struct page_run *last = s->nruns ? &s->runs[s->nruns - 1] : NULL;
    if (!new_chunk && last && last->page + last->count == page) {
        last->count += count;
        s->pages += count;
        return 0;
    }
    if (grow((void **)&s->runs, s->nruns, &s->runs_cap, sizeof(*s->runs)) < 0 ||
        (new_chunk &&
         grow((void **)&s->chunks, s->nchunks, &s->chunks_cap, sizeof(*s->chunks)) < 0))
        return -ENOMEM;
    if (new_chunk)
        s->chunks[s->nchunks++] = s->nruns;
    s->runs[s->nruns++] = (struct page_run){ page, count };
    s->pages += count;
    return 0;
}

int page_set_add(struct page_set *s, uint32_t page, uint32_t count)
{
    while (count) {
        uint32_t room = CHUNK_PAGES - (uint32_t)(s->pages % CHUNK_PAGES);
        uint32_t part = count < room ? count : room;
        if (add_run(s, page, part) < 0)
            return -ENOMEM;
        page += part;
        count -= part;
    }
    return 0;
}

size_t page_set_chunk(const struct page_set *s, size_t k, const struct page_run **runs,
                      size_t *pages)
{
    size_t end = k + 1 < s->nchunks ? s->chunks[k + 1] : s->nruns;
    *runs = s->runs + s->chunks[k];
    *pages = k + 1 < s->nchunks ? CHUNK_PAGES : s->pages - (s->nchunks - 1) * CHUNK_PAGES;
    return end - s->chunks[k];
}

/* process_vm_readv and process_vm_writev move every byte or fail; what they moved before a page
 * that cannot be had is of no use here. */
static int moved(ssize_t n, size_t wanted)
{
    if (n < 0)
        return -errno;
    return (size_t)n == wanted ? 0 : -EFAULT;
}

static size_t remote_of(const struct vmm_memory *m, const struct page_run *runs, size_t n,
                        struct iovec remote[static CHUNK_PAGES])
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        uintptr_t at = m->address + (uint64_t)runs[i].page * PAGE_BYTES;
        remote[i] = (struct iovec){ (void *)at, (size_t)runs[i].count * PAGE_BYTES };
        bytes += remote[i].iov_len;
    }
    return bytes;
}

int pages_read(const struct vmm_memory *m, const struct page_run *runs, size_t n, void *to)
{
    struct iovec remote[CHUNK_PAGES];
    size_t bytes = remote_of(m, runs, n, remote);
    struct iovec local = { to, bytes };
    return moved(process_vm_readv(m->pid, &local, 1, remote, n, 0), bytes);
}

int pages_write(const struct vmm_memory *m, const struct page_run *runs, const struct iovec *local,
                size_t n)
{
    struct iovec remote[CHUNK_PAGES];
    size_t bytes = remote_of(m, runs, n, remote);
    return moved(process_vm_writev(m->pid, local, n, remote, n, 0), bytes);
}
