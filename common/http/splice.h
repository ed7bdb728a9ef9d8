/*
 * A proxied request: the stream it arrived on (server) and the stream it is forwarded on (client),
 * connected with each other. HTTP/1 and HTTP/2 mix freely.
 *
 * Rules:
 * - Bytes are handed to the other side as they come. What was handed over is given back to its
 *   sender (http_consume) only while the other side is writable; so at most a window and the other
 *   side's queue are held for each direction.
 * - The end of a side, with its trailers, ends the other side's sending direction. An upgrade
 *   (101) makes both directions raw; each ends for itself.
 * - A request that is given up (client aborts, connection lost) resets the upstream stream. An
 *   upstream that fails before its response's head is the caller's to answer (on_failed); after
 *   it, the server stream is reset, so that a cut response never looks whole; unless its protocol
 *   has an end of its own for that (on_cut).
 * - A response that ended while the request is still coming ends both.
 *
 * The request may wait: it is taken over by http_splice_new() as it arrives, and forwarded by
 * http_splice_connect() when there is an upstream. Until then the caller may answer it by itself
 * with http_respond().
 */
#ifndef COMMON_HTTP_SPLICE_H
#define COMMON_HTTP_SPLICE_H

#include "common/base/buf.h"
#include "common/http/http.h"

struct http_splice;

struct http_splice_events {
    /* The response's head, before it is sent on: it may be changed (what is added lives in the
     * server stream's arena). May be NULL. */
    void (*on_response)(struct http_splice *p, struct http_head *head);
    /* Bytes of the response's body, before they are sent on. May be NULL. */
    void (*on_response_data)(struct http_splice *p, const uint8_t *data, size_t n);
    /* The upstream was lost in the middle of the response: end it on p->server in the way of its
     * protocol and return true; false leaves it to be reset. May be NULL. */
    bool (*on_cut)(struct http_splice *p);
    /* The upstream failed (errnum as in on_close) and no response has begun: answer on p->server
     * now or later. */
    void (*on_failed)(struct http_splice *p, int errnum);
    /* Both streams are gone, or the server stream is and no upstream was connected: stop
     * connecting. p is freed after this call. */
    void (*on_done)(struct http_splice *p);
};

struct http_splice {
    uint32_t magic;
    struct http_stream *server, *client; /* NULL: gone, or not there yet */
    const struct http_splice_events *events;
    void *user; /* the caller's */

    /* The rest is the splice's own. */
    struct buf held;                   /* request bytes that came before the upstream */
    const struct http_field *trailers; /* of the request, likewise */
    size_t ntrailers;
    size_t owed_server, owed_client;  /* handed over, not given back yet */
    uint64_t passed;                  /* bytes of the upstream's body that were sent on */
    bool request_ended, request_sent; /* its end came; its end was forwarded */
    bool responding, response_ended;  /* head and end were forwarded */
    bool failed;                      /* on_failed was called or is not wanted */
    bool cut;                         /* the response was ended, the upstream is not wanted */
};

/* Take a request over, in on_request. NULL when memory is out; then nothing was changed. */
struct http_splice *http_splice_new(struct http_stream *server, const struct http_head *request,
                                    const struct http_splice_events *events, void *user);

/* What the upstream's stream is made with, together with the splice as its user:
 * http1_client_stream(c, &HTTP_SPLICE_UPSTREAM, p), http2_session_stream(h, ..., p). */
extern const struct http_stream_events HTTP_SPLICE_UPSTREAM;

/* Forward the request on `client` with this head (the caller's, written anew from the request's),
 * once. 0, or -errno when the head cannot be expressed: then `client` was reset, on_failed is not
 * called, and the caller answers. */
int http_splice_connect(struct http_splice *p, struct http_stream *client,
                        const struct http_head *head);

/* End a response that has begun as if the upstream had been lost now: on_cut, or a reset. The
 * upstream is given up when the client has what was sent. Nothing happens to other requests. */
void http_splice_cut(struct http_splice *p);

#endif
