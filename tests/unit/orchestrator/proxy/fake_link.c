#include "fake_link.h"

#include "common/base/cleanup.h"
#include "common/link/guest_protocol.h"

#include <assert.h>
#include <stdio.h>

static struct fake_upstream *of(const struct http_stream *s)
{
    return (struct fake_upstream *)(uintptr_t)container_of(s, const struct fake_upstream, s);
}

static int send_head(struct http_stream *s, const struct http_head *head, bool end)
{
    struct fake_upstream *u = of(s);
    snprintf(u->target, sizeof(u->target), "%.*s", (int)head->target.n, head->target.p);
    u->is_public = http_field_get(head, GUEST_PUBLIC_FIELD).p != NULL;
    u->ended = end;
    return 0;
}

static void send_data(struct http_stream *s, const void *data, size_t n)
{
    buf_append(&of(s)->body, data, n);
}

static void send_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    of(s)->ended = true;
}

static void consume(struct http_stream *s, size_t n)
{
    (void)s;
    (void)n;
}

static bool writable(const struct http_stream *s)
{
    (void)s;
    return true;
}

static void reset(struct http_stream *s)
{
    of(s)->was_reset = true;
}

static const struct http_stream_ops ops = { .send_head = send_head,
                                            .send_data = send_data,
                                            .send_end = send_end,
                                            .consume = consume,
                                            .writable = writable,
                                            .reset = reset };

void fake_upstream_head(struct fake_upstream *u, const char *content_type)
{
    struct http_field field = { STR("content-type"), str_of(content_type) };
    struct http_head head = { .status = 200, .content_length = -1, .fields = &field, .nfields = 1 };
    u->s.events->on_head(&u->s, &head);
}

void fake_upstream_data(struct fake_upstream *u, const void *data, size_t n)
{
    u->s.events->on_data(&u->s, data, n);
}

void fake_upstream_close(struct fake_upstream *u, int errnum)
{
    u->s.events->on_close(&u->s, errnum);
    buf_deinit(&u->body);
    arena_deinit(&u->s.arena);
    free(u);
}

bool guest_link_is_up(const struct guest_link *l)
{
    return l->up;
}

struct http_stream *guest_link_stream(struct guest_link *l, const struct http_stream_events *events,
                                      void *user)
{
    struct fake_upstream *u = calloc(1, sizeof(*u));
    assert(u);
    u->s = (struct http_stream){ .ops = &ops, .events = events, .user = user };
    l->upstream = u;
    return &u->s;
}

struct http2_session *guest_link_session(struct guest_link *l)
{
    (void)l;
    return NULL;
}

struct guest_call *
guest_link_call(struct guest_link *l, const char *method, const ProtobufCMessage *msg,
                const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
                void (*done)(void *user, const ProtobufCMessage *response, const struct err *err),
                void *user)
{
    (void)l;
    (void)method;
    (void)msg;
    (void)output;
    (void)timeout_ms;
    (void)done;
    (void)user;
    return NULL;
}

void guest_link_cancel(struct guest_call *c)
{
    (void)c;
}
