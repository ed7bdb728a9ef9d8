/* A growable byte buffer that is read from the front and written at the end. */
#ifndef COMMON_BASE_BUF_H
#define COMMON_BASE_BUF_H

#include "common/base/str.h"

#include <stdarg.h>

/* All zero is a valid empty buffer. Bytes data[off .. len) are held. `failed` is set when memory
 * ran out during an append, so that a run of appends is checked once. */
struct buf {
    uint8_t *data;
    size_t off, len, cap;
    bool failed;
};

void buf_deinit(struct buf *b);

static inline size_t buf_len(const struct buf *b)
{
    return b->len - b->off;
}

static inline uint8_t *buf_head(const struct buf *b)
{
    return b->data + b->off;
}

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){ b->data ? (const char *)b->data + b->off : "", b->len - b->off };
}

/* Make room for n more bytes and return where they go, or NULL when memory is out. Follow with
 * buf_commit(b, how many were written). */
uint8_t *buf_reserve(struct buf *b, size_t n);

static inline void buf_commit(struct buf *b, size_t n)
{
    b->len += n;
}

bool buf_append_growing(struct buf *b, const void *data, size_t n); /* see buf_append() */

static inline bool buf_append(struct buf *b, const void *data, size_t n)
{
    if (n == 0 || b->cap - b->len < n)
        return buf_append_growing(b, data, n);
    memcpy(b->data + b->len, data, n);
    b->len += n;
    return true;
}

static inline bool buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.p, s.n);
}

static inline bool buf_puts(struct buf *b, const char *text)
{
    return buf_append(b, text, strlen(text));
}

static inline bool buf_putc(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}

bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

/* Drop n bytes from the front. The storage is given back when an emptied buffer had grown beyond
 * BUF_KEEP bytes. */
void buf_consume(struct buf *b, size_t n);
#define BUF_KEEP 65536

/* Drop everything, keep the storage. */
void buf_clear(struct buf *b);

/* The contents as a malloc'ed, NUL-terminated text; the buffer becomes empty. NULL when memory is
 * out or an append failed before. */
char *buf_take_text(struct buf *b);

#endif
