#include "tests/support/fake_stream.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static struct fake_stream *fake_of(const struct http_stream *s)
{
    return (struct fake_stream *)(uintptr_t)container_of(s, const struct fake_stream, s);
}

static void add(struct fake_fields *fields, struct str name, struct str value)
{
    assert(fields->n < FAKE_FIELDS_MAX);
    fields->items[fields->n++] =
        (struct http_field){ { str_dup(name), name.n }, { str_dup(value), value.n } };
}

static void drop(struct fake_fields *fields)
{
    for (size_t i = 0; i < fields->n; i++) {
        free((char *)(uintptr_t)fields->items[i].name.p);
        free((char *)(uintptr_t)fields->items[i].value.p);
    }
    fields->n = 0;
}

static const char *get(const struct fake_fields *fields, const char *name)
{
    for (size_t i = 0; i < fields->n; i++)
        if (str_eq(fields->items[i].name, str_of(name)))
            return fields->items[i].value.p;
    return NULL;
}

static int send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    struct fake_stream *f = fake_of(s);
    assert(f->status == 0 && !f->closed);
    for (size_t i = 0; i < head->nfields; i++)
        if (str_find(head->fields[i].value, '\n') >= 0)
            return -EINVAL;
    f->status = head->status;
    f->content_length = head->content_length;
    for (size_t i = 0; i < head->nfields; i++)
        add(&f->fields, head->fields[i].name, head->fields[i].value);
    f->ended = end;
    return 0;
}

static void send_data(struct http_stream *s, const void *data, size_t n)
{
    struct fake_stream *f = fake_of(s);
    assert(f->status && !f->ended && !f->closed);
    buf_append(&f->body, data, n);
    if (f->fills)
        f->writable = false;
}

static void send_file(struct http_stream *s, int fd, int64_t offset, size_t n)
{
    struct fake_stream *f = fake_of(s);
    assert(f->status && !f->ended && !f->closed);
    uint8_t *to = buf_reserve(&f->body, n);
    assert(to);
    ssize_t got = pread(fd, to, n, offset);
    assert(got == (ssize_t)n);
    buf_commit(&f->body, (size_t)got);
    close(fd);
}

static void send_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct fake_stream *f = fake_of(s);
    assert(f->status && !f->ended && !f->closed);
    for (size_t i = 0; i < n; i++)
        add(&f->trailers, trailers[i].name, trailers[i].value);
    f->ended = true;
}

static void consume(struct http_stream *s, size_t n)
{
    struct fake_stream *f = fake_of(s);
    f->consumed += n;
    assert(!f->closed && f->consumed <= f->given);
}

static bool writable(const struct http_stream *s)
{
    return fake_of(s)->writable;
}

static void reset(struct http_stream *s)
{
    fake_of(s)->was_reset = true;
}

static const struct http_stream_ops ops = {
    .send_head = send_head,
    .send_data = send_data,
    .send_file = send_file,
    .send_end = send_end,
    .consume = consume,
    .writable = writable,
    .reset = reset,
};

void fake_stream_init(struct fake_stream *f, const char *method, const char *target)
{
    *f = (struct fake_stream){ .s.ops = &ops, .writable = true };
    f->request = (struct http_head){ .method = str_of(method),
                                     .target = str_of(target),
                                     .content_length = -1,
                                     .fields = f->request_fields.items };
}

void fake_stream_deinit(struct fake_stream *f)
{
    fake_stream_close(f, ECONNRESET);
    drop(&f->request_fields);
    drop(&f->fields);
    drop(&f->trailers);
    buf_deinit(&f->body);
    arena_deinit(&f->s.arena);
}

void fake_stream_add(struct fake_stream *f, const char *name, const char *value)
{
    add(&f->request_fields, str_of(name), str_of(value));
    f->request.nfields = f->request_fields.n;
}

static bool is_deaf(const struct fake_stream *f)
{
    return f->ended || f->was_reset || f->closed;
}

void fake_stream_data(struct fake_stream *f, const void *data, size_t n)
{
    if (is_deaf(f) || n == 0)
        return;
    /* A copy of just this size, so that a sanitizer sees any read beyond it. */
    uint8_t *copy = malloc(n);
    memcpy(copy, data, n);
    f->given += n;
    f->s.events->on_data(&f->s, copy, n);
    free(copy);
}

void fake_stream_end(struct fake_stream *f)
{
    if (!is_deaf(f))
        f->s.events->on_end(&f->s, NULL, 0);
}

void fake_stream_writable(struct fake_stream *f)
{
    if (!is_deaf(f))
        f->s.events->on_writable(&f->s);
}

void fake_stream_close(struct fake_stream *f, int errnum)
{
    if (f->closed)
        return;
    if (f->s.events)
        f->s.events->on_close(&f->s, errnum);
    f->closed = true;
}

const char *fake_stream_header(const struct fake_stream *f, const char *name)
{
    return get(&f->fields, name);
}

const char *fake_stream_trailer(const struct fake_stream *f, const char *name)
{
    return get(&f->trailers, name);
}
