/*
 * HTTP messages and streams, whatever carries them: HTTP/1.1 or HTTP/2, as server or as client.
 *
 * A stream is one request and its response. The same object serves both roles:
 *   server: the request's head is given to the server's on_request; the handler sends a response.
 *   client: the caller sends a request; on_head brings the response's head.
 * So a proxy is two streams with their events crossed over (http/splice.h).
 *
 * Rules:
 * - One thread, the loop's. No event runs inside http_send_*(), http_consume() or http_reset().
 * - on_head (client only) comes once; on_data any number of times; on_end once when the peer
 *   finished its side in order; on_close exactly once, always, as the last event, also after
 *   http_reset(). After on_close the stream is gone. Each side may end before the other.
 * - Server: once the response has ended, nothing more of the request is delivered; what still comes
 *   of its body is discarded and on_close(0) follows.
 * - Flow control: every byte of on_data must be given back with http_consume() once it was
 *   delivered; at most a window (64 KiB to 256 KiB, the transport's) arrives unconsumed.
 * - http_send_data() takes all bytes (copied where they cannot be sent at once). Stop producing
 *   when http_writable() is false; on_writable tells when to go on.
 * - Setting status 101 (HTTP/1.1, request with `upgrade`) or 200 on CONNECT (HTTP/2) turns both
 *   directions into raw bytes: data after it is on_data / http_send_data, end is http_send_end.
 *   A server handler that may answer 101 sets s->may_upgrade in on_request: then on_end waits for
 *   the answer (it comes after another status, or at the end of the raw bytes). As client, nothing
 *   is sent after a head with `upgrade` before on_head brought 101; with another status the request
 *   has ended by itself.
 */
#ifndef COMMON_HTTP_HTTP_H
#define COMMON_HTTP_HTTP_H

#include "common/base/arena.h"
#include "common/base/str.h"

#include <sys/uio.h>

struct http_field {
    struct str name; /* lower case */
    struct str value;
};

struct http_head {
    struct str method;    /* request */
    struct str target;    /* request: path and query as received; CONNECT: host:port */
    struct str authority; /* request: Host or :authority; may be empty on responses */
    struct str upgrade;   /* request: protocol asked for by Upgrade; response 101: the one taken */
    int status;           /* response */
    bool expect_continue; /* request said Expect: 100-continue; the server answers it by itself when
                             on_request returned without a response; a client never sends it */
    /* Of the body; 0: there is none; -1: not told, it ends when it ends (chunked, HTTP/2 data). */
    int64_t content_length;
    /* All other fields, in order. Host, Connection, Keep-Alive, Transfer-Encoding, Content-Length,
     * Upgrade, Expect, TE, Proxy-Connection are never among them: they describe one hop and are
     * written anew from the members above. */
    struct http_field *fields;
    size_t nfields;
};

/* The value of the first field of that (lower-case) name; p is NULL when there is none. */
struct str http_field_get(const struct http_head *head, const char *name);

struct http_stream;

struct http_stream_events {
    void (*on_head)(struct http_stream *s, const struct http_head *head); /* client role only */
    void (*on_data)(struct http_stream *s, const uint8_t *data, size_t n);
    /* Trailers, borrowed for the call; usually none. */
    void (*on_end)(struct http_stream *s, const struct http_field *trailers, size_t n);
    void (*on_writable)(struct http_stream *s);
    /* errnum 0: both sides ended in order. Else a positive errno: ECONNRESET (peer reset or
     * connection lost), ECANCELED (our http_reset), EPROTO (peer broke the protocol),
     * ETIMEDOUT, ECONNREFUSED (never reached the peer: the request had no effect). */
    void (*on_close)(struct http_stream *s, int errnum);
};

/* Takes what comes and throws it away: for handlers that answer in on_request and are done. */
extern const struct http_stream_events HTTP_EVENTS_NONE;

/* Its events, for tables of those that care for others. */
void http_drop_data(struct http_stream *s, const uint8_t *data, size_t n);
void http_drop_end(struct http_stream *s, const struct http_field *trailers, size_t n);
void http_drop_writable(struct http_stream *s);

#define HTTP_PIECES_MAX 4

struct http_stream_ops {
    int (*send_head)(struct http_stream *s, const struct http_head *head, bool end);
    void (*send_data)(struct http_stream *s, const void *data, size_t n);
    /* The same for up to HTTP_PIECES_MAX pieces. NULL: piece by piece. */
    void (*send_pieces)(struct http_stream *s, const struct iovec *iov, int n);
    /* Send n bytes of a file as body; fd is taken over and closed when done. */
    void (*send_file)(struct http_stream *s, int fd, int64_t offset, size_t n);
    void (*send_end)(struct http_stream *s, const struct http_field *trailers, size_t n);
    void (*consume)(struct http_stream *s, size_t n);
    bool (*writable)(const struct http_stream *s);
    void (*reset)(struct http_stream *s);
    /* Both may be NULL: http_progress(), http_give_up(). */
    void (*progress)(const struct http_stream *s, uint64_t *sent, uint64_t *delivered);
    void (*give_up)(struct http_stream *s, uint64_t delivered);
};

