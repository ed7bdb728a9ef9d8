#include "common/http/http.h"

#include "common/http/http1_head.h"

#include <stdio.h>

const struct http_limits HTTP_LIMITS_DEFAULT = {
    .head_bytes = 65536,
    .fields = 128,
    .requests_kept = 256,
    .trailer_bytes = 8192,
    .head_ms = 10000,
    .idle_ms = 640000,
    .window = 262144,
};

void http_drop_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    (void)data;
    http_consume(s, n);
}

static void drop_head(struct http_stream *s, const struct http_head *head)
{
    (void)s;
    (void)head;
}

void http_drop_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)s;
    (void)trailers;
    (void)n;
}

void http_drop_writable(struct http_stream *s)
{
    (void)s;
}

static void drop_close(struct http_stream *s, int errnum)
{
    (void)s;
    (void)errnum;
}

const struct http_stream_events HTTP_EVENTS_NONE = {
    .on_head = drop_head,
    .on_data = http_drop_data,
    .on_end = http_drop_end,
    .on_writable = http_drop_writable,
    .on_close = drop_close,
};

struct str http_field_get(const struct http_head *head, const char *name)
{
    struct str want = str_of(name);
    for (size_t i = 0; i < head->nfields; i++)
        if (str_eq_nocase(head->fields[i].name, want))
            return head->fields[i].value;
    return (struct str){ NULL, 0 };
}

void http_respond(struct http_stream *s, int status, const char *content_type, const void *body,
                  size_t n)
{
    http_respond_fields(s, status, content_type, NULL, 0, body, n);
}

void http_respond_fields(struct http_stream *s, int status, const char *content_type,
                         const struct http_field *fields, size_t nfields, const void *body,
                         size_t n)
{
    if (!s->events)
        s->events = &HTTP_EVENTS_NONE;
    struct http_field *all = arena_alloc(&s->arena, (nfields + 1) * sizeof(*all));
    if (!all) {
        http_reset(s);
        return;
    }
    size_t count = 0;
    if (content_type)
        all[count++] = (struct http_field){ STR("content-type"), str_of(content_type) };
    for (size_t i = 0; i < nfields; i++)
        all[count++] = fields[i];

    struct http_head head = {
        .status = status,
        .content_length = (int64_t)n,
        .fields = all,
        .nfields = count,
    };
    /* A head that cannot be expressed is a bug of the caller; the client still gets an end. */
    if (http_send_head(s, &head, n == 0) < 0) {
        http_reset(s);
        return;
    }
    if (n > 0) {
        http_send_data(s, body, n);
        http_send_end(s);
    }
}
