#include "envd/process/ring.h"

#include "common/base/fault.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct ring_chunk {
    uint64_t start; /* offset of its first byte */
    uint32_t bytes; /* of output */
    uint32_t size;  /* of data[] */
    uint32_t len;   /* used, records' heads included */
    uint32_t last;  /* where the last record is */
    uint8_t data[];
};

/* Before the bytes of each record. Records are packed, so it is copied in and out. */
struct record {
    uint32_t n;
    uint32_t stream;
};

/* With less than this part of its size free a chunk counts as full: a read(2) of a few bytes costs
 * as much as one of many. */
#define CHUNK_ROOM_PART 16U

/* The chunk that was freed last, for the next one of its size: the allocator would give the memory
 * back to the kernel and take it anew, page by page, for each chunk of a busy output. */
static struct ring_chunk *spare;

static void free_chunk(struct ring_chunk *c)
{
    free(spare);
    spare = c;
}

static struct ring_chunk *new_chunk(uint32_t size)
{
    struct ring_chunk *c = spare;
    if (!c || c->size != size)
        return malloc(sizeof(*c) + size);
    spare = NULL;
    return c;
}

static size_t cost(uint32_t size)
{
    return sizeof(struct ring_chunk) + size;
}

static void give_back(struct ring *r, size_t n)
{
    struct ring_budget *b = r->budget;
    r->held -= n;
    b->used -= n;
    if (b->starved && b->freed) {
        b->starved = false;
        b->freed(b);
    }
}

static struct ring_chunk *chunk(const struct ring *r, uint64_t number)
{
    return r->chunks[number & (r->cap - 1)];
}

static struct record record_at(const struct ring_chunk *c, uint32_t at)
{
    struct record rec;
    memcpy(&rec, c->data + at, sizeof(rec));
    return rec;
}

void ring_init(struct ring *r, struct ring_budget *budget, size_t max)
{
    *r = (struct ring){ .budget = budget, .max = max < RING_BYTES_MIN ? RING_BYTES_MIN : max };
}

void ring_deinit(struct ring *r)
{
    while (ring_drop_oldest(r, UINT64_MAX) > 0) {
    }
    free(r->chunks);
    *r = (struct ring){ .budget = r->budget, .max = r->max, .end = r->end };
}

uint64_t ring_begin(const struct ring *r)
{
    return r->first == r->next ? r->end : chunk(r, r->first)->start;
}

size_t ring_drop_oldest(struct ring *r, uint64_t droppable)
{
    if (r->first == r->next)
        return 0;
    struct ring_chunk *c = chunk(r, r->first);
    if (c->start + c->bytes > droppable)
        return 0;
    size_t n = cost(c->size);
    r->chunks[r->first & (r->cap - 1)] = NULL;
    r->first++;
    free_chunk(c);
    give_back(r, n);
    return n;
}

/* The size of the next chunk: doubling, so that a process that prints a line holds little. */
static uint32_t next_size(const struct ring *r)
{
    size_t most = r->max / RING_CHUNKS_PER_RING;
    if (most > RING_CHUNK_MAX)
        most = RING_CHUNK_MAX;
    size_t size = r->first == r->next ? RING_CHUNK_MIN : 2 * (size_t)chunk(r, r->next - 1)->size;
    if (size > most)
        size = most;
    return (uint32_t)(size < RING_CHUNK_MIN ? RING_CHUNK_MIN : size);
}

static bool grow_index(struct ring *r)
{
    if (r->next - r->first < r->cap)
        return true;
    size_t cap = r->cap ? r->cap * 2 : 4;
    struct ring_chunk **chunks = calloc(cap, sizeof(struct ring_chunk *));
    if (!chunks)
        return false;
    for (uint64_t n = r->first; n < r->next; n++)
        chunks[n & (cap - 1)] = chunk(r, n);
    free(r->chunks);
    r->chunks = chunks;
    r->cap = cap;
    return true;
}

/* Make `size` fit into the ring and the budget by dropping what may be dropped. */
static bool make_room(struct ring *r, size_t need, uint64_t droppable)
{
    while (r->held + need > r->max) {
        if (ring_drop_oldest(r, droppable) == 0)
            return false;
    }
    struct ring_budget *b = r->budget;
    if (b->used + need > b->max && b->reclaim)
        b->reclaim(b, need);
    while (b->used + need > b->max) {
        if (ring_drop_oldest(r, droppable) == 0)
            break;
    }
    if (b->used + need <= b->max || r->held == 0)
        return true;
    b->starved = true;
    return false;
}

