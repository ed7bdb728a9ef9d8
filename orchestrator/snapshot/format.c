#include "orchestrator/snapshot/format.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static const char magic[8] = "SNDPTRAM";

static void put32(uint8_t *to, uint32_t v)
{
    v = htole32(v);
    memcpy(to, &v, sizeof(v));
}

static void put64(uint8_t *to, uint64_t v)
{
    v = htole64(v);
    memcpy(to, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *from)
{
    uint32_t v;
    memcpy(&v, from, sizeof(v));
    return le32toh(v);
}

static uint64_t get64(const uint8_t *from)
{
    uint64_t v;
    memcpy(&v, from, sizeof(v));
    return le64toh(v);
}

void format_header_put(const struct format_header *h, uint8_t out[static FORMAT_HEADER])
{
    memset(out, 0, FORMAT_HEADER);
    memcpy(out, magic, sizeof(magic));
    put32(out + 8, FORMAT_VERSION);
    put32(out + 12, PAGE_BYTES);
    put64(out + 16, h->ram_size);
    put64(out + 24, h->pages);
    put64(out + 32, h->zero_pages);
    put64(out + 40, h->table);
    put32(out + 48, h->nchunks);
}

static int damaged(struct err *err, const char *what)
{
    return err_set(err, ERR_DATA_LOSS, EIO, "the file of memory pages is damaged: %s", what);
}

int format_header_get(const uint8_t in[static FORMAT_HEADER], uint64_t size,
                      struct format_header *out, struct err *err)
{
    if (memcmp(in, magic, sizeof(magic)) != 0)
        return damaged(err, "it does not begin as one");
    if (get32(in + 8) != FORMAT_VERSION)
        return damaged(err, "its version is not the one of its manifest");
    if (get32(in + 12) != PAGE_BYTES)
        return damaged(err, "its pages have no possible size");
    *out = (struct format_header){ .ram_size = get64(in + 16),
                                   .pages = get64(in + 24),
                                   .zero_pages = get64(in + 32),
                                   .table = get64(in + 40),
                                   .nchunks = get32(in + 48) };
    uint64_t table = (uint64_t)out->nchunks * FORMAT_ENTRY;
    if (get32(in + 52) || get64(in + 56))
        return damaged(err, "unused fields of the header are used");
    if (size < FORMAT_HEADER + table || out->table != size - table)
        return damaged(err, "its table is not at its end");
    if (out->ram_size % PAGE_BYTES || out->ram_size / PAGE_BYTES >= RUN_ZERO)
        return damaged(err, "its size of the RAM is impossible");
    return 0;
}

void format_entry_put(const struct format_entry *e, uint8_t out[static FORMAT_ENTRY])
{
    put64(out, e->offset);
    put32(out + 8, e->stored);
    put32(out + 12, e->first);
    put32(out + 16, e->nruns);
    put32(out + 20, e->pages);
    put32(out + 24, e->zero_pages);
    put32(out + 28, e->encoding);
    memcpy(out + 32, e->digest, FORMAT_DIGEST);
}

static void entry_get(const uint8_t *in, struct format_entry *e)
{
    e->offset = get64(in);
    e->stored = get32(in + 8);
    e->first = get32(in + 12);
    e->nruns = get32(in + 16);
    e->pages = get32(in + 20);
    e->zero_pages = get32(in + 24);
    e->encoding = get32(in + 28);
    memcpy(e->digest, in + 32, FORMAT_DIGEST);
}

static bool entry_fits(const struct format_entry *e)
{
    uint64_t runs = (uint64_t)e->nruns * FORMAT_RUN, data = (uint64_t)e->pages * PAGE_BYTES;
    if (e->nruns == 0 || e->nruns > CHUNK_PAGES || e->pages > CHUNK_PAGES ||
        e->zero_pages > CHUNK_PAGES || e->pages + e->zero_pages > CHUNK_PAGES || e->stored < runs)
        return false;
    if (e->encoding == FORMAT_RAW)
        return e->stored == runs + data;
    return e->encoding == FORMAT_LZ4 && e->stored > runs && e->stored < runs + data;
}

int format_table_get(const struct format_header *h, const uint8_t *table, struct format_entry *out,
                     struct err *err)
{
    uint64_t offset = FORMAT_HEADER, pages = 0, zero_pages = 0;
    for (uint32_t i = 0; i < h->nchunks; i++) {
        struct format_entry *e = &out[i];
        entry_get(table + (size_t)i * FORMAT_ENTRY, e);
        if (!entry_fits(e) || e->offset != offset)
            return damaged(err, "an entry of its table is impossible");
        if (e->first >= h->ram_size / PAGE_BYTES || (i && e->first <= out[i - 1].first))
            return damaged(err, "its chunks are out of order");
        offset += e->stored;
        pages += e->pages;
        zero_pages += e->zero_pages;
    }
    if (offset != h->table || pages != h->pages || zero_pages != h->zero_pages)
        return damaged(err, "its table and its header differ");
    return 0;
}
