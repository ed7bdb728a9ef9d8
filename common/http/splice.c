#include "common/http/splice.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SPLICE_MAGIC 0x6c70736eu

static struct http_splice *of_stream(struct http_stream *s)
{
    struct http_splice *p = s->user;
    assert(p && p->magic == SPLICE_MAGIC);
    return p;
}

static void free_if_done(struct http_splice *p)
{
    if (p->server || p->client)
        return;
    p->events->on_done(p);
    p->magic = 0;
    buf_deinit(&p->held);
    free(p);
}

/* Give back what the other side has room for again. */
static void give_back(struct http_stream *from, struct http_stream *to, size_t *owed)
{
    size_t n = *owed;
    if (n == 0 || !from || !http_writable(to))
        return;
    *owed = 0;
    http_consume(from, n);
}

static void forward_request_end(struct http_splice *p)
{
    if (!p->request_ended || p->request_sent || !p->client)
        return;
    p->request_sent = true;
    http_send_trailers(p->client, p->trailers, p->ntrailers);
}

/* There is no upstream any more: what comes of the request is thrown away. */
static void drop_request(struct http_splice *p)
{
    p->failed = true;
    buf_deinit(&p->held);
    size_t n = p->owed_server;
    p->owed_server = 0;
    if (n > 0)
        http_consume(p->server, n);
}

/* ---- the server stream ---- */

static void on_request_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct http_splice *p = of_stream(s);
    p->owed_server += n;
    if (p->failed) {
        drop_request(p);
    } else if (p->client) {
        http_send_data(p->client, data, n);
        give_back(s, p->client, &p->owed_server);
    } else if (!buf_append(&p->held, data, n)) {
        http_reset(s);
    }
}

static void on_request_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct http_splice *p = of_stream(s);
    struct http_field *kept = n ? arena_alloc(&s->arena, n * sizeof(*kept)) : NULL;
    for (size_t i = 0; kept && i < n; i++) {
        char *name = arena_dup(&s->arena, trailers[i].name);
        char *value = arena_dup(&s->arena, trailers[i].value);
        if (!name || !value)
            break;
        kept[p->ntrailers++] =
            (struct http_field){ { name, trailers[i].name.n }, { value, trailers[i].value.n } };
    }
    p->trailers = kept;
    p->request_ended = true;
    forward_request_end(p);
}

static void on_server_writable(struct http_stream *s)
{
    struct http_splice *p = of_stream(s);
    give_back(p->client, s, &p->owed_client);
}

static void on_server_close(struct http_stream *s, int errnum)
{
    struct http_splice *p = of_stream(s);
    uint64_t sent, delivered;
    p->server = NULL;
    /* The body goes through as it is, so what has reached the one is what the other has sent. */
    http_progress(s, &sent, &delivered);
    if (delivered > p->passed)
        delivered = p->passed; /* the end of a cut response was not the upstream's */
    if (p->client && (errnum || !p->request_sent || !p->response_ended))
        http_give_up(p->client, delivered);
    free_if_done(p);
}

static const struct http_stream_events server_events = {
    .on_data = on_request_data,
    .on_end = on_request_end,
    .on_writable = on_server_writable,
    .on_close = on_server_close,
};

/* ---- the upstream's stream ---- */

static void on_response_head(struct http_stream *s, const struct http_head *head)
{
    struct http_splice *p = of_stream(s);
    if (!p->server)
        return;
    struct http_head copy = *head;
    if (p->events->on_response)
        p->events->on_response(p, &copy);
    if (http_send_head(p->server, &copy, false) == 0)
        p->responding = true;
    else
        http_reset(s); /* on_failed follows */
}

static void on_response_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct http_splice *p = of_stream(s);
    if (!p->server || !p->responding || p->cut) {
        http_consume(s, n);
        return;
    }
    p->owed_client += n;
    p->passed += n;
    if (p->events->on_response_data)
        p->events->on_response_data(p, data, n);
    http_send_data(p->server, data, n);
    give_back(s, p->server, &p->owed_client);
}

static void on_response_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct http_splice *p = of_stream(s);
    p->response_ended = true;
    if (p->server && p->responding && !p->cut)
        http_send_trailers(p->server, trailers, n);
}

static void on_client_writable(struct http_stream *s)
{
    struct http_splice *p = of_stream(s);
    give_back(p->server, s, &p->owed_server);
}

static void end_early(struct http_splice *p)
{
    p->cut = true;
    if (!p->events->on_cut || !p->events->on_cut(p))
        http_reset(p->server);
}

static void on_client_close(struct http_stream *s, int errnum)
{
    struct http_splice *p = of_stream(s);
    p->client = NULL;
    if (p->server && p->responding && !p->response_ended) {
        if (!p->cut)
            end_early(p);
    } else if (p->server && !p->responding && !p->failed) {
        drop_request(p);
        p->events->on_failed(p, errnum ? errnum : EPROTO);
    }
    free_if_done(p);
}

const struct http_stream_events HTTP_SPLICE_UPSTREAM = {
    .on_head = on_response_head,
    .on_data = on_response_data,
    .on_end = on_response_end,
    .on_writable = on_client_writable,
    .on_close = on_client_close,
};

/* ---- the caller ---- */

struct http_splice *http_splice_new(struct http_stream *server, const struct http_head *request,
                                    const struct http_splice_events *events, void *user)
{
    struct http_splice *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->magic = SPLICE_MAGIC;
    p->server = server;
    p->events = events;
    p->user = user;
    server->events = &server_events;
    server->user = p;
    server->may_upgrade = request->upgrade.n > 0;
    return p;
}

int http_splice_connect(struct http_splice *p, struct http_stream *client,
                        const struct http_head *head)
{
    assert(!p->client && p->server);
    p->client = client;
    bool upgrade = head->upgrade.n > 0;
    /* A request known to have no body is sent whole, so that it carries no empty one. */
    bool whole = !upgrade && buf_len(&p->held) == 0 &&
                 (head->content_length == 0 || (p->request_ended && p->ntrailers == 0));
    struct http_head copy = *head;
    if (whole)
        copy.content_length = 0;
    int rc = http_send_head(client, &copy, whole);
    if (rc < 0) {
        drop_request(p);
        http_reset(client);
        return rc;
    }
    p->request_sent = whole;
    if (buf_len(&p->held) > 0) {
        http_send_data(client, buf_head(&p->held), buf_len(&p->held));
        buf_deinit(&p->held);
    }
    give_back(p->server, client, &p->owed_server);
    forward_request_end(p);
    return 0;
}

void http_splice_cut(struct http_splice *p)
{
    if (p->server && p->client && p->responding && !p->response_ended && !p->cut)
        end_early(p);
}
