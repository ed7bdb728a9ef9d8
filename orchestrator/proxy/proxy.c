#include "orchestrator/proxy/proxy.h"

#include "common/auth/signature.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/http/router.h"
#include "orchestrator/proxy/forward.h"
#include "orchestrator/proxy/pages.h"
#include "orchestrator/proxy/route.h"

struct proxy {
    struct http_acceptor acceptor;
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct sandbox_host *sandboxes;
};

static struct str text_of(const char *text)
{
    return text ? str_of(text) : STR("");
}

/* Of what a signature is over, all parts: it is hashed once for each sandbox, for a client that has
 * shown nothing yet. */
#define SIGNED_MAX 8192

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
    struct str path = text_of(http_query_get(&r, "path", &bad));
    struct str user = text_of(http_query_get(&r, "username", &bad));
    struct str expiration = text_of(http_query_get(&r, "signature_expiration", &bad));
    struct str signature = text_of(http_query_get(&r, "signature", &bad));
    struct str operation = str_eq(head->method, STR("POST")) ? STR("write") : STR("read");
    if (bad || path.n + user.n + expiration.n > SIGNED_MAX)
        return NULL;
    list_for_each (node, sandbox_host_list(p->sandboxes)) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (sb->envd_token[0] &&
            signature_check(signature, path, operation, user, str_of(sb->envd_token), expiration,
                            clock_wall_ns() / 1000000000, NULL) == 0)
            return sb;
    }
    return NULL;
}

/* Whether the client may reach the user's ports; answers it when not. */
static bool traffic_allowed(struct http_stream *s, const struct http_head *head,
                            const struct sandbox *sb, uint16_t port)
{
    if (sb->traffic_token[0] == '\0' || port == FORWARD_ENVD_PORT)
        return true;
    struct str token = http_field_get(head, "e2b-traffic-access-token");
    if (token.p && str_eq_secret(token, str_of(sb->traffic_token)))
        return true;
    proxy_page_send(s, head, token.p ? PAGE_TOKEN_INVALID : PAGE_TOKEN_MISSING, sb->id, port);
    return false;
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct proxy *p = container_of(a, struct proxy, acceptor);
    struct proxy_route route;
    enum proxy_route_result result = proxy_route_parse(head, &route);
    struct sandbox *sb;
    /* HTTP/2 has it too. On the guest link it would open a tunnel to any port, and so go around the
     * traffic token of the ports. */
    if (str_eq(head->method, STR("CONNECT"))) {
        proxy_bad_request(s, "CONNECT is not served here");
        return;
    }
    if (result == PROXY_ROUTE_SIGNED_FILE) {
        sb = find_signer(p, s, head);
        if (!sb) {
            http_respond(s, 401, "application/json; charset=utf-8",
                         "{\"message\":\"invalid signature\",\"code\":401}", 42);
            return;
        }
        route.port = FORWARD_ENVD_PORT;
    } else if (result != PROXY_ROUTE_OK) {
        proxy_bad_request(s, proxy_route_message(result));
        return;
    } else {
        if (route.port == FORWARD_ENVD_PORT && proxy_path_is_internal(head->target)) {
            proxy_page_send(s, head, PAGE_INTERNAL_ROUTE, route.id, route.port);
            return;
        }
        sb = sandbox_find(p->sandboxes, route.id, NULL);
        if (!sb) {
            proxy_page_send(s, head, PAGE_NOT_FOUND, route.id, route.port);
            return;
        }
    }
    if (traffic_allowed(s, head, sb, route.port))
        forward_start(p->loop, p->defer, p->sandboxes, sb, route.port, s, head);
}

struct proxy *proxy_new(uv_loop_t *loop, struct defer_queue *defer, struct sandbox_host *sandboxes)
{
    struct proxy *p = calloc(1, sizeof(*p));
    if (p)
        *p = (struct proxy){ { on_request }, loop, defer, sandboxes };
    return p;
}

struct http_acceptor *proxy_acceptor(struct proxy *p)
{
    return &p->acceptor;
}

void proxy_free(struct proxy *p)
{
    free(p);
}
