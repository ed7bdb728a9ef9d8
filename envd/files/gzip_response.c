#include "envd/files/gzip_response.h"

#include "common/base/cleanup.h"

#include <assert.h>
#define ZLIB_CONST
#include <zlib.h>

#define GZIP_MAGIC      0x677a6970U
#define PIECE           65536
#define PIECES_PER_TURN 8
#define LEVEL           1 /* a loop serves others too: fast rather than small */

struct gzip_response {
    uint32_t magic;
    struct http_stream *s;
    struct defer_queue *defer;
    struct deferred turn;
    z_stream z;
    int fd;
    int64_t at, size;
    bool is_done;
};

static struct gzip_response *response_of(struct http_stream *s)
{
    struct gzip_response *g = s->user;
    assert(g->magic == GZIP_MAGIC);
    return g;
}

/* Compress what is in z.next_in and send what comes out. */
static void send_compressed(struct gzip_response *g, int flush)
{
    uint8_t out[PIECE];
    do {
        g->z.next_out = out;
        g->z.avail_out = sizeof(out);
        (void)deflate(&g->z, flush); /* cannot fail with these buffers */
        if (sizeof(out) > g->z.avail_out)
            http_send_data(g->s, out, sizeof(out) - g->z.avail_out);
    } while (g->z.avail_out == 0);
}

/* false when the file has become shorter. */
static bool send_piece(struct gzip_response *g)
{
    uint8_t in[PIECE];
    int64_t left = g->size - g->at;
    ssize_t n = pread(g->fd, in, left < PIECE ? (size_t)left : PIECE, g->at);
    if (n <= 0)
        return false;
    g->at += n;
    g->z.next_in = in;
    g->z.avail_in = (uInt)n;
    send_compressed(g, g->at == g->size ? Z_FINISH : Z_NO_FLUSH);
    return true;
}

static void on_turn(struct deferred *d);

static void pump(struct gzip_response *g)
{
    for (int i = 0; i < PIECES_PER_TURN && !g->is_done && http_writable(g->s); i++) {
        g->is_done = g->at == g->size;
        if (!g->is_done && !send_piece(g)) {
            g->is_done = true;
            http_reset(g->s);
        } else if (g->is_done) {
            http_send_end(g->s);
        }
    }
    if (!g->is_done && http_writable(g->s))
        defer(g->defer, &g->turn, on_turn);
}

static void on_turn(struct deferred *d)
{
    pump(container_of(d, struct gzip_response, turn));
}

static void on_writable(struct http_stream *s)
{
    pump(response_of(s));
}

static void on_close(struct http_stream *s, int errnum)
{
    struct gzip_response *g = response_of(s);
    (void)errnum;
    defer_cancel(&g->turn);
    deflateEnd(&g->z);
    close(g->fd);
}

static const struct http_stream_events events = { .on_data = http_drop_data,
                                                  .on_end = http_drop_end,
                                                  .on_writable = on_writable,
                                                  .on_close = on_close };

void gzip_response_send(struct http_stream *s, struct defer_queue *defer, int fd, int64_t size,
                        struct http_field *fields, size_t nfields)
{
    struct http_head head = {
        .status = 200, .content_length = -1, .fields = fields, .nfields = nfields
    };
    struct gzip_response *g = arena_zalloc(&s->arena, sizeof(*g));
    if (!g || deflateInit2(&g->z, LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        close(fd);
        s->events = &HTTP_EVENTS_NONE;
        http_reset(s);
        return;
    }
    g->magic = GZIP_MAGIC;
    g->s = s;
    g->defer = defer;
    g->fd = fd;
    g->size = size;
    s->events = &events;
    s->user = g;
    if (http_send_head(s, &head, false) < 0)
        http_reset(s);
    else
        pump(g);
}
