/*
 * An HTTP/2 session (nghttp2) over any byte stream, as server or as client.
 *
 * Flow control, by what was measured on the guest link: connection credit is given back at once,
 * stream credit when the bytes were consumed; windows from http_limits.window; nothing reads ahead
 * without bound. Small requests go before bulk ones.
 */
#ifndef COMMON_HTTP_HTTP2_H
#define COMMON_HTTP_HTTP2_H

#include "common/http/http.h"
#include "common/io/defer.h"
#include "common/io/io.h"

struct http2_session;

struct http2_events {
    /* The session is over: it was drained, by this side or by the peer, and no stream is left; or
     * a protocol error (errnum EPROTO). All streams got their on_close before. The session frees
     * itself after this call; the io stays the owner's. When the io fails or ends, the owner calls
     * http2_session_abort(). */
    void (*on_over)(struct http2_session *h, int errnum);
};

struct http2_options {
    struct defer_queue *defer;        /* borrowed */
    const struct http_limits *limits; /* borrowed; NULL: the defaults */
    struct http_acceptor *acceptor;   /* server role: borrowed; NULL makes a client session */
    bool trusted;                     /* mark each stream trusted (the guest link) */
    bool held;                        /* writes nothing before http2_session_begin() */
    const struct http2_events *events;
    void *user;
};

/*
 * A session that writes to `io` and is fed by http2_session_input(). The session does not touch
 * io->events: the owner passes on_data on with http2_session_input() and on_drain with
 * http2_session_writable(), so that the guest link can scan for its marker first.
 * Sends its SETTINGS (client: preface first) at once, unless it is held. NULL when memory is out.
 */
struct http2_session *http2_session_new(uv_loop_t *loop, struct io *io,
                                        const struct http2_options *options);
void *http2_session_user(const struct http2_session *h);

/* The first bytes of a held session leave; until then it is to be given no input. */
void http2_session_begin(struct http2_session *h);

void http2_session_input(struct http2_session *h, const uint8_t *data, size_t n);
void http2_session_writable(struct http2_session *h);

/* Client role: a new stream; its request is sent by http_send_head (method, target, authority,
 * fields; method CONNECT makes a tunnel to target). NULL when the session is over, draining, or at
 * its limit of streams. */
struct http_stream *http2_session_stream(struct http2_session *h,
                                         const struct http_stream_events *events, void *user);

/* No new streams; on_over(0) when the last stream has ended and GOAWAY is sent. A client waits for
 * the server's sign of life before that, so that on_over(0) proves that the server was there. */
void http2_session_drain(struct http2_session *h);

/* The same for a client whose server will learn it in another way: no GOAWAY, after which the
 * server would have a session to take down. */
void http2_session_drain_untold(struct http2_session *h);

/* End at once: every open stream gets on_close(errnum) from the loop (deferred); no byte is written
 * any more and on_over is not called. The session's memory goes when the last on_close was
 * delivered; the pointer is dead for the caller from here on. */
void http2_session_abort(struct http2_session *h, int errnum);

/* As an abort of a session without streams, but that its memory stays until http2_session_abort()
 * is called: to free it can be more work than there is time for. */
void http2_session_mute(struct http2_session *h);

/* Streams whose on_close has not come yet. */
size_t http2_session_streams(const struct http2_session *h);

/* Bytes that a stream of a session holds to be sent. Beyond what http.h promises, an HTTP/2
 * stream's on_writable comes each time this becomes 0. */
size_t http2_stream_queued(const struct http_stream *s);

#endif
