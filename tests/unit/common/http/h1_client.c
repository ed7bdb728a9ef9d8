#include "tests/unit/common/http/h1_client.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static struct h1_client_end *current;

static void free_io(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    assert_ptr_equal(fd, current->fd);
    current->fd = NULL;
    free(fd);
}

void h1_client_start(struct h1_client_end *e, bool tcp)
{
    *e = (struct h1_client_end){ .limits = HTTP_LIMITS_DEFAULT };
    current = e;
    test_loop_init(&e->t);
    int theirs;
    if (tcp)
        test_peer_tcp(&e->peer, &theirs);
    else
        test_peer_pair(&e->peer, &theirs);
    e->fd = calloc(1, sizeof(*e->fd));
    assert_int_equal(io_fd_init(e->fd, &e->t.loop, theirs, IO_FD_STREAM, NULL), 0);
    e->client = http1_client_new(&e->t.loop, &e->t.defer, &e->fd->io, free_io, &e->limits);
    assert_non_null(e->client);
}

void h1_client_stop(struct h1_client_end *e)
{
    e->inside = true;
    http1_client_close(e->client);
    e->inside = false;
    LOOP_UNTIL(&e->t, !e->fd);
    test_loop_settle(&e->t);
    test_peer_close(&e->peer);
    test_loop_deinit(&e->t);
}

static struct h1_call *of(struct http_stream *s)
{
    struct h1_call *c = s->user;
    assert_ptr_equal(c->s, s);
    assert_false(c->e->inside);
    assert_int_equal(c->closes, 0);
    return c;
}

static void on_head(struct http_stream *s, const struct http_head *head)
{
    struct h1_call *c = of(s);
    assert_int_equal(c->ends, 0);
    c->heads++;
    c->status = head->status;
    c->content_length = head->content_length;
    str_copy(head->upgrade, c->upgrade, sizeof(c->upgrade));
    size_t at = 0;
    for (size_t i = 0; i < head->nfields && at < sizeof(c->fields); i++)
        at += (size_t)snprintf(c->fields + at, sizeof(c->fields) - at, "%.*s=%.*s;",
                               STR_ARG(head->fields[i].name), STR_ARG(head->fields[i].value));
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct h1_call *c = of(s);
    assert_int_equal(c->heads, 1);
    assert_int_equal(c->ends, 0);
    buf_append(&c->body, data, n);
    c->unconsumed += n;
    assert_true(c->unconsumed <= c->e->limits.window);
    if (!c->hold) {
        c->unconsumed -= n;
        http_consume(s, n);
    }
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct h1_call *c = of(s);
    assert_int_equal(c->heads, 1);
    c->ends++;
    if (n > 0)
        snprintf(c->trailer, sizeof(c->trailer), "%.*s=%.*s", STR_ARG(trailers[0].name),
                 STR_ARG(trailers[0].value));
}

static void on_writable(struct http_stream *s)
{
    of(s)->writables++;
}

static void on_close(struct http_stream *s, int errnum)
{
    struct h1_call *c = of(s);
    c->closes++;
    c->errnum = errnum;
    c->s = NULL;
    if (c->again) {
        struct h1_call *next = c + 1;
        h1_call_begin(c->e, next, "GET", 0, true);
    }
}

const struct http_stream_events h1_call_events = { on_head, on_data, on_end, on_writable,
                                                   on_close };

void h1_call_open(struct h1_client_end *e, struct h1_call *c)
{
    *c = (struct h1_call){ .e = e, .hold = c->hold, .again = c->again };
    e->inside = true;
    c->s = http1_client_stream(e->client, &h1_call_events, c);
    e->inside = false;
    assert_non_null(c->s);
}

void h1_call_begin(struct h1_client_end *e, struct h1_call *c, const char *method, int64_t length,
                   bool end)
{
    h1_call_open(e, c);
    struct http_field field = { STR("x-one"), STR("1") };
    struct http_head head = { .method = str_of(method),
                              .target = STR("/t?q"),
                              .authority = STR("h:1"),
                              .content_length = length,
                              .fields = &field,
                              .nfields = 1 };
    bool was_inside = e->inside;
    e->inside = true;
    assert_int_equal(http_send_head(c->s, &head, end), 0);
    e->inside = was_inside;
}

void h1_client_answer(struct h1_client_end *e, const char *text)
{
    assert_true(test_peer_send(&e->peer, text, strlen(text)));
    test_loop_settle(&e->t);
}

void h1_call_done(struct h1_call *c)
{
    buf_deinit(&c->body);
}
