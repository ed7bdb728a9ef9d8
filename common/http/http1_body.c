#include "common/http/http1_body.h"

#include "common/base/encode.h"

enum chunk_state { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILERS };

/* 15 hexadecimal digits cannot overflow. */
#define SIZE_DIGITS_MAX 15

void http1_body_init(struct http1_body *b, enum http1_framing framing, int64_t length)
{
    *b = (struct http1_body){ .framing = framing };
    if (framing == HTTP1_LENGTH)
        b->left = (uint64_t)length;
    if (framing == HTTP1_NONE || (framing == HTTP1_LENGTH && length == 0))
        b->done = true;
}

void http1_body_deinit(struct http1_body *b)
{
    buf_deinit(&b->trailers);
}

/* One byte of the lines around chunks; false when it is wrong. */
static bool take_line_byte(struct http1_body *b, uint8_t c)
{
    switch ((enum chunk_state)b->state) {
    case SIZE:
        if (hex_digit((char)c) >= 0) {
            b->left = b->left * 16 + (uint64_t)hex_digit((char)c);
            return ++b->digits <= SIZE_DIGITS_MAX;
        }
        b->state = c == '\r' ? SIZE_LF : EXTENSION;
        return b->digits > 0 && (c == '\r' || c == ';');
    case EXTENSION:
        if (c == '\r') {
            b->state = SIZE_LF;
            return true;
        }
        return (c == '\t' || (c >= 0x20 && c != 0x7f)) && ++b->extensions <= HTTP1_EXTENSION_MAX;
    case SIZE_LF:
        b->state = b->left > 0 ? DATA : TRAILERS;
        if (b->state == TRAILERS)
            http1_scan_trailers(&b->scan);
        return c == '\n';
    case DATA_CR:
        b->state = DATA_LF;
        return c == '\r';
    case DATA_LF:
        b->state = SIZE;
        b->digits = 0;
        return c == '\n';
    case DATA:
    case TRAILERS:
        break;
    }
    return false;
}

static ptrdiff_t take_trailers(struct http1_body *b, const uint8_t *p, size_t n, size_t max)
{
    size_t before = b->scan.off;
    size_t room = max - before;
    if (n > room)
        n = room;
    if (!buf_append(&b->trailers, p, n))
        return -1;
    enum http1_scan_result found =
        http1_scan_head(&b->scan, buf_head(&b->trailers), buf_len(&b->trailers));
    if (found == HTTP1_SCAN_DONE)
        b->done = true;
    else if (found == HTTP1_SCAN_BAD || b->scan.off == max)
        return -1;
    b->trailers.len = b->scan.off;
    return (ptrdiff_t)(b->scan.off - before);
}

/* Body bytes as they are. */
static size_t take_data(struct http1_body *b, const uint8_t *p, size_t n, size_t room,
                        const uint8_t **data, size_t *ndata)
{
    if (n > room)
        n = room;
    if (b->framing != HTTP1_RAW) {
        if (n > b->left)
            n = (size_t)b->left;
        b->left -= n;
    }
    *data = p;
    *ndata = n;
    return n;
}

ptrdiff_t http1_body_take(struct http1_body *b, const uint8_t *p, size_t n, size_t room,
                          size_t trailer_max, const uint8_t **data, size_t *ndata)
{
    *data = NULL;
    *ndata = 0;
    if (b->done)
        return 0;
    if (b->framing != HTTP1_CHUNKED) {
        size_t took = take_data(b, p, n, room, data, ndata);
        b->done = b->framing == HTTP1_LENGTH && b->left == 0;
        return (ptrdiff_t)took;
    }

    size_t used = 0;
    while (used < n && b->state != DATA && b->state != TRAILERS)
        if (!take_line_byte(b, p[used++]))
            return -1;
    if (b->state == TRAILERS && used < n) {
        ptrdiff_t took = take_trailers(b, p + used, n - used, trailer_max);
        return took < 0 ? -1 : (ptrdiff_t)used + took;
    }
    if (b->state == DATA && used < n) {
        used += take_data(b, p + used, n - used, room, data, ndata);
        if (b->left == 0)
            b->state = DATA_CR;
    }
    return (ptrdiff_t)used;
}
