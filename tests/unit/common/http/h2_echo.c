#include "tests/unit/common/http/h2_echo.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <sys/mman.h>

#define BIG_SIZE (1ULL << 30)

struct served {
    uint32_t magic;
    struct h2_echo *e;
    uint64_t left; /* of /big */
    bool echo, trailers;
    size_t owed; /* echo: bytes to consume when there is room */
};
#define SERVED_MAGIC 0x5e4d

static struct served *served_of(struct http_stream *s)
{
    struct served *v = s->user;
    assert_int_equal(v->magic, SERVED_MAGIC);
    return v;
}

static void served_go_on(struct http_stream *s)
{
    static const uint8_t zeros[16384];
    struct served *v = served_of(s);
    while (v->left > 0 && http_writable(s)) {
        size_t n = v->left < sizeof(zeros) ? (size_t)v->left : sizeof(zeros);
        http_send_data(s, zeros, n);
        v->left -= n;
        if (v->left == 0)
            http_send_end(s);
    }
    if (v->owed > 0 && http_writable(s)) {
        http_consume(s, v->owed);
        v->owed = 0;
    }
}

static void served_on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct served *v = served_of(s);
    if (!v->echo) {
        http_consume(s, n);
        return;
    }
    http_send_data(s, data, n);
    v->owed += n;
    served_go_on(s);
}

static void served_on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct served *v = served_of(s);
    if (v->trailers) {
        struct http_field back = { STR("x-count"), n > 0 ? trailers[0].value : STR("none") };
        http_send_trailers(s, &back, 1);
    } else if (v->echo) {
        http_send_end(s);
    }
}

static void served_on_close(struct http_stream *s, int errnum)
{
    struct served *v = served_of(s);
    v->e->closes++;
    v->e->last_errnum = errnum;
    v->magic = 0;
}

static const struct http_stream_events served_events = {
    .on_data = served_on_data,
    .on_end = served_on_end,
    .on_writable = served_go_on,
    .on_close = served_on_close,
};

static void serve_head(struct http_stream *s, const struct http_head *head)
{
    struct buf text = { 0 };
    buf_printf(&text, "%.*s %.*s %.*s %lld %d", STR_ARG(head->method), STR_ARG(head->target),
               STR_ARG(head->authority), (long long)head->content_length, head->expect_continue);
    for (size_t i = 0; i < head->nfields; i++)
        buf_printf(&text, "|%.*s=%.*s", STR_ARG(head->fields[i].name),
                   STR_ARG(head->fields[i].value));
    http_respond(s, 200, "text/plain", buf_head(&text), buf_len(&text));
    buf_deinit(&text);
}

static void serve_file(struct http_stream *s, size_t length)
{
    int fd = memfd_create("body", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < length; i += 4)
        assert_int_equal(write(fd, &i, 4), 4);
    struct http_head head = { .status = 200, .content_length = 300004 };
    http_send_head(s, &head, false);
    http_send_file(s, fd, 4000, 300000);
    http_send_data(s, "tail", 4);
    http_send_end(s);
}

