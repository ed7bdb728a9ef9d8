/* A server to try HTTP/2 with, and requests of it. */
#ifndef TESTS_UNIT_COMMON_HTTP_H2_ECHO_H
#define TESTS_UNIT_COMMON_HTTP_H2_ECHO_H

#include "common/base/buf.h"
#include "common/http/http2.h"

/*
 * Paths of the server: /small (200 "hello"), /echo (body back), /big (1 GiB as fast as it is
 * taken), /none (no answer), /head (the head as text), /early (answers before the body came),
 * /file (300,000 bytes of a file, then "tail"), /short-file (promises the same), /trailers, /huge
 * (a head beyond the limits). CONNECT to "echo:1" is an echo tunnel; to anything else 502.
 */
struct h2_echo {
    struct http_acceptor acceptor;
    size_t requests, closes;
    size_t untrusted; /* requests that were not on a trusted stream */
    int last_errnum;
};

void h2_echo_init(struct h2_echo *e);

struct h2_request {
    struct http_stream *s; /* NULL once closed */
    int status;
    struct buf body;
    size_t received;
    bool stall;   /* do not consume */
    bool discard; /* do not keep the body */
    bool ended, closed;
    int errnum;
    char trailer[64];
    size_t to_send, sent; /* bytes of upload */
    size_t most_queued;
    struct http_field *fields; /* of the request */
    size_t nfields;
};

/* false when no stream can be had. */
bool h2_request_begin(struct http2_session *h, struct h2_request *r, const char *method,
                      const char *path, size_t upload);
void h2_request_deinit(struct h2_request *r);

#endif