struct http_stream {
    const struct http_stream_ops *ops;
    const struct http_stream_events *events; /* set by the user before returning to the loop */
    void *user;                              /* the user's object; it starts with a magic number */
    struct arena arena;                      /* lives until after on_close; the user may use it */
    bool may_upgrade; /* server: the handler wants to be able to answer 101 */
    bool is_http2;    /* for protocols that must know (trailers, upgrade) */
    bool trusted;     /* arrived on the guest link, where the control service may be called */
};

/* Send a response (server) or request (client) head; with end there is no body. Servers may send
 * 101 or a final status, once. 0, or -errno when the head cannot be expressed (for example a field
 * with a line break: -EINVAL), then nothing was sent. */
static inline int http_send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    return s->ops->send_head(s, head, end);
}

static inline void http_send_data(struct http_stream *s, const void *data, size_t n)
{
    s->ops->send_data(s, data, n);
}

static inline void http_send_pieces(struct http_stream *s, const struct iovec *iov, int n)
{
    if (s->ops->send_pieces) {
        s->ops->send_pieces(s, iov, n);
        return;
    }
    for (int i = 0; i < n; i++)
        s->ops->send_data(s, iov[i].iov_base, iov[i].iov_len);
}

static inline void http_send_file(struct http_stream *s, int fd, int64_t offset, size_t n)
{
    s->ops->send_file(s, fd, offset, n);
}

static inline void http_send_end(struct http_stream *s)
{
    s->ops->send_end(s, NULL, 0);
}

static inline void http_send_trailers(struct http_stream *s, const struct http_field *t, size_t n)
{
    s->ops->send_end(s, t, n);
}

static inline void http_consume(struct http_stream *s, size_t n)
{
    s->ops->consume(s, n);
}

static inline bool http_writable(const struct http_stream *s)
{
    return s->ops->writable(s);
}

/* Give the stream up in both directions (HTTP/2: RST_STREAM; HTTP/1: the connection is closed). */
static inline void http_reset(struct http_stream *s)
{
    s->ops->reset(s);
}

/* Bytes of our body given to http_send_data() so far, and (unless NULL) how many of them have
 * reached the peer for all that is known: over TCP it has acknowledged them; over the guest link
 * the daemon told when it gave the stream up. A body that has ended in order counts as delivered,
 * and so does what nothing is known of. Holds in on_close too; over HTTP/2 it is too much before
 * that. */
static inline void http_progress(const struct http_stream *s, uint64_t *sent, uint64_t *delivered)
{
    *sent = 0;
    if (delivered)
        *delivered = 0;
    if (s->ops->progress)
        s->ops->progress(s, sent, delivered);
}

/* Client: http_reset(), telling the server how many bytes of its body have reached whoever they
 * were for, where the protocol can (HTTP/2, to a server that trusts the session). */
static inline void http_give_up(struct http_stream *s, uint64_t delivered)
{
    if (s->ops->give_up)
        s->ops->give_up(s, delivered);
    else
        s->ops->reset(s);
}

/* Server: a whole response with Content-Length. A body of n == 0 with status 204 or 304 has none.
 * content_type may be NULL. The request's body, if still coming, is discarded by the server. A
 * handler that has not set s->events needs not: it gets HTTP_EVENTS_NONE. */
void http_respond(struct http_stream *s, int status, const char *content_type, const void *body,
                  size_t n);

/* The same with more fields. */
void http_respond_fields(struct http_stream *s, int status, const char *content_type,
                         const struct http_field *fields, size_t nfields, const void *body,
                         size_t n);

/* Server: what a new request is given to. */
struct http_acceptor {
    /* Must set s->events before it returns. head lives as long as s. */
    void (*on_request)(struct http_acceptor *a, struct http_stream *s,
                       const struct http_head *head);
};

/* Limits on what a peer may send. The defaults are HTTP_LIMITS_DEFAULT. */
struct http_limits {
    size_t head_bytes;    /* of one head, all lines; over it 431 and close */
    size_t fields;        /* in one head */
    size_t requests_kept; /* HTTP/2: streams at once (HTTP/1 answers one request at a time and reads
                             at most HTTP1_READ_AHEAD bytes of pipelined ones) */
    size_t trailer_bytes;
    unsigned head_ms;  /* from the first byte of a head to its end; over it 408 and close */
    unsigned idle_ms;  /* an idle keep-alive connection is closed after this */
    size_t window;     /* bytes of body that may arrive unconsumed on one stream */
    bool raise_resets; /* HTTP/2 on the guest link: every aborted request is a reset */
};
extern const struct http_limits HTTP_LIMITS_DEFAULT;

#endif
