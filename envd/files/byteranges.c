#include "envd/files/byteranges.h"

#include "common/base/encode.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define BYTERANGES_MAGIC 0x62726e67U
#define PIECE            65536

struct byteranges {
    uint32_t magic;
    int fd;
    struct range ranges[RANGES_MAX];
    const char *heads[RANGES_MAX]; /* what stands before each range */
    const char *tail;
    size_t n, at;
    int64_t sent; /* of ranges[at]; -1: its head was not sent yet */
};

static struct byteranges *byteranges_of(struct http_stream *s)
{
    struct byteranges *b = s->user;
    assert(b->magic == BYTERANGES_MAGIC);
    return b;
}

/* Send one piece; false when the file has become shorter. */
static bool send_piece(struct http_stream *s, struct byteranges *b)
{
    const struct range *r = &b->ranges[b->at];
    if (b->sent < 0) {
        http_send_data(s, b->heads[b->at], strlen(b->heads[b->at]));
        b->sent = 0;
    }
    uint8_t piece[PIECE];
    int64_t left = r->length - b->sent;
    ssize_t n = pread(b->fd, piece, left < PIECE ? (size_t)left : PIECE, r->first + b->sent);
    if (n <= 0)
        return false;
    http_send_data(s, piece, (size_t)n);
    b->sent += n;
    if (b->sent == r->length) {
        b->at++;
        b->sent = -1;
    }
    return true;
}

static void pump(struct http_stream *s)
{
    struct byteranges *b = byteranges_of(s);
    while (b->at < b->n && http_writable(s)) {
        if (!send_piece(s, b)) {
            http_reset(s);
            return;
        }
    }
    if (b->at == b->n && b->tail) {
        http_send_data(s, b->tail, strlen(b->tail));
        b->tail = NULL;
        http_send_end(s);
    }
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)errnum;
    close(byteranges_of(s)->fd);
}

static const struct http_stream_events events = {
    .on_data = http_drop_data, .on_end = http_drop_end, .on_writable = pump, .on_close = on_close
};

static bool write_heads(struct http_stream *s, struct byteranges *b, const char *boundary,
                        const char *content_type, int64_t size, int64_t *total)
{
    *total = 0;
    for (size_t i = 0; i < b->n; i++) {
        const struct range *r = &b->ranges[i];
        b->heads[i] = arena_printf(&s->arena,
                                   "%s--%s\r\nContent-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64
                                   "\r\nContent-Type: %s\r\n\r\n",
                                   i ? "\r\n" : "", boundary, r->first, r->first + r->length - 1,
                                   size, content_type);
        if (!b->heads[i])
            return false;
        *total += (int64_t)strlen(b->heads[i]) + r->length;
    }
    b->tail = arena_printf(&s->arena, "\r\n--%s--\r\n", boundary);
    if (b->tail)
        *total += (int64_t)strlen(b->tail);
    return b->tail != NULL;
}

void byteranges_send(struct http_stream *s, int fd, int64_t size, const char *content_type,
                     const struct range *ranges, size_t n, struct http_field *fields,
                     size_t nfields)
{
    uint8_t random[16] = { 0 };
    char boundary[2 * sizeof(random) + 1];
    (void)!getrandom(random, sizeof(random), 0); /* it need only be absent from the file */
    hex_encode(random, sizeof(random), boundary);

    struct byteranges *b = arena_zalloc(&s->arena, sizeof(*b));
    char *type = arena_printf(&s->arena, "multipart/byteranges; boundary=%s", boundary);
    struct http_head head = { .status = 206, .fields = fields, .nfields = nfields + 1 };
    if (b) {
        *b = (struct byteranges){ .magic = BYTERANGES_MAGIC, .fd = fd, .n = n, .sent = -1 };
        memcpy(b->ranges, ranges, n * sizeof(ranges[0]));
    }
    if (!b || !type || !write_heads(s, b, boundary, content_type, size, &head.content_length)) {
        close(fd);
        s->events = &HTTP_EVENTS_NONE;
        http_reset(s);
        return;
    }
    fields[nfields] = (struct http_field){ STR("content-type"), str_of(type) };
    s->events = &events;
    s->user = b;
    if (http_send_head(s, &head, false) < 0)
        http_reset(s);
    else
        pump(s);
}
