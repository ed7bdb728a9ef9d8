#include "common/http/router.h"

#include "common/base/buf.h"

#include <assert.h>
#include <errno.h>

#define COLLECTOR_MAGIC 0x6c6c6f63u

struct collector {
    uint32_t magic;
    struct http_request r;
    size_t max;
    struct buf body;
    bool told; /* done was called */
    void (*done)(struct http_request *r, const uint8_t *body, size_t n, int errnum);
    void (*on_close)(struct http_request *r);
};

static struct collector *of_stream(struct http_stream *s)
{
    struct collector *c = s->user;
    assert(c && c->magic == COLLECTOR_MAGIC);
    return c;
}

/* Call done. The stream's events may be the handler's own afterwards. */
static void tell(struct collector *c, const uint8_t *body, size_t n, int errnum)
{
    if (c->told)
        return;
    c->told = true;
    buf_deinit(&c->body);
    c->done(&c->r, body, n, errnum);
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct collector *c = of_stream(s);
    http_consume(s, n);
    if (c->told)
        return;
    if (n > c->max - buf_len(&c->body))
        tell(c, NULL, 0, EFBIG);
    else if (!buf_append(&c->body, data, n))
        tell(c, NULL, 0, ENOMEM);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t ntrailers)
{
    (void)trailers;
    (void)ntrailers;
    struct collector *c = of_stream(s);
    if (c->told)
        return;
    size_t n = buf_len(&c->body);
    char *body = arena_dup(&s->arena, buf_str(&c->body));
    if (body)
        tell(c, (const uint8_t *)body, n, 0);
    else
        tell(c, NULL, 0, ENOMEM);
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)errnum;
    struct collector *c = of_stream(s);
    tell(c, NULL, 0, ECONNRESET);
    if (c->on_close)
        c->on_close(&c->r);
}

static const struct http_stream_events collector_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = http_drop_writable,
    .on_close = on_close,
};

void http_collect_body(const struct http_request *r, size_t max,
                       void (*done)(struct http_request *r, const uint8_t *body, size_t n,
                                    int errnum),
                       void (*on_close_cb)(struct http_request *r))
{
    struct http_stream *s = r->stream;
    struct collector *c = arena_zalloc(&s->arena, sizeof(*c));
    if (!c) {
        s->events = &HTTP_EVENTS_NONE;
        http_reset(s);
        return;
    }
    c->magic = COLLECTOR_MAGIC;
    c->r = *r;
    c->max = max;
    c->done = done;
    c->on_close = on_close_cb;
    s->user = c;
    s->events = &collector_events;
    if (r->head->content_length > 0 && (uint64_t)r->head->content_length > max)
        tell(c, NULL, 0, EFBIG);
}
