#include "envd/files/gunzip.h"

#include <errno.h>

#define PIECE     65536
#define ONLY_GZIP (15 + 16) /* zlib's window bits for a gzip header and trailer */

int gunzip_init(struct gunzip *g, struct err *err)
{
    *g = (struct gunzip){ 0 };
    if (inflateInit2(&g->z, ONLY_GZIP) != Z_OK)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    g->is_open = true;
    return 0;
}

void gunzip_deinit(struct gunzip *g)
{
    if (g->is_open)
        inflateEnd(&g->z);
    g->is_open = false;
}

static int malformed(const struct gunzip *g, struct err *err)
{
    return err_set(err, ERR_INVALID, EPROTO, "the body is no valid gzip: %s",
                   g->z.msg ? g->z.msg : "unexpected data");
}

int gunzip_feed(struct gunzip *g, const uint8_t *data, size_t n,
                int (*take)(void *user, const uint8_t *data, size_t n), void *user, struct err *err)
{
    uint8_t out[PIECE];
    bool is_full = false; /* more may come out without more going in */
    g->z.next_in = data;
    g->z.avail_in = (uInt)n;
    while (g->z.avail_in || is_full) {
        if (g->is_ended && inflateReset(&g->z) != Z_OK)
            return malformed(g, err);
        g->is_ended = false;
        g->z.next_out = out;
        g->z.avail_out = sizeof(out);
        int rc = inflate(&g->z, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return malformed(g, err);
        size_t got = sizeof(out) - g->z.avail_out;
        int taken = got ? take(user, out, got) : 0;
        if (taken)
            return taken;
        g->is_ended = rc == Z_STREAM_END;
        is_full = g->z.avail_out == 0 && !g->is_ended;
    }
    return 0;
}

int gunzip_finish(const struct gunzip *g, struct err *err)
{
    return g->is_ended
               ? 0
               : err_set(err, ERR_INVALID, EPROTO, "the body is no valid gzip: it is cut off");
}
