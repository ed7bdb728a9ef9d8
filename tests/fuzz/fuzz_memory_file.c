/* A file of memory pages, as if every digest were right: header, table, each chunk. What a chunk
 * gives must lie in the RAM and be readable; what is encoded from it again gives the same pages. */
#include "orchestrator/snapshot/format.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RAM_MAX (UINT64_C(16) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t body[FORMAT_BODY_MAX], scratch[CHUNK_BYTES];
static uint8_t pages[CHUNK_BYTES], again[CHUNK_BYTES];

static void encode_again(const struct format_chunk *c, uint32_t end)
{
    static struct format_chunk back;
    struct format_entry e;
    size_t n = 0, m = 0;
    for (size_t i = 0; i < c->nruns; i++) {
        memcpy(pages + n, c->data[i].iov_base, c->data[i].iov_len);
        n += c->data[i].iov_len;
    }
    format_chunk_put(c->runs, c->nruns, pages, false, scratch, body, &e);
    assert(e.stored && e.stored <= sizeof(body) && format_chunk_intact(&e, body));
    assert(format_chunk_get(&e, end, body, scratch, &back, NULL) == 0);
    for (size_t i = 0; i < back.nruns; i++) {
        memcpy(again + m, back.data[i].iov_base, back.data[i].iov_len);
        m += back.data[i].iov_len;
    }
    assert(n == m && memcmp(pages, again, n) == 0);
}

static void take_chunk(const struct format_entry *e, uint32_t end, const uint8_t *from)
{
    static struct format_chunk c;
    struct err err = { 0 };
    /* Bytes of its own, so that a read beyond them is seen. */
    uint8_t *bytes = malloc(e->stored);
    memcpy(bytes, from, e->stored);
    if (format_chunk_get(e, end, bytes, scratch, &c, &err) == 0) {
        for (size_t i = 0; i < c.nruns; i++)
            assert(c.runs[i].page >= e->first && c.runs[i].page + c.runs[i].count <= end);
        encode_again(&c, end);
    } else {
        assert(err.code == ERR_DATA_LOSS && err.msg[0]);
    }
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct format_header h;
    struct err err = { 0 };
    if (size < FORMAT_HEADER)
        return 0;
    if (format_header_get(data, size, &h, &err) < 0 || h.ram_size > RAM_MAX)
        return 0;
    struct format_entry *entries = calloc(h.nchunks + 1, sizeof(*entries));
    if (format_table_get(&h, data + h.table, entries, &err) == 0) {
        for (uint32_t i = 0; i < h.nchunks; i++) {
            uint64_t end = i + 1 < h.nchunks ? entries[i + 1].first : h.ram_size / PAGE_BYTES;
            take_chunk(&entries[i], (uint32_t)end, data + entries[i].offset);
        }
    }
    free(entries);
    return 0;
}
