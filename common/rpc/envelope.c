#include "common/rpc/envelope.h"

#include <errno.h>

ptrdiff_t envelope_read(struct str data, size_t max, struct envelope *out, struct err *err)
{
    if (data.n < ENVELOPE_HEAD)
        return 0;
    const uint8_t *p = (const uint8_t *)data.p;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    if (n > max) {
        int rc = err_set(err, ERR_EXHAUSTED, EMSGSIZE,
                         "message of %zu bytes is larger than the limit of %zu", n, max);
        return rc < 0 ? -1 : 0;
    }
    if (data.n - ENVELOPE_HEAD < n)
        return 0;
    *out = (struct envelope){ .flags = p[0], .payload = { data.p + ENVELOPE_HEAD, n } };
    return (ptrdiff_t)(n + ENVELOPE_HEAD);
}

size_t envelope_begin(struct buf *out)
{
    size_t begun = buf_len(out);
    if (buf_reserve(out, ENVELOPE_HEAD))
        buf_commit(out, ENVELOPE_HEAD);
    return begun;
}

void envelope_end(struct buf *out, size_t begun, uint8_t flags)
{
    envelope_end_before(out, begun, flags, 0);
}

void envelope_end_before(struct buf *out, size_t begun, uint8_t flags, size_t tail)
{
    if (out->failed)
        return;
    size_t n = buf_len(out) - begun - ENVELOPE_HEAD + tail;
    if (n > UINT32_MAX) {
        out->failed = true;
        return;
    }
    uint8_t *head = buf_head(out) + begun;
    head[0] = flags;
    head[1] = (uint8_t)(n >> 24);
    head[2] = (uint8_t)(n >> 16);
    head[3] = (uint8_t)(n >> 8);
    head[4] = (uint8_t)n;
}
