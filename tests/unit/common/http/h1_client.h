/* A client connection on one end of a socket pair; the test is the server at the other end. */
#ifndef TESTS_UNIT_COMMON_HTTP_H1_CLIENT_H
#define TESTS_UNIT_COMMON_HTTP_H1_CLIENT_H

#include "common/http/http1.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"

struct h1_client_end {
    struct test_loop t;
    struct http_limits limits;
    struct http1_client *client; /* NULL once closed */
    struct io_fd *fd;            /* NULL once freed */
    struct test_peer peer;
    bool inside; /* a call into the client, in which no event may come */
};

/* One request as its user sees it. */
struct h1_call {
    struct h1_client_end *e;
    struct http_stream *s; /* NULL once closed */
    int status;
    char fields[256], upgrade[32], trailer[64];
    int64_t content_length;
    struct buf body;
    size_t unconsumed;
    int heads, ends, closes, writables, errnum;
    bool hold;  /* do not consume */
    bool again; /* start the request behind this one in on_close */
};

extern const struct http_stream_events h1_call_events;

/* Over a TCP connection, or else a socket pair. */
void h1_client_start(struct h1_client_end *e, bool tcp);
void h1_client_stop(struct h1_client_end *e);

/* A stream alone, and one whose head is sent: METHOD /t?q. */
void h1_call_open(struct h1_client_end *e, struct h1_call *c);
void h1_call_begin(struct h1_client_end *e, struct h1_call *c, const char *method, int64_t length,
                   bool end);
void h1_call_done(struct h1_call *c);

/* Send as the server, and let it be handled. */
void h1_client_answer(struct h1_client_end *e, const char *text);

#endif
