/* HTTP/2 with prior knowledge on a connection that began as HTTP/1: same port, same acceptor. */
#include "common/http/http1_conn.h"

#include <errno.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum http1_preface http1_preface_check(const uint8_t *p, size_t n)
{
    size_t whole = sizeof(preface) - 1;
    if (memcmp(p, preface, n < whole ? n : whole) != 0)
        return HTTP1_PREFACE_NO;
    return n < whole ? HTTP1_PREFACE_MORE : HTTP1_PREFACE_YES;
}

/* The session is over and was not aborted by us. */
static void on_over(struct http2_session *h, int errnum)
{
    (void)errnum;
    struct http1_conn *c = http2_session_user(h);
    c->h2 = NULL;
    http1_conn_linger(c);
}

static const struct http2_events h2_events = { .on_over = on_over };

void http1_h2c_start(struct http1_conn *c)
{
    struct http2_options options = {
        .defer = c->defer,
        .limits = c->limits,
        .acceptor = c->options.acceptor,
        .trusted = c->options.trusted,
        .events = &h2_events,
        .user = c,
    };
    uv_timer_stop(&c->timer); /* the session has its own for idleness */
    c->rx = RX_HTTP2;
    c->h2 = http2_session_new(c->loop, &c->fd.io, &options);
    if (!c->h2)
        http1_conn_close(c, ENOMEM, true);
    else if (c->last)
        http2_session_drain(c->h2);
}

void http1_h2c_input(struct http1_conn *c, const uint8_t *p, size_t n)
{
    http2_session_input(c->h2, p, n);
}

void http1_h2c_abort(struct http1_conn *c)
{
    struct http2_session *h = c->h2;
    c->h2 = NULL;
    if (h)
        http2_session_abort(h, ECONNRESET);
}
