/* HTTP/1.1 on a byte stream, as server connection or as client connection (RFC 9112). Parsed by
 * llhttp, behind a check of our own that refuses what llhttp lets pass (a bare CR or LF, NUL). */
#ifndef COMMON_HTTP_HTTP1_H
#define COMMON_HTTP_HTTP1_H

#include "common/http/http.h"
#include "common/io/defer.h"
#include "common/io/io.h"

struct http1_conn;

/* Bytes of pipelined requests that are read ahead while one is being answered. */
#define HTTP1_READ_AHEAD 16384
/* What is still read of a request's body after its response has ended, and of a connection that is
 * being closed, so that the peer can read the response before the connection is gone. */
#define HTTP1_DISCARD_MAX (8U << 20)
#define HTTP1_LINGER_MS   2000
/* Bytes held of heads that are not complete, of all connections of a listener: most heads come in
 * one piece, and none of it is held. */
#define HTTP1_HEADS_MAX (16U << 20)
/* Bytes that the kernel takes before they can be sent: what a client that reads slowly leaves
 * behind when it goes is little. */
#define HTTP1_UNSENT_MAX 131072

struct http1_server_options {
    struct http_acceptor *acceptor;   /* borrowed */
    const struct http_limits *limits; /* borrowed; NULL: the defaults */
    size_t *heads; /* borrowed: what counts against HTTP1_HEADS_MAX; NULL: nothing does */
    bool h2c;      /* hand the connection to HTTP/2 when it opens with HTTP/2's preface */
    bool trusted;
};

/*
 * Serve requests that arrive on fd (taken over), one after the other, keep-alive. on_gone is called
 * once, when the connection has ended and its memory is about to be freed. NULL when it cannot be
 * served; then fd is still the caller's.
 *
 * A client that ends its side while a response is under way has given up: the stream gets
 * on_close(ECONNRESET). (After an upgrade it is on_end.)
 */
struct http1_conn *http1_serve_fd(uv_loop_t *loop, struct defer_queue *defer, int fd,
                                  const struct http1_server_options *options,
                                  void (*on_gone)(struct http1_conn *c, void *user), void *user);

/* Stop taking new requests; close when the one in flight has ended. */
void http1_conn_drain(struct http1_conn *c);

/* Close at once; streams get on_close(ECONNRESET). */
void http1_conn_abort(struct http1_conn *c);

/*
 * A client connection that makes one request at a time over `io`, which it takes over: `io` points
 * into an object allocated by the caller; free_io(io) is called after its on_closed. io->events is
 * replaced, reading is started. NULL when memory is out; then io is still the caller's. Used over
 * TCP or unix sockets (io_fd) and over CONNECT tunnels (io_tunnel).
 */
struct http1_client;
struct http1_client *http1_client_new(uv_loop_t *loop, struct defer_queue *defer, struct io *io,
                                      void (*free_io)(struct io *io),
                                      const struct http_limits *limits);

/* A new stream for the next request; NULL while one is in flight or when the connection is over.
 * The response to a request with `upgrade` and status 101 turns the stream into raw bytes. */
struct http_stream *http1_client_stream(struct http1_client *c,
                                        const struct http_stream_events *events, void *user);

/* Whether another request may be sent (keep-alive). */
bool http1_client_reusable(const struct http1_client *c);

/* Close now; a request in flight gets on_close(ECANCELED) from the loop. Frees itself; the pointer
 * is dead from here on. To be called once for every client, also when its connection is over. */
void http1_client_close(struct http1_client *c);

#endif
