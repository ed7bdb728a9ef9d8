#include "common/base/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MIN 1024
#define BLOCK_MAX 65536

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(max_align_t) uint8_t bytes[];
};

/* Blocks that were given back, by size, for the next arena of this thread: each request has one,
 * and an allocator that returns such blocks to the kernel takes them anew page by page. Not where a
 * use after the arena's end is to be found. */
#ifdef __SANITIZE_ADDRESS__
#define KEEP_BYTES 0
#else
#define KEEP_BYTES 262144
#endif
#define SIZES 7 /* BLOCK_MIN << 0 to BLOCK_MAX */

static _Thread_local struct arena_block *kept[SIZES];
static _Thread_local size_t kept_bytes;

/* The place of blocks of that size, or NULL. */
static struct arena_block **place_of(size_t size)
{
    for (size_t i = 0; i < SIZES; i++)
        if (size == (size_t)BLOCK_MIN << i)
            return &kept[i];
    return NULL;
}

static struct arena_block *get_block(size_t size)
{
    struct arena_block **place = place_of(size);
    if (!place || !*place)
        return malloc(sizeof(struct arena_block) + size);
    struct arena_block *b = *place;
    *place = b->next;
    kept_bytes -= size;
    return b;
}

static void put_block(struct arena_block *b)
{
    struct arena_block **place = place_of(b->size);
    if (!place || kept_bytes + b->size > KEEP_BYTES) {
        free(b);
        return;
    }
    kept_bytes += b->size;
    b->next = *place;
    *place = b;
}

void arena_deinit(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        put_block(a->blocks);
        a->blocks = next;
    }
    a->held = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t align = alignof(max_align_t);
    if (n > SIZE_MAX - align - sizeof(struct arena_block))
        return NULL;
    n = (n + align - 1) & ~(align - 1);

    struct arena_block *b = a->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = b ? b->size * 2 : BLOCK_MIN;
        if (size > BLOCK_MAX)
            size = BLOCK_MAX;
        if (size < n)
            size = n;
        struct arena_block *fresh = get_block(size);
        if (!fresh)
            return NULL;
        *fresh = (struct arena_block){ .next = b, .size = size };
        a->blocks = b = fresh;
        a->held += sizeof(*fresh) + size;
    }
    void *p = b->bytes + b->used;
    b->used += n;
    return p;
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    return p ? memset(p, 0, n) : NULL;
}

char *arena_dup(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.n + 1);
    if (!copy)
        return NULL;
    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *text = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return text;
}

static void *pb_alloc(void *data, size_t n)
{
    return arena_alloc(data, n);
}

static void pb_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

ProtobufCAllocator arena_allocator(struct arena *a)
{
    return (ProtobufCAllocator){ .alloc = pb_alloc, .free = pb_free, .allocator_data = a };
}
