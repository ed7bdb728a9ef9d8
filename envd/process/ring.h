/*
 * The newest output of one process, kept for whoever reads it: a queue of chunks holding records
 * (stream, bytes) in the order of arrival. Offsets count output bytes since the process began, both
 * streams together. Any number of readers each have a position of their own; none of them removes
 * anything. Memory is taken chunk by chunk, from a budget that all rings share.
 */
#ifndef ENVD_PROCESS_RING_H
#define ENVD_PROCESS_RING_H

#include "common/base/str.h"

/* Bytes of one ring, and of all rings of a program. */
#define RING_BYTES_DEFAULT   (1U << 20)
#define RING_BUDGET_DEFAULT  (32U << 20)
#define RING_BYTES_MIN       16384U
#define RING_CHUNK_MIN       4096U
#define RING_CHUNK_MAX       65536U
#define RING_CHUNKS_PER_RING 16

enum ring_stream { RING_STDOUT, RING_STDERR, RING_PTY };

/* What all rings hold together. A ring without any chunk may always take one of RING_CHUNK_MIN, so
 * that no process is stopped for good by the output of others. */
struct ring_budget {
    size_t used, max;
    /* Free memory of other rings, at least `need` bytes if possible. May be NULL. */
    void (*reclaim)(struct ring_budget *b, size_t need);
    /* A ring had got nothing, and now memory was given back: it can try again. Must not touch any
     * ring before it returned. May be NULL. */
    void (*freed)(struct ring_budget *b);
    bool starved; /* a ring got nothing since the last call of freed */
};

struct ring_chunk;

struct ring {
    struct ring_budget *budget; /* borrowed */
    size_t max;                 /* bytes of chunks */
    size_t held;
    struct ring_chunk **chunks; /* chunk number n is at n % cap; cap is a power of two */
    size_t cap;
    uint64_t first, next; /* numbers of the oldest chunk and of the next new one */
    uint64_t end;         /* offset behind the newest byte */
    enum ring_stream reserved;
    bool out_of_memory; /* why the last ring_reserve() gave nothing */
};

/* A reader's place. All zero is the beginning of the output. */
struct ring_pos {
    uint64_t offset;
    uint64_t chunk;
    uint32_t at;     /* of the record in the chunk */
    uint32_t within; /* of the next byte in the record */
};

struct ring_view {
    enum ring_stream stream;
    const uint8_t *data; /* valid until the ring is written or dropped from */
    size_t n;
};

/* `max` is raised to RING_BYTES_MIN. Nothing is allocated yet. */
void ring_init(struct ring *r, struct ring_budget *budget, size_t max);
void ring_deinit(struct ring *r);

/*
 * Room for at least one more byte of `stream`: a pointer and in *n how many may be written there;
 * follow with ring_commit(). Old chunks are dropped for it as far as all their bytes lie before
 * offset `droppable`. NULL when there is no room without dropping more, or no memory.
 */
uint8_t *ring_reserve(struct ring *r, enum ring_stream stream, uint64_t droppable, size_t *n);

/* Take over the first n bytes of what was reserved last. */
void ring_commit(struct ring *r, size_t n);

/* Offset of the oldest byte held; ring->end when there is none. */
uint64_t ring_begin(const struct ring *r);

/* The position of a byte; offsets no longer or not yet held become the nearest one that is. */
struct ring_pos ring_seek(const struct ring *r, uint64_t offset);

/* Move a position whose bytes were dropped to the oldest byte held; how many were missed. */
uint64_t ring_catch_up(const struct ring *r, struct ring_pos *pos);

/* The bytes at *pos, at most `max`, of one stream; false when the reader has everything. Call
 * ring_catch_up() first; *pos moves over the ends of records and chunks, but not over bytes. */
bool ring_read(const struct ring *r, struct ring_pos *pos, size_t max, struct ring_view *out);
void ring_advance(struct ring_pos *pos, size_t n);

/* Drop the oldest chunk if all its bytes lie before `droppable`; the bytes of memory freed. */
size_t ring_drop_oldest(struct ring *r, uint64_t droppable);

/* No more output will come: give back what the last chunk does not use. Positions stay valid. */
void ring_trim(struct ring *r);

#endif
