/* A client and a server session on the two ends of a socket pair. */
#ifndef TESTS_UNIT_COMMON_HTTP_H2_PAIR_H
#define TESTS_UNIT_COMMON_HTTP_H2_PAIR_H

#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/unit/common/http/h2_echo.h"

struct h2_side {
    struct io_fd fd;
    struct http2_session *h; /* NULL after on_over or an abort */
    bool closed;
    int overs, over_errnum;
};

struct h2_pair {
    struct test_loop loop;
    struct h2_side client, server;
    struct h2_echo echo;
    struct http_limits limits;
};

/* limits NULL: the defaults. */
void h2_pair_start(struct h2_pair *p, const struct http_limits *limits);

/* Also proves that every stream of the server was closed. */
void h2_pair_stop(struct h2_pair *p);

#endif
