/* A server connection on one end of a socket pair; the test is the peer at the other end. */
#ifndef TESTS_UNIT_COMMON_HTTP_H1_SERVER_H
#define TESTS_UNIT_COMMON_HTTP_H1_SERVER_H

#include "common/http/http1.h"
#include "tests/support/loop.h"

#define H1_SEEN_MAX 64

#define H1_GET(target)  "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"
#define H1_POST(fields) "POST /echo HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

/* A request as the handler saw it. */
struct h1_seen {
    struct http_stream *s; /* NULL once closed */
    char method[16], target[256], authority[64], upgrade[32], trailer[64];
    char fields[1024]; /* "name=value;" of each */
    int64_t content_length;
    bool expected; /* expect_continue */
    struct buf body;
    size_t unconsumed;
    bool hold; /* do not consume */
    bool ended, closed;
    int errnum, writables;
};

/*
 * Targets: /ok answers 200 "ok" at once, /echo the body when it has ended, /hold nothing (the test
 * answers), /upgrade likewise and may answer 101, /deny 403 at once; anything else 404.
 */
struct h1_server {
    struct test_loop t;
    struct http_acceptor acceptor;
    struct http_limits limits;
    struct http1_conn *conn; /* NULL once gone */
    struct test_peer peer;
    struct h1_seen seen[H1_SEEN_MAX];
    size_t requests, gone;
    size_t heads; /* as if other connections held so much */
    bool hold;    /* new requests do not consume */
    bool inside;
};

/* limits may be NULL. */
void h1_start(struct h1_server *v, const struct http_limits *limits);
void h1_stop(struct h1_server *v);

/* Send and let it be handled. */
void h1_send(struct h1_server *v, const char *text);
void h1_send_bytes(struct h1_server *v, const void *data, size_t n);

/* The status of the last response's head in what the peer received, 0 when there is none. */
int h1_last_status(struct h1_server *v);

/* How often text is in what the peer received. */
size_t h1_count(struct h1_server *v, const char *text);

/* Calls of the handler, which prove that no event comes from inside them. */
int h1_head(struct h1_server *v, struct h1_seen *r, int status, int64_t length, bool end);
void h1_data(struct h1_server *v, struct h1_seen *r, const void *data, size_t n);
void h1_end(struct h1_server *v, struct h1_seen *r);
void h1_consume(struct h1_server *v, struct h1_seen *r, size_t n);
void h1_reset(struct h1_server *v, struct h1_seen *r);

#endif
