#include "tests/unit/common/http/h1_server.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

/* The requests in the order of their streams, so that events find theirs. */
static struct h1_server *current;

static struct h1_seen *of(struct http_stream *s)
{
    struct h1_seen *r = s->user;
    assert_ptr_equal(r->s, s);
    assert_false(current->inside);
    assert_false(r->closed);
    return r;
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct h1_seen *r = of(s);
    assert_true(n > 0);
    assert_false(r->ended);
    buf_append(&r->body, data, n);
    r->unconsumed += n;
    assert_true(r->unconsumed <= current->limits.window);
    if (!r->hold)
        h1_consume(current, r, n);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct h1_seen *r = of(s);
    assert_false(r->ended);
    r->ended = true;
    if (n > 0)
        snprintf(r->trailer, sizeof(r->trailer), "%.*s=%.*s", STR_ARG(trailers[0].name),
                 STR_ARG(trailers[0].value));
    if (strcmp(r->target, "/echo") == 0) {
        current->inside = true;
        http_respond(s, 200, "text/plain", buf_head(&r->body), buf_len(&r->body));
        current->inside = false;
    }
}

static void on_writable(struct http_stream *s)
{
    of(s)->writables++;
}

static void on_close(struct http_stream *s, int errnum)
{
    struct h1_seen *r = of(s);
    r->closed = true;
    r->errnum = errnum;
    r->s = NULL;
}

static const struct http_stream_events events = {
    .on_data = on_data, .on_end = on_end, .on_writable = on_writable, .on_close = on_close
};

static void record(struct h1_seen *r, const struct http_head *head)
{
    assert_true(str_copy(head->method, r->method, sizeof(r->method)));
    assert_true(str_copy(head->target, r->target, sizeof(r->target)));
    assert_true(str_copy(head->authority, r->authority, sizeof(r->authority)));
    assert_true(str_copy(head->upgrade, r->upgrade, sizeof(r->upgrade)));
    r->content_length = head->content_length;
    r->expected = head->expect_continue;
    size_t at = 0;
    for (size_t i = 0; i < head->nfields && at < sizeof(r->fields); i++)
        at += (size_t)snprintf(r->fields + at, sizeof(r->fields) - at, "%.*s=%.*s;",
                               STR_ARG(head->fields[i].name), STR_ARG(head->fields[i].value));
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct h1_server *v = container_of(a, struct h1_server, acceptor);
    assert_false(v->inside);
    assert_true(v->requests < H1_SEEN_MAX);
    struct h1_seen *r = &v->seen[v->requests++];
    r->s = s;
    r->hold = v->hold;
    s->user = r;
    s->events = &events;
    record(r, head);
    v->inside = true;
    if (strcmp(r->target, "/upgrade") == 0)
        s->may_upgrade = true;
    else if (strncmp(r->target, "/ok", 3) == 0)
        http_respond(s, 200, "text/plain", "ok", 2);
    else if (strcmp(r->target, "/deny") == 0)
        http_respond(s, 403, NULL, NULL, 0);
    else if (strcmp(r->target, "/hold") != 0 && strcmp(r->target, "/echo") != 0)
        http_respond(s, 404, NULL, NULL, 0);
    v->inside = false;
}

static void on_gone(struct http1_conn *c, void *user)
{
    struct h1_server *v = user;
    assert_ptr_equal(c, v->conn);
    v->gone++;
    v->conn = NULL;
}

void h1_start(struct h1_server *v, const struct http_limits *limits)
{
    *v = (struct h1_server){ .acceptor = { on_request } };
    v->limits = limits ? *limits : HTTP_LIMITS_DEFAULT;
    current = v;
    test_loop_init(&v->t);
    int theirs;
    test_peer_pair(&v->peer, &theirs);
    struct http1_server_options options = { .acceptor = &v->acceptor,
                                            .limits = &v->limits,
                                            .heads = &v->heads };
    v->conn = http1_serve_fd(&v->t.loop, &v->t.defer, theirs, &options, on_gone, v);
    assert_non_null(v->conn);
}

void h1_stop(struct h1_server *v)
{
    if (v->conn) {
        v->inside = true;
        http1_conn_abort(v->conn);
        v->inside = false;
    }
    LOOP_UNTIL(&v->t, v->gone == 1);
    test_peer_close(&v->peer);
    test_loop_deinit(&v->t);
    assert_int_equal(v->gone, 1);
    for (size_t i = 0; i < v->requests; i++) {
        assert_true(v->seen[i].closed);
        buf_deinit(&v->seen[i].body);
    }
}

void h1_send_bytes(struct h1_server *v, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t sent = 0;
    int64_t deadline = clock_mono_ms() + TEST_LOOP_MS;
    while (sent < n) {
        size_t piece = n - sent < 4096 ? n - sent : 4096;
        if (test_peer_send(&v->peer, p + sent, piece))
            sent += piece;
        test_loop_turn(&v->t);
        test_peer_pull(&v->peer);
        if (v->peer.error || v->peer.eof)
            return;
        assert_true(clock_mono_ms() < deadline);
    }
    test_loop_settle(&v->t);
    test_peer_pull(&v->peer);
}

void h1_send(struct h1_server *v, const char *text)
{
    h1_send_bytes(v, text, strlen(text));
}

size_t h1_count(struct h1_server *v, const char *text)
{
    test_peer_pull(&v->peer);
    struct str got = buf_str(&v->peer.got);
    size_t count = 0;
    for (;;) {
        const char *at = memmem(got.p, got.n, text, strlen(text));
        if (!at)
            return count;
        count++;
        got = str_from(got, (size_t)(at - got.p) + 1);
    }
}

int h1_last_status(struct h1_server *v)
{
    test_peer_pull(&v->peer);
    struct str got = buf_str(&v->peer.got);
    int status = 0;
    for (;;) {
        const char *at = memmem(got.p, got.n, "HTTP/1.1 ", 9);
        if (!at)
            return status;
        status = atoi(at + 9);
        got = str_from(got, (size_t)(at - got.p) + 9);
    }
}

int h1_head(struct h1_server *v, struct h1_seen *r, int status, int64_t length, bool end)
{
    struct http_head head = { .status = status, .content_length = length };
    v->inside = true;
    int rc = http_send_head(r->s, &head, end);
    v->inside = false;
    return rc;
}

void h1_data(struct h1_server *v, struct h1_seen *r, const void *data, size_t n)
{
    v->inside = true;
    http_send_data(r->s, data, n);
    v->inside = false;
}

void h1_end(struct h1_server *v, struct h1_seen *r)
{
    v->inside = true;
    http_send_end(r->s);
    v->inside = false;
}

void h1_consume(struct h1_server *v, struct h1_seen *r, size_t n)
{
    r->unconsumed -= n;
    v->inside = true;
    http_consume(r->s, n);
    v->inside = false;
}

void h1_reset(struct h1_server *v, struct h1_seen *r)
{
    v->inside = true;
    http_reset(r->s);
    v->inside = false;
}
