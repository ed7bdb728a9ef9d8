/*
 * envd's port: the request becomes one HTTP/2 request on the guest link.
 * Any other port: the link carries a CONNECT tunnel to localhost:port in the guest, HTTP/1.1 is
 * spoken inside it, one request per tunnel.
 */
#include "orchestrator/proxy/forward.h"

#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/http/tunnel.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/proxy/access.h"
#include "orchestrator/proxy/forward_internal.h"

#include <assert.h>
#include <stdio.h>

#define FORWARD_MAGIC 0x66777264U

static struct forward *forward_of(void *user)
{
    struct forward *f = user;
    assert(f->magic == FORWARD_MAGIC);
    return f;
}

void forward_page(struct forward *f, enum proxy_page page, const char *text)
{
    const struct proxy_page_facts facts = { f->route.id, f->route.port, text };
    if (f->splice->server)
        proxy_page_send(f->splice->server, f->head, page, &facts);
}

/* Say why there is no response: the sandbox is gone, or its port is closed. */
static void answer_failure(struct forward *f)
{
    const struct sandbox *sb = sandbox_lookup(f->o->sandboxes, f->route.id, NULL);
    if (!f->splice->server)
        return;
    if (!sb)
        forward_gone(f);
    else if (sm_state(&sb->sm) == SANDBOX_RUNNING)
        forward_page(f, PAGE_PORT_CLOSED, NULL);
    else
        /* It was paused under the request, which may have had its effect: the client may ask again,
         * where that wakes it. */
        forward_page(f, sb->auto_resume ? PAGE_TRANSITION : PAGE_NOT_FOUND, NULL);
}

static void on_failed(struct http_splice *p, int errnum)
{
    (void)errnum;
    answer_failure(forward_of(p->user));
}

static void on_response(struct http_splice *p, struct http_head *head)
{
    rpc_end_begin(&forward_of(p->user)->rpc, head);
}

static void on_response_data(struct http_splice *p, const uint8_t *data, size_t n)
{
    rpc_end_pass(&forward_of(p->user)->rpc, data, n);
}

/* A response that was cut because its sandbox stopped says so, where its protocol can. */
static bool on_cut(struct http_splice *p)
{
    struct forward *f = forward_of(p->user);
    const struct sandbox *sb = sandbox_lookup(f->o->sandboxes, f->route.id, NULL);
    if (sb && sm_state(&sb->sm) == SANDBOX_RUNNING)
        return false;
    return rpc_end_send(&f->rpc, p->server,
                        sb ? "the sandbox was paused" : "the sandbox has ended");
}

static void on_done(struct http_splice *p)
{
    struct forward *f = forward_of(p->user);
    forward_wait_abandon(f);
    list_remove(&f->node);
    if (f->call)
        guest_link_cancel(f->call);
    if (f->tunnel)
        tunnel_cancel(f->tunnel);
    if (f->http)
        http1_client_close(f->http);
    f->magic = 0;
    free(f);
}

static const struct http_splice_events splice_events = { .on_response = on_response,
                                                         .on_response_data = on_response_data,
                                                         .on_cut = on_cut,
                                                         .on_failed = on_failed,
                                                         .on_done = on_done };

static void send_on(struct forward *f, struct http_stream *upstream, struct http_head head)
{
    head.expect_continue = false; /* was answered here */
    if (http_splice_connect(f->splice, upstream, &head) < 0)
        proxy_bad_request(f->splice->server, "the request cannot be forwarded");
}

static void on_tunnel(void *user, struct io *io, int errnum)
{
    struct forward *f = forward_of(user);
    f->tunnel = NULL;
    (void)errnum;
    if (!io && !sandbox_find(f->o->sandboxes, f->route.id, NULL)) {
        forward_go(f); /* nothing was sent yet */
        return;
    }
    if (io)
        f->http = http1_client_new(f->o->loop, f->o->defer, io, tunnel_free, NULL);
    struct http_stream *upstream =
        f->http ? http1_client_stream(f->http, &HTTP_SPLICE_UPSTREAM, f->splice) : NULL;
    if (io && !f->http)
        io_close(io, true);
    if (upstream)
        send_on(f, upstream, *f->head);
    else
        answer_failure(f);
}

static void on_link(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct forward *f = forward_of(user);
    (void)response;
    f->call = NULL;
    if (err && sandbox_find(f->o->sandboxes, f->route.id, NULL))
        answer_failure(f);
    else
        forward_go(f);
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

/* envd is told that the request is a client's. */
static void forward_to_envd(struct forward *f, struct guest_link *link)
{
    struct http_head head = *f->head;
    struct arena *arena = &f->splice->server->arena;
    head.fields = arena_alloc(arena, (head.nfields + 1) * sizeof(*head.fields));
    struct http_stream *s =
        head.fields ? guest_link_stream(link, &HTTP_SPLICE_UPSTREAM, f->splice) : NULL;
    if (!s) {
        answer_failure(f);
        return;
    }
    if (head.nfields)
        memcpy(head.fields, f->head->fields, head.nfields * sizeof(*head.fields));
    head.fields[head.nfields++] = (struct http_field){ STR(GUEST_PUBLIC_FIELD), STR("1") };
    head.upgrade = (struct str){ NULL, 0 };
    send_on(f, s, head);
}

static void forward(struct forward *f, struct guest_link *link)
{
    if (link && !guest_link_is_up(link) && wait_for_link(f, link))
        return;
    if (!link || !guest_link_is_up(link)) {
        answer_failure(f);
        return;
    }
    if (f->route.port == ACCESS_ENVD_PORT) {
        forward_to_envd(f, link);
        return;
    }
    char target[32];
    int n = snprintf(target, sizeof(target), "localhost:%u", f->route.port);
    f->tunnel = tunnel_open(guest_link_session(link), f->o->defer,
                            (struct str){ target, (size_t)n }, on_tunnel, f);
    if (!f->tunnel)
        answer_failure(f);
}

void forward_go(struct forward *f)
{
    const struct sandbox *sb = sandbox_lookup(f->o->sandboxes, f->route.id, NULL);
    enum proxy_page page;
    if (!f->splice->server)
        return;
    if (!sb)
        forward_gone(f);
    else if (sm_state(&sb->sm) != SANDBOX_RUNNING)
        forward_wake(f, sb);
    else if (!access_may_pass(f->head, sb, f->route.port, &page))
        forward_page(f, page, NULL);
    else
        forward(f, sb->link);
}

void forward_end_streams(struct list *forwards, const char *sandbox_id)
{
    list_for_each_safe (node, forwards) {
        struct forward *f = container_of(node, struct forward, node);
        if (f->rpc.kind != RPC_END_NONE && strcmp(f->route.id, sandbox_id) == 0)
            http_splice_cut(f->splice);
    }
}

void forward_start(const struct proxy_options *o, struct list *forwards,
                   const struct proxy_route *route, struct http_stream *s,
                   const struct http_head *head)
{
    struct forward *f = calloc(1, sizeof(*f));
    if (f)
        *f = (struct forward){ .magic = FORWARD_MAGIC, .o = o, .head = head, .route = *route };
    if (f)
        f->splice = http_splice_new(s, head, &splice_events, f);
    if (!f || !f->splice) {
        const struct proxy_page_facts facts = { route->id, route->port, "out of memory" };
        free(f);
        proxy_page_send(s, head, PAGE_BUSY, &facts);
        return;
    }
    list_push_back(forwards, &f->node);
    forward_go(f);
}
