#include "orchestrator/proxy/proxy.h"

#include "common/auth/signature.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/http/router.h"
#include "orchestrator/proxy/access.h"
#include "orchestrator/proxy/forward.h"
#include "orchestrator/proxy/pages.h"
#include "orchestrator/proxy/route.h"

struct proxy {
    struct http_acceptor acceptor;
    struct proxy_options o;
    struct list forwards; /* requests under way */
    struct sandbox_watcher watcher;
};

/* A query parameter, empty when there is none. *bad is set when it cannot be read. */
static struct str parameter(struct http_request *r, const char *name, bool *bad)
{
    bool malformed;
    const char *text = http_query_get(r, name, &malformed);
    *bad = *bad || malformed;
    return text ? str_of(text) : STR("");
}

static struct sandbox *find_signer_on(struct list *sandboxes, const struct signature_search *s)
{
    list_for_each (node, sandboxes) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (sb->envd_token[0] && signature_search_matches(s, str_of(sb->envd_token)))
            return sb;
    }
    return NULL;
}

/*
 * On a plain address a signed file URL has no place for the sandbox's id. Its signature was made
 * with one sandbox's token, so it can be found by that.
 */
static struct sandbox *find_signer(struct proxy *p, struct http_stream *s,
                                   const struct http_head *head)
{
    struct http_request r = { .stream = s, .head = head };
    bool bad = false;
    r.query = str_from(head->target, (size_t)str_find(head->target, '?') + 1);
    struct str path = parameter(&r, "path", &bad), user = parameter(&r, "username", &bad);
    struct str expiration = parameter(&r, "signature_expiration", &bad);
    struct str signature = parameter(&r, "signature", &bad);
    struct str operation = str_eq(head->method, STR("POST")) ? STR("write") : STR("read");
    struct signature_search search;
    if (bad || !signature_search_init(&search, signature, path, operation, user, expiration,
                                      clock_wall_ns() / 1000000000))
        return NULL;
    struct sandbox *sb = find_signer_on(sandbox_host_list(p->o.sandboxes), &search);
    return sb ? sb : find_signer_on(sandbox_host_list_paused(p->o.sandboxes), &search);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct proxy *p = container_of(a, struct proxy, acceptor);
    struct proxy_route route;
    enum proxy_route_result result = proxy_route_parse(head, &route);
    /* HTTP/2 has it too. On the guest link it would open a tunnel to any port, and so go around the
     * traffic token of the ports. */
    if (str_eq(head->method, STR("CONNECT"))) {
        proxy_bad_request(s, "CONNECT is not served here");
        return;
    }
    if (result == PROXY_ROUTE_SIGNED_FILE) {
        const struct sandbox *sb = find_signer(p, s, head);
        if (!sb) {
            http_respond(s, 401, "application/json; charset=utf-8",
                         "{\"message\":\"invalid signature\",\"code\":401}", 42);
            return;
        }
        route.port = ACCESS_ENVD_PORT;
        memcpy(route.id, sb->id, sizeof(sb->id));
    } else if (result != PROXY_ROUTE_OK) {
        proxy_bad_request(s, proxy_route_message(result));
        return;
    } else if (route.port == ACCESS_ENVD_PORT && proxy_path_is_internal(head->target)) {
        const struct proxy_page_facts none = { .id = route.id };
        proxy_page_send(s, head, PAGE_INTERNAL_ROUTE, &none);
        return;
    }
    forward_start(&p->o, &p->forwards, &route, s, head);
}

static void on_leaving(struct sandbox_watcher *w, const struct sandbox *sb)
{
    forward_end_streams(&container_of(w, struct proxy, watcher)->forwards, sb->id);
}

struct proxy *proxy_new(const struct proxy_options *options)
{
    struct proxy *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->acceptor.on_request = on_request;
    p->o = *options;
    list_init(&p->forwards);
    p->watcher.on_leaving = on_leaving;
    sandbox_host_watch(p->o.sandboxes, &p->watcher);
    return p;
}

struct http_acceptor *proxy_acceptor(struct proxy *p)
{
    return &p->acceptor;
}

void proxy_free(struct proxy *p)
{
    list_remove(&p->watcher.node);
    free(p);
}
