/*
 * envd's port: the request becomes one HTTP/2 request on the guest link.
 * Any other port: the link carries a CONNECT tunnel to localhost:port in the guest, HTTP/1.1 is
 * spoken inside it, one request per tunnel.
 */
#include "orchestrator/proxy/forward.h"

#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/http/splice.h"
#include "common/http/tunnel.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/proxy/pages.h"

#include <assert.h>
#include <stdio.h>

#define FORWARD_MAGIC 0x66777264U

struct forward {
    uint32_t magic;
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct sandbox_host *sandboxes;
    struct http_splice *splice;
    const struct http_head *head;
    char id[SANDBOX_ID_SIZE];
    uint16_t port;
    bool waited;               /* for the link, once */
    struct guest_call *call;   /* waiting for the link */
    struct tunnel *tunnel;     /* being opened */
    struct http1_client *http; /* inside the tunnel */
};

static struct forward *forward_of(void *user)
{
    struct forward *f = user;
    assert(f->magic == FORWARD_MAGIC);
    return f;
}

/* Say why there is no response: the sandbox is gone, or its port is closed. */
static void answer_failure(struct forward *f)
{
    struct http_stream *s = f->splice->server;
    if (!s)
        return;
    bool gone = !sandbox_find(f->sandboxes, f->id, NULL);
    proxy_page_send(s, f->head, gone ? PAGE_NOT_FOUND : PAGE_PORT_CLOSED, f->id, f->port);
}

static void on_failed(struct http_splice *p, int errnum)
{
    (void)errnum;
    answer_failure(forward_of(p->user));
}

static void on_done(struct http_splice *p)
{
    struct forward *f = forward_of(p->user);
    if (f->call)
        guest_link_cancel(f->call);
    if (f->tunnel)
        tunnel_cancel(f->tunnel);
    if (f->http)
        http1_client_close(f->http);
    f->magic = 0;
    free(f);
}

static const struct http_splice_events splice_events = { .on_failed = on_failed,
                                                         .on_done = on_done };

/* The head as it is sent on; envd is told that the request is a client's. */
static void send_on(struct forward *f, struct http_stream *upstream)
{
    struct http_head head = *f->head;
    head.expect_continue = false; /* was answered here */
    if (f->port == FORWARD_ENVD_PORT) {
        struct arena *arena = &f->splice->server->arena;
        head.fields = arena_alloc(arena, (head.nfields + 1) * sizeof(*head.fields));
        if (!head.fields) {
            http_reset(upstream);
            answer_failure(f);
            return;
        }
        if (head.nfields)
            memcpy(head.fields, f->head->fields, head.nfields * sizeof(*head.fields));
        head.fields[head.nfields++] = (struct http_field){ STR(GUEST_PUBLIC_FIELD), STR("1") };
        head.upgrade = (struct str){ NULL, 0 };
    }
    if (http_splice_connect(f->splice, upstream, &head) < 0)
        proxy_bad_request(f->splice->server, "the request cannot be forwarded");
}

static void on_tunnel(void *user, struct io *io, int errnum)
{
    struct forward *f = forward_of(user);
    f->tunnel = NULL;
    (void)errnum;
    if (io)
        f->http = http1_client_new(f->loop, f->defer, io, tunnel_free, NULL);
    struct http_stream *upstream =
        f->http ? http1_client_stream(f->http, &HTTP_SPLICE_UPSTREAM, f->splice) : NULL;
    if (io && !f->http)
        io_close(io, true);
    if (upstream)
        send_on(f, upstream);
    else
        answer_failure(f);
}

static void go(struct forward *f);

static void on_link(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct forward *f = forward_of(user);
    (void)response;
    f->call = NULL;
    if (err)
        answer_failure(f);
    else
        go(f);
}

/* The link is being made anew: its next answer tells that it is there. */
static bool wait_for_link(struct forward *f, struct guest_link *link)
{
    Sandpit__Guest__V1__HelloRequest hello = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    if (f->waited || !link)
        return false;
    f->waited = true;
    hello.protocol = GUEST_PROTOCOL;
    f->call = guest_link_call(link, "/sandpit.guest.v1.Guest/Hello", &hello.base,
                              &sandpit__guest__v1__hello_response__descriptor, FORWARD_LINK_WAIT_MS,
                              on_link, f);
    return f->call != NULL;
}

static void go(struct forward *f)
{
    struct sandbox *sb = sandbox_find(f->sandboxes, f->id, NULL);
    struct guest_link *link = sb ? sb->link : NULL;
    if (link && !guest_link_is_up(link) && wait_for_link(f, link))
        return;
    if (!link || !guest_link_is_up(link)) {
        answer_failure(f);
        return;
    }
    if (f->port == FORWARD_ENVD_PORT) {
        struct http_stream *s = guest_link_stream(link, &HTTP_SPLICE_UPSTREAM, f->splice);
        if (s)
            send_on(f, s);
        else
            answer_failure(f);
        return;
    }
    char target[32];
    int n = snprintf(target, sizeof(target), "localhost:%u", f->port);
    f->tunnel = tunnel_open(guest_link_session(link), f->defer, (struct str){ target, (size_t)n },
                            on_tunnel, f);
    if (!f->tunnel)
        answer_failure(f);
}

void forward_start(uv_loop_t *loop, struct defer_queue *defer, struct sandbox_host *sandboxes,
                   struct sandbox *sb, uint16_t port, struct http_stream *s,
                   const struct http_head *head)
{
    struct forward *f = calloc(1, sizeof(*f));
    if (f)
        *f = (struct forward){ .magic = FORWARD_MAGIC,
                               .loop = loop,
                               .defer = defer,
                               .sandboxes = sandboxes,
                               .head = head,
                               .port = port };
    if (f)
        f->splice = http_splice_new(s, head, &splice_events, f);
    if (!f || !f->splice) {
        free(f);
        proxy_page_send(s, head, PAGE_PORT_CLOSED, sb->id, port);
        return;
    }
    memcpy(f->id, sb->id, sizeof(f->id));
    go(f);
}
