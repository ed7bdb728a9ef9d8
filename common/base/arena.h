/* Memory that lives as long as one request: allocated piece by piece, freed at once. */
#ifndef COMMON_BASE_ARENA_H
#define COMMON_BASE_ARENA_H

#include "common/base/str.h"

#include <protobuf-c/protobuf-c.h>

struct arena_block;

/* All zero is a valid empty arena; nothing is allocated before the first use. */
struct arena {
    struct arena_block *blocks;
    size_t held; /* bytes of all blocks */
};

void arena_deinit(struct arena *a);

/* n bytes aligned for any object, not zeroed; NULL when memory is out. */
void *arena_alloc(struct arena *a, size_t n);
void *arena_zalloc(struct arena *a, size_t n);

/* A terminated copy of s; NULL when memory is out. */
char *arena_dup(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Bytes that the arena holds from the system. */
static inline size_t arena_size(const struct arena *a)
{
    return a->held;
}

/* An allocator for protobuf-c that takes from `a` (borrowed) and frees nothing. */
ProtobufCAllocator arena_allocator(struct arena *a);

#endif
