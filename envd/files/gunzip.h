/* Decompression of a request's body as it comes. */
#ifndef ENVD_FILES_GUNZIP_H
#define ENVD_FILES_GUNZIP_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define ZLIB_CONST
#include <zlib.h>

struct gunzip {
    z_stream z;
    bool is_open;
    bool is_ended; /* between two members, or behind the last */
};

int gunzip_init(struct gunzip *g, struct err *err);
void gunzip_deinit(struct gunzip *g);

/* Decompress n more bytes and give what comes out to take(), which returns 0 or what ends it all.
 * 0; -EPROTO with ERR_INVALID when it is no gzip; or what take() returned. */
int gunzip_feed(struct gunzip *g, const uint8_t *data, size_t n,
                int (*take)(void *user, const uint8_t *data, size_t n), void *user,
                struct err *err);

/* The input has ended: 0, or -EPROTO when it was cut off. */
int gunzip_finish(const struct gunzip *g, struct err *err);

#endif
