/* A client and a server session on the two ends of a socket pair, and requests to try them with. */
#ifndef TESTS_UNIT_COMMON_HTTP_H2_PAIR_H
#define TESTS_UNIT_COMMON_HTTP_H2_PAIR_H

#include "common/base/buf.h"
#include "common/http/http2.h"
#include "common/io/io_fd.h"

struct h2_side {
    struct io_fd fd;
    struct http2_session *h; /* NULL after on_over or an abort */
    bool closed;
    int overs, over_errnum;
};

struct h2_pair {
    uv_loop_t loop;
    struct defer_queue defer;
    struct h2_side client, server;
    struct http_acceptor acceptor;
    struct http_limits limits;
    size_t requests;      /* that the server has seen */
    size_t server_closes; /* and their ends */
    int last_server_errnum;
    bool stop_after_request; /* server requests answer nothing until told */
};

/* NULL acceptor: the echo server below. */
void h2_pair_start(struct h2_pair *p, const struct http_limits *limits);
void h2_pair_stop(struct h2_pair *p);

/* Run the loop until done(arg) says so; fails the test after 20 s. */
void h2_run_until(uv_loop_t *loop, bool (*done)(void *arg), void *arg);

/*
 * Paths of the server: /small (200 "hello"), /echo (body back), /big (1 GiB as fast as it is
 * taken), /none (no answer), /head (the head as text), /early (answers before the body came),
 * /file (300,000 bytes of a file, then "tail"), /trailers, /huge (a head beyond the limits).
 * CONNECT to "echo:1" is an echo tunnel; to anything else 502.
 */
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
};

bool h2_request_start(struct h2_pair *p, struct h2_request *r, const char *method, const char *path,
                      size_t upload);
void h2_request_deinit(struct h2_request *r);
bool h2_request_closed(void *arg);

#endif
