/* One message as gzip (RFC 1952), whole in memory. */
#ifndef COMMON_RPC_GZIP_H
#define COMMON_RPC_GZIP_H

#include "common/base/buf.h"
#include "common/base/err.h"

/* Append data compressed, fast rather than small. false when memory is out; then nothing was
 * appended. */
bool gzip_deflate(struct str data, struct buf *out);

/* Append the bytes that data stands for, one gzip member or several. 0, or negative with err when
 * it is no gzip, is cut off or has more behind it (ERR_INVALID), or stands for more than max bytes
 * (ERR_EXHAUSTED; never more than that is held). */
int gzip_inflate(struct str data, size_t max, struct buf *out, struct err *err);

/* Bytes that a message of n bytes has at most when it is compressed with any sense. */
static inline size_t gzip_bound(size_t n)
{
    return n + n / 1024 + 64;
}

#endif