static void serve_huge(struct http_stream *s)
{
    static char text[40000];
    memset(text, 'a', sizeof(text));
    struct http_field fields[] = { { STR("a"), { text, sizeof(text) } },
                                   { STR("b"), { text, 20000 } } };
    struct http_head head = { .status = 200, .content_length = -1, .fields = fields, .nfields = 2 };
    assert_int_equal(http_send_head(s, &head, true), 0);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct h2_echo *e = container_of(a, struct h2_echo, acceptor);
    struct http_head ok = { .status = 200, .content_length = -1 };
    struct served *v = arena_zalloc(&s->arena, sizeof(*v));
    v->magic = SERVED_MAGIC;
    v->e = e;
    s->user = v;
    s->events = &served_events;
    e->requests++;
    e->untrusted += !s->trusted;
    if (str_eq(head->method, STR("CONNECT"))) {
        v->echo = str_eq(head->target, STR("echo:1"));
        ok.status = v->echo ? 200 : 502;
        http_send_head(s, &ok, !v->echo);
    } else if (str_eq(head->target, STR("/small"))) {
        http_respond(s, 200, "text/plain", "hello", 5);
    } else if (str_eq(head->target, STR("/echo")) || str_eq(head->target, STR("/trailers"))) {
        v->echo = true;
        v->trailers = str_eq(head->target, STR("/trailers"));
        http_send_head(s, &ok, false);
    } else if (str_eq(head->target, STR("/big"))) {
        v->left = BIG_SIZE;
        http_send_head(s, &ok, false);
        served_go_on(s);
    } else if (str_eq(head->target, STR("/head"))) {
        serve_head(s, head);
    } else if (str_eq(head->target, STR("/early"))) {
        http_respond(s, 413, NULL, "no", 2);
    } else if (str_eq(head->target, STR("/file"))) {
        serve_file(s, 400000);
    } else if (str_eq(head->target, STR("/short-file"))) {
        serve_file(s, 200000);
    } else if (str_eq(head->target, STR("/huge"))) {
        serve_huge(s);
    } else if (!str_eq(head->target, STR("/none"))) {
        http_respond(s, 404, NULL, "", 0);
    }
}

static void request_on_head(struct http_stream *s, const struct http_head *head)
{
    struct h2_request *r = s->user;
    assert_int_equal(r->status, 0);
    r->status = head->status;
}

static void request_on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct h2_request *r = s->user;
    assert_false(r->ended);
    r->received += n;
    if (!r->discard && !r->stall)
        buf_append(&r->body, data, n);
    if (!r->stall)
        http_consume(s, n);
}

static void request_on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct h2_request *r = s->user;
    assert_false(r->ended);
    r->ended = true;
    if (n > 0)
        str_copy(trailers[0].value, r->trailer, sizeof(r->trailer));
}

static void request_go_on(struct http_stream *s)
{
    struct h2_request *r = s->user;
    uint8_t chunk[10000];
    while (r->sent < r->to_send && http_writable(s)) {
        size_t n = r->to_send - r->sent < sizeof(chunk) ? r->to_send - r->sent : sizeof(chunk);
        for (size_t i = 0; i < n; i++)
            chunk[i] = (uint8_t)((r->sent + i) % 251);
        http_send_data(s, chunk, n);
        r->sent += n;
        size_t queued = http2_stream_queued(s);
        r->most_queued = queued > r->most_queued ? queued : r->most_queued;
        if (r->sent == r->to_send)
            http_send_end(s);
    }
}

static void request_on_close(struct http_stream *s, int errnum)
{
    struct h2_request *r = s->user;
    assert_false(r->closed);
    r->closed = true;
    r->errnum = errnum;
    r->s = NULL;
}

static const struct http_stream_events request_events = {
    .on_head = request_on_head,
    .on_data = request_on_data,
    .on_end = request_on_end,
    .on_writable = request_go_on,
    .on_close = request_on_close,
};

bool h2_request_begin(struct http2_session *h, struct h2_request *r, const char *method,
                      const char *path, size_t upload)
{
    r->to_send = upload;
    r->s = http2_session_stream(h, &request_events, r);
    if (!r->s)
        return false;
    struct http_head head = { .method = str_of(method),
                              .target = str_of(path),
                              .authority = STR("guest.test"),
                              .content_length = upload > 0 ? (int64_t)upload : -1,
                              .fields = r->fields,
                              .nfields = r->nfields };
    assert_int_equal(http_send_head(r->s, &head, upload == 0), 0);
    request_go_on(r->s);
    return true;
}

void h2_request_deinit(struct h2_request *r)
{
    buf_deinit(&r->body);
}

void h2_echo_init(struct h2_echo *e)
{
    *e = (struct h2_echo){ .acceptor.on_request = on_request };
}
