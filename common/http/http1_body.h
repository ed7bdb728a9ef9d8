/* Reading the body of an HTTP/1 message, whatever its framing. No I/O. */
#ifndef COMMON_HTTP_HTTP1_BODY_H
#define COMMON_HTTP_HTTP1_BODY_H

#include "common/http/http1_head.h"

/* Bytes of chunk extensions, which are ignored, in one whole body. */
#define HTTP1_EXTENSION_MAX 4096

struct http1_body {
    enum http1_framing framing;
    int state;
    uint64_t left;     /* of the body or of the chunk */
    size_t extensions; /* bytes of them so far */
    unsigned digits;   /* of the chunk's size */
    struct http1_scan scan;
    struct buf trailers; /* raw, as far as they came */
    bool done;
};

void http1_body_init(struct http1_body *b, enum http1_framing framing, int64_t length);
void http1_body_deinit(struct http1_body *b);

/*
 * Take bytes from the front of p[0..n): returns how many were taken, or -1 when they are malformed
 * or the trailers exceed trailer_max. *data and *ndata are a piece of the body among them, at most
 * `room` bytes, or nothing. Call again until nothing is taken or b->done; b->done may come with
 * n == 0 when the body is empty.
 */
ptrdiff_t http1_body_take(struct http1_body *b, const uint8_t *p, size_t n, size_t room,
                          size_t trailer_max, const uint8_t **data, size_t *ndata);

#endif
