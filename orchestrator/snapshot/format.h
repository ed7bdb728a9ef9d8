/*
 * The file of a RAM's pages. All numbers are little-endian.
 *
 *   header   FORMAT_HEADER bytes: magic, version, page size, size of the RAM, counts, place of the
 *            table
 *   chunks   one behind the other, each: its runs (first page, count; a count with RUN_ZERO is of
 *            zero pages and has no data), then the pages of its other runs, as they are or LZ4
 *   table    FORMAT_ENTRY bytes for each chunk: place, size, first page, counts, digest (XXH3,
 *            128 bits) of the chunk's bytes
 *
 * The SHA-256 over header and table is kept in the manifest; through the digests in the table it
 * stands for every byte of the file. A chunk's digest guards against damage, not against someone
 * who can write the file: whoever can do that owns the guest as it is. Chunks are independent of
 * one another, so they are written and read on several threads.
 */
#ifndef ORCHESTRATOR_SNAPSHOT_FORMAT_H
#define ORCHESTRATOR_SNAPSHOT_FORMAT_H

#include "common/base/err.h"
#include "orchestrator/snapshot/pages.h"

#define FORMAT_VERSION 1
#define FORMAT_HEADER  64
#define FORMAT_ENTRY   48
#define FORMAT_RUN     8
#define FORMAT_DIGEST  16
#define RUN_ZERO       (UINT32_C(1) << 31)

/* The most bytes of a chunk: all its pages in runs of their own, as they are. */
#define FORMAT_BODY_MAX (CHUNK_PAGES * FORMAT_RUN + CHUNK_BYTES)

enum format_encoding { FORMAT_RAW = 0, FORMAT_LZ4 = 1 };

struct format_header {
    uint64_t ram_size;
    uint64_t pages, zero_pages;
    uint64_t table; /* where it is */
    uint32_t nchunks;
};

struct format_entry {
    uint64_t offset;
    uint32_t stored; /* bytes of the chunk in the file */
    uint32_t first;  /* page of its first run */
    uint32_t nruns;
    uint32_t pages, zero_pages;
    uint32_t encoding;
    uint8_t digest[FORMAT_DIGEST];
};

/* A chunk's pages, ready to be put into a RAM. */
struct format_chunk {
    struct page_run runs[CHUNK_PAGES]; /* counts without RUN_ZERO */
    struct iovec data[CHUNK_PAGES];    /* where each run's pages are; zeros for zero runs */
    bool zero[CHUNK_PAGES];
    size_t nruns;
};

void format_header_put(const struct format_header *h, uint8_t out[static FORMAT_HEADER]);
void format_entry_put(const struct format_entry *e, uint8_t out[static FORMAT_ENTRY]);

/* Parse the header of a file of `size` bytes. The manifest's format stands for the version of this
 * file as well, so another version is ERR_DATA_LOSS like everything that no program wrote. */
int format_header_get(const uint8_t in[static FORMAT_HEADER], uint64_t size,
                      struct format_header *out, struct err *err);

/* Parse the whole table (h->nchunks entries) and check that the chunks fill the file, ascend, and
 * count what the header counts. */
int format_table_get(const struct format_header *h, const uint8_t *table, struct format_entry *out,
                     struct err *err);

/*
 * Encode a chunk: n runs, whose pages are at `pages` one after the other. Zero pages become zero
 * runs, or are left out when `on_zeros`. `body` holds FORMAT_BODY_MAX bytes and takes the chunk;
 * `scratch`, CHUNK_BYTES, may be where the pages are. Fills *e but for its offset; a chunk of which
 * nothing is left has stored 0.
 */
void format_chunk_put(const struct page_run *runs, size_t n, const uint8_t *pages, bool on_zeros,
                      uint8_t *scratch, uint8_t *body, struct format_entry *e);

/* true when the body has the digest the table tells. */
bool format_chunk_intact(const struct format_entry *e, const uint8_t *body);

/* Decode a body of e->stored bytes whose runs lie below page `end`. `scratch` holds CHUNK_BYTES;
 * *out points into it, into the body and into static zeros. */
int format_chunk_get(const struct format_entry *e, uint32_t end, const uint8_t *body,
                     uint8_t *scratch, struct format_chunk *out, struct err *err);

#endif
