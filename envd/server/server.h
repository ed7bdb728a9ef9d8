/* envd's front door: CORS, the access token, and the way to RPC services and REST routes. */
#ifndef ENVD_SERVER_SERVER_H
#define ENVD_SERVER_SERVER_H

#include "envd/core/envd.h"

struct envd_server {
    struct http_acceptor acceptor;
    struct envd *envd;
    struct rpc_server rpc;
};

/* Requests that the orchestrator forwards for a client carry this field: they came over the link,
 * but may not reach the control service. */
#define ENVD_PUBLIC_FIELD "sandpit-public"

void envd_server_init(struct envd_server *s, struct envd *e);

#endif
