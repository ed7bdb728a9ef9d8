/* A byte stream (struct io) over a CONNECT stream of an HTTP/2 session: how the proxy reaches any
 * port of a guest. */
#ifndef COMMON_HTTP_TUNNEL_H
#define COMMON_HTTP_TUNNEL_H

#include "common/http/http2.h"

/*
 * Ask the peer of `h` to connect to `target` ("127.0.0.1:8000"). on_open(io, 0) when it did: then
 * set io->events and call io_read_start(). on_open(NULL, errnum) when it did not (ECONNREFUSED when
 * the peer answered that nothing listens, ECONNRESET when the session was lost). Never called from
 * inside. Returns a handle for tunnel_cancel(), valid until on_open, or NULL when no stream can be
 * had. The io is freed by tunnel_free() after its on_closed.
 */
struct tunnel;
struct tunnel *tunnel_open(struct http2_session *h, struct defer_queue *defer, struct str target,
                           void (*on_open)(void *user, struct io *io, int errnum), void *user);
void tunnel_cancel(struct tunnel *t); /* on_open is not called any more */
void tunnel_free(struct io *io);

#endif
