#include "common/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

static void slide(struct buf *b)
{
    if (b->off == 0)
        return;
    memmove(b->data, b->data + b->off, b->len - b->off);
    b->len -= b->off;
    b->off = 0;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->cap - b->len >= n && b->data)
        return b->data + b->len;

    /* Sliding pays when at least half of what is stored was consumed already. */
    if (b->off >= (b->len + 1) / 2)
        slide(b);
    if (b->cap - b->len >= n && b->data)
        return b->data + b->len;

    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len < n) {
        if (cap > SIZE_MAX / 2) {
            b->failed = true;
            return NULL;
        }
        cap *= 2;
    }
    uint8_t *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->cap = cap;
    return b->data + b->len;
}

bool buf_append_growing(struct buf *b, const void *data, size_t n)
{
    if (n == 0)
        return !b->failed;
    uint8_t *to = buf_reserve(b, n);
    if (!to)
        return false;
    memcpy(to, data, n);
    b->len += n;
    return true;
}

bool buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return ok;
}

bool buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof(small), fmt, ap);
    bool ok = false;
    if (n >= 0 && (size_t)n < sizeof(small)) {
        ok = buf_append(b, small, (size_t)n);
    } else if (n >= 0) {
        uint8_t *to = buf_reserve(b, (size_t)n + 1);
        if (to) {
            vsnprintf((char *)to, (size_t)n + 1, fmt, again);
            b->len += (size_t)n;
            ok = true;
        }
    } else {
        b->failed = true;
    }
    va_end(again);
    return ok;
}

void buf_consume(struct buf *b, size_t n)
{
    b->off += n;
    if (b->off < b->len)
        return;
    b->off = b->len = 0;
    if (b->cap > BUF_KEEP) {
        free(b->data);
        b->data = NULL;
        b->cap = 0;
    }
}

void buf_clear(struct buf *b)
{
    b->off = b->len = 0;
    b->failed = false;
}

char *buf_take_text(struct buf *b)
{
    buf_putc(b, '\0');
    if (b->failed) {
        buf_deinit(b);
        return NULL;
    }
    slide(b);
    char *text = (char *)b->data;
    *b = (struct buf){ 0 };
    return text;
}
