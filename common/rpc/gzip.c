#include "common/rpc/gzip.h"

#include <errno.h>
#include <limits.h>
#define ZLIB_CONST
#include <zlib.h>

#define WINDOW_GZIP   (15 + 16) /* zlib's way to say: 32 KiB, in gzip's wrapping */
#define MEMORY_LEVEL  8
#define INFLATE_FIRST 4096

bool gzip_deflate(struct str data, struct buf *out)
{
    z_stream z = { 0 };
    if (data.n > UINT_MAX / 2 || deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, WINDOW_GZIP,
                                              MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room = deflateBound(&z, data.n);
    uint8_t *to = buf_reserve(out, room);
    bool ok = false;
    if (to) {
        z.next_in = (const Bytef *)data.p;
        z.avail_in = (uInt)data.n;
        z.next_out = to;
        z.avail_out = (uInt)room;
        ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
        if (ok)
            buf_commit(out, z.total_out);
    }
    deflateEnd(&z);
    return ok;
}

/* Inflate what is left of the input, up to `left` bytes and one more, by which too much shows. */
static int inflate_members(z_stream *z, size_t left, struct buf *out)
{
    size_t piece = INFLATE_FIRST;
    for (;;) {
        size_t room = left + 1 < piece ? left + 1 : piece;
        z->next_out = buf_reserve(out, room);
        z->avail_out = (uInt)room;
        if (!z->next_out)
            return Z_MEM_ERROR;
        int rc = inflate(z, Z_NO_FLUSH);
        size_t got = room - z->avail_out;
        if (got > left)
            return Z_BUF_ERROR;
        buf_commit(out, got);
        left -= got;
        if (rc == Z_STREAM_END && z->avail_in)
            rc = inflateReset(z);
        else if (rc == Z_STREAM_END)
            return Z_OK;
        if (rc != Z_OK)
            return rc == Z_MEM_ERROR ? rc : Z_DATA_ERROR;
        if (z->avail_out == 0 && piece < UINT_MAX / 4)
            piece *= 2;
    }
}

int gzip_inflate(struct str data, size_t max, struct buf *out, struct err *err)
{
    z_stream z = { .next_in = (const Bytef *)data.p, .avail_in = (uInt)data.n };
    if (data.n > UINT_MAX)
        return err_set(err, ERR_EXHAUSTED, EMSGSIZE, "a compressed message is too large");
    if (inflateInit2(&z, WINDOW_GZIP) != Z_OK)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = inflate_members(&z, max, out);
    inflateEnd(&z);
    if (rc == Z_OK)
        return 0;
    if (rc == Z_MEM_ERROR)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc == Z_BUF_ERROR)
        return err_set(err, ERR_EXHAUSTED, EMSGSIZE,
                       "message is larger than the limit of %zu bytes", max);
    return err_set(err, ERR_INVALID, EINVAL, "a message is no valid gzip");
}
