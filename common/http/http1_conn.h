/* The inside of a server connection, shared by its files: http1_server.c (its life),
 * http1_request.c (what arrives), http1_response.c (what a handler calls), http1_h2c.c (turning
 * into HTTP/2). */
#ifndef COMMON_HTTP_HTTP1_CONN_H
#define COMMON_HTTP_HTTP1_CONN_H

#include "common/http/http1.h"
#include "common/http/http1_body.h"
#include "common/http/http1_out.h"
#include "common/http/http2.h"
#include "common/io/io_fd.h"

enum rx { RX_HEAD, RX_BODY, RX_ANSWER, RX_RAW, RX_DISCARD, RX_LINGER, RX_HTTP2 };

/* One request and its response. */
struct exchange {
    struct http_stream s;
    struct http1_conn *c;
    struct http1_message m;
    size_t unconsumed;
    bool full;      /* the window was used up and is not half free yet */
    bool ended;     /* on_end was delivered */
    bool answered;  /* a head was sent */
    bool responded; /* the response has ended */
    bool blocked;   /* on_writable is due */
    bool raw;
    int error; /* it is over for this reason; on_close is due */
};

struct http1_conn {
    struct io_fd fd;
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct http1_server_options options;
    const struct http_limits *limits;
    struct http1_out out;
    uv_timer_t timer;
    struct deferred tick;
    struct buf in; /* received and not used yet; holds no memory when empty */
    struct http1_scan scan;
    struct http1_body body;
    struct exchange *x;
    enum rx rx;
    struct http2_session *h2; /* RX_HTTP2 */
    size_t discarded;
    size_t counted; /* in *options.heads */
    bool fresh;     /* no byte was used yet: it may become HTTP/2 */
    bool timing;    /* the head that is arriving has its deadline */
    bool last;      /* no request after this one */
    bool advancing; /* advance() is running */
    bool over;      /* closed; only on_close of x and the handles' ends are still to come */
    int handles;
    void (*on_gone)(struct http1_conn *c, void *user);
    void *user;
};

extern const struct http_stream_ops http1_server_ops;

/* Run the connection from the loop, soon. */
void http1_conn_schedule(struct http1_conn *c);

/* Close now; a request in flight gets `errnum`. */
void http1_conn_close(struct http1_conn *c, int errnum, bool abort);

/* Send what is queued, then the end, and wait a little for the peer's. */
void http1_conn_linger(struct http1_conn *c);

/* Answer a request that cannot be understood, and linger. */
void http1_conn_refuse(struct http1_conn *c, int status, const char *why);

/* Wait for the next request, or linger after the last one. */
void http1_conn_next(struct http1_conn *c);

void http1_conn_timer(struct http1_conn *c, unsigned ms);

/* One step on what was received; returns the bytes used, 0 when nothing can be done with them. */
size_t http1_conn_step(struct http1_conn *c, const uint8_t *p, size_t n);

/* Whether p[0..n), the first bytes of a connection, are HTTP/2's preface, or may become it. */
enum http1_preface { HTTP1_PREFACE_NO, HTTP1_PREFACE_MORE, HTTP1_PREFACE_YES };
enum http1_preface http1_preface_check(const uint8_t *p, size_t n);

/* Go on as HTTP/2 (RX_HTTP2). */
void http1_h2c_start(struct http1_conn *c);
void http1_h2c_input(struct http1_conn *c, const uint8_t *p, size_t n);

/* The connection closes: the session goes with it. */
void http1_h2c_abort(struct http1_conn *c);

#endif
