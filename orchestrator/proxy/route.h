/* Which sandbox and port a request to the proxy is for. */
#ifndef ORCHESTRATOR_PROXY_ROUTE_H
#define ORCHESTRATOR_PROXY_ROUTE_H

#include "common/http/http.h"

#define PROXY_ID_MAX 63

enum proxy_route_result {
    PROXY_ROUTE_OK,
    PROXY_ROUTE_MISSING_HEADER, /* only one of E2b-Sandbox-Id and E2b-Sandbox-Port */
    PROXY_ROUTE_BAD_PORT,
    PROXY_ROUTE_BAD_HOST,
    PROXY_ROUTE_BAD_ID,
    PROXY_ROUTE_SIGNED_FILE, /* no sandbox is named, but a signed file URL names itself */
};

struct proxy_route {
    char id[PROXY_ID_MAX + 1];
    uint16_t port;
};

/*
 * By the contract, section 5.1: E2b-Sandbox-Id and E2b-Sandbox-Port on localhost, an IP address or
 * a host "sandbox.*"; otherwise "<port>-<id>[-...].<domain>".
 */
enum proxy_route_result proxy_route_parse(const struct http_head *head, struct proxy_route *out);

/* The sentence for a result that is not OK, and NULL for one that is. */
const char *proxy_route_message(enum proxy_route_result result);

/* Whether a client may not reach this path of envd: the contract's internal routes and the control
 * service. The path is decoded and cleaned ("//", "/./", "/../") first. */
bool proxy_path_is_internal(struct str target);

#endif
