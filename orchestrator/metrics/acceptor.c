#include "orchestrator/metrics/acceptor.h"

#include "common/base/cleanup.h"
#include "orchestrator/metrics/text.h"

#define PLAIN "text/plain; charset=utf-8"

static void respond_text(struct http_stream *s, int status, struct str text)
{
    http_respond(s, status, PLAIN, text.p, text.n);
}

static void on_request(struct http_acceptor *acceptor, struct http_stream *s,
                       const struct http_head *head)
{
    const struct metrics_acceptor *a = container_of(acceptor, struct metrics_acceptor, acceptor);
    static const struct http_field allow = { STR("allow"), STR("GET") };
    struct str rest = head->target;
    if (!str_eq(str_split(&rest, '?'), STR("/metrics"))) {
        respond_text(s, 404, STR("there is nothing here but /metrics\n"));
        return;
    }
    if (!str_eq(head->method, STR("GET"))) {
        http_respond_fields(s, 405, PLAIN, &allow, 1, "only GET\n", 9);
        return;
    }
    struct buf out = { 0 };
    a->write(a->user, &out);
    if (out.failed)
        respond_text(s, 500, STR("out of memory\n"));
    else
        http_respond(s, 200, METRICS_CONTENT_TYPE, buf_head(&out), buf_len(&out));
    buf_deinit(&out);
}

void metrics_acceptor_init(struct metrics_acceptor *a, void (*write)(void *user, struct buf *out),
                           void *user)
{
    *a = (struct metrics_acceptor){ .acceptor.on_request = on_request,
                                    .write = write,
                                    .user = user };
}