static struct ring_chunk *add_chunk(struct ring *r, uint64_t droppable)
{
    uint32_t size = next_size(r);
    r->out_of_memory = false;
    if (!make_room(r, cost(size), droppable)) {
        /* A smaller one may still fit. */
        size = RING_CHUNK_MIN;
        if (!make_room(r, cost(size), droppable))
            return NULL;
    }
    if (r->held == 0 && r->budget->used + cost(size) > r->budget->max)
        size = RING_CHUNK_MIN;
    struct ring_chunk *c =
        FAULT_POINT("process.ring_chunk") || !grow_index(r) ? NULL : new_chunk(size);
    r->out_of_memory = c == NULL;
    if (!c)
        return NULL;
    *c = (struct ring_chunk){ .start = r->end, .size = size };
    r->chunks[r->next & (r->cap - 1)] = c;
    r->next++;
    r->held += cost(size);
    r->budget->used += cost(size);
    return c;
}

uint8_t *ring_reserve(struct ring *r, enum ring_stream stream, uint64_t droppable, size_t *n)
{
    struct ring_chunk *c = r->first == r->next ? NULL : chunk(r, r->next - 1);
    if (!c || c->size - c->len < c->size / CHUNK_ROOM_PART + sizeof(struct record)) {
        c = add_chunk(r, droppable);
        if (!c)
            return NULL;
    }
    r->reserved = stream;
    bool same = c->len > 0 && record_at(c, c->last).stream == (uint32_t)stream;
    uint32_t at = c->len + (same ? 0 : (uint32_t)sizeof(struct record));
    *n = c->size - at;
    return c->data + at;
}

void ring_commit(struct ring *r, size_t n)
{
    if (n == 0)
        return;
    assert(r->first != r->next);
    struct ring_chunk *c = chunk(r, r->next - 1);
    struct record rec = { .stream = (uint32_t)r->reserved };
    if (c->len > 0 && record_at(c, c->last).stream == rec.stream) {
        rec = record_at(c, c->last);
    } else {
        c->last = c->len;
        c->len += (uint32_t)sizeof(rec);
    }
    assert(n <= c->size - c->len);
    rec.n += (uint32_t)n;
    memcpy(c->data + c->last, &rec, sizeof(rec));
    c->len += (uint32_t)n;
    c->bytes += (uint32_t)n;
    r->end += n;
}

uint64_t ring_catch_up(const struct ring *r, struct ring_pos *pos)
{
    if (pos->chunk >= r->first)
        return 0;
    uint64_t begin = ring_begin(r);
    uint64_t missed = begin > pos->offset ? begin - pos->offset : 0;
    *pos = (struct ring_pos){ .offset = begin, .chunk = r->first };
    return missed;
}

bool ring_read(const struct ring *r, struct ring_pos *pos, size_t max, struct ring_view *out)
{
    assert(pos->chunk >= r->first);
    while (pos->chunk < r->next) {
        const struct ring_chunk *c = chunk(r, pos->chunk);
        if (pos->at + sizeof(struct record) <= c->len) {
            struct record rec = record_at(c, pos->at);
            if (pos->within < rec.n) {
                size_t n = rec.n - pos->within;
                *out = (struct ring_view){ .stream = (enum ring_stream)rec.stream,
                                           .data = c->data + pos->at + sizeof(rec) + pos->within,
                                           .n = n < max ? n : max };
                return true;
            }
            /* The last record may still grow. */
            if (pos->at < c->last) {
                pos->at += (uint32_t)sizeof(rec) + rec.n;
                pos->within = 0;
                continue;
            }
        }
        if (pos->chunk + 1 == r->next)
            return false;
        pos->chunk++;
        pos->at = pos->within = 0;
    }
    return false;
}

void ring_advance(struct ring_pos *pos, size_t n)
{
    pos->offset += n;
    pos->within += (uint32_t)n;
}

struct ring_pos ring_seek(const struct ring *r, uint64_t offset)
{
    struct ring_pos pos = { .offset = ring_begin(r), .chunk = r->first };
    struct ring_view view;
    if (offset > r->end)
        offset = r->end;
    while (pos.offset < offset && pos.chunk < r->next) {
        const struct ring_chunk *c = chunk(r, pos.chunk);
        if (c->start + c->bytes > offset || pos.chunk + 1 == r->next)
            break;
        pos = (struct ring_pos){ .offset = c->start + c->bytes, .chunk = pos.chunk + 1 };
    }
    while (pos.offset < offset && ring_read(r, &pos, (size_t)(offset - pos.offset), &view))
        ring_advance(&pos, view.n);
    return pos;
}

void ring_trim(struct ring *r)
{
    if (r->first == r->next)
        return;
    struct ring_chunk *c = chunk(r, r->next - 1);
    if (c->len == 0) {
        r->next--;
        size_t n = cost(c->size);
        free_chunk(c);
        give_back(r, n);
        return;
    }
    struct ring_chunk *smaller = realloc(c, cost(c->len));
    if (!smaller)
        return;
    size_t saved = smaller->size - smaller->len;
    smaller->size = smaller->len;
    r->chunks[(r->next - 1) & (r->cap - 1)] = smaller;
    give_back(r, saved);
}
