#include "envd/server/server.h"

#include "common/base/cleanup.h"
#include "common/http/router.h"
#include "common/link/guest_protocol.h"
#include "envd/files/files.h"
#include "envd/guest/identity.h"
#include "envd/server/rest.h"

enum { OPEN_TO_ALL = 1 }; /* the route checks access by itself */

static const struct http_route routes[] = {
    { "GET", "/health", rest_health, OPEN_TO_ALL },
    { "GET", "/metrics", rest_metrics, 0 },
    { "GET", "/envs", rest_envs, 0 },
    { "POST", "/init", rest_init, OPEN_TO_ALL },
    { "GET", "/files", files_download, OPEN_TO_ALL },
    { "HEAD", "/files", files_download, OPEN_TO_ALL },
    { "POST", "/files", files_upload, OPEN_TO_ALL },
    { "POST", "/files/compose", files_compose, 0 },
    { NULL },
};

static const struct rpc_method *const tables[] = { process_methods, filesystem_methods,
                                                   guest_methods, NULL };

#define UNAUTHORIZED                                                                               \
    "unauthorized access, please provide a valid access token or method signing if supported"

/* Clients in a browser ask first; any origin may call, since the token decides. */
static void answer_preflight(struct http_stream *s, const struct http_head *head)
{
    struct str asked = http_field_get(head, "access-control-request-headers");
    struct http_field fields[] = {
        { STR("access-control-allow-origin"), STR("*") },
        { STR("access-control-allow-methods"), STR("HEAD, GET, POST, PUT, PATCH, DELETE") },
        { STR("access-control-max-age"), STR("7200") },
        { STR("access-control-allow-headers"), asked },
    };
    http_respond_fields(s, 204, NULL, fields, asked.p ? 4 : 3, NULL, 0);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct envd_server *server = container_of(a, struct envd_server, acceptor);
    struct envd *e = server->envd;
    struct str path = head->target;
    ptrdiff_t query = str_find(path, '?');
    if (query >= 0)
        path.n = (size_t)query;

    /* A request forwarded for a client is as untrusted as one over TCP. */
    bool is_public = http_field_get(head, GUEST_PUBLIC_FIELD).p != NULL;
    s->trusted = s->trusted && !is_public;
    if (!s->trusted || !str_starts(path, STR(GUEST_SERVICE)))
        identity_settle(e);

    if (str_eq(head->method, STR("OPTIONS")) &&
        http_field_get(head, "access-control-request-method").p) {
        answer_preflight(s, head);
        return;
    }

    bool is_rpc = rpc_server_has_service(&server->rpc, path);
    struct http_request r = { .stream = s, .head = head, .context = e };
    int status = 404;
    const char *allow = NULL;
    const struct http_route *route = is_rpc ? NULL : http_route_find(routes, &r, &status, &allow);
    if (is_public && route && route->handler == rest_init)
        route = NULL; /* the proxy does not let it pass either */
    bool is_open = route && (route->flags & OPEN_TO_ALL);
    if (!is_open && !s->trusted && !envd_token_ok(e, http_field_get(head, "x-access-token"))) {
        rest_error(s, 401, UNAUTHORIZED);
        return;
    }
    if (is_rpc) {
        rpc_server_accept(&server->rpc, s, head);
    } else if (route) {
        route->handler(&r);
    } else if (status == 405) {
        struct http_field field = { STR("allow"), str_of(allow) };
        http_respond_fields(s, 405, "text/plain; charset=utf-8", &field, 1, "method not allowed\n",
                            19);
    } else if (status == 400) {
        rest_error(s, 400, "malformed escape in the path");
    } else {
        http_respond(s, 404, "text/plain; charset=utf-8", "404 page not found\n", 19);
    }
}

void envd_server_init(struct envd_server *s, struct envd *e)
{
    *s = (struct envd_server){
        .acceptor = { .on_request = on_request },
        .envd = e,
        .rpc = { .loop = e->loop, .defer = &e->defer, .tables = tables, .context = e },
    };
}
