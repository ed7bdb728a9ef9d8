/* envd's front door: CORS, the access token, and the way to RPC services and REST routes. */
#ifndef ENVD_SERVER_SERVER_H
#define ENVD_SERVER_SERVER_H

#include "envd/core/envd.h"

struct envd_server {
    struct http_acceptor acceptor;
    struct envd *envd;
    struct rpc_server rpc;
};

void envd_server_init(struct envd_server *s, struct envd *e);

#endif
