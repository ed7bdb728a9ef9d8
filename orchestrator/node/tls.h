/* Mutual TLS for the node service. For this folder only. */
#ifndef ORCHESTRATOR_NODE_TLS_H
#define ORCHESTRATOR_NODE_TLS_H

#include "orchestrator/node/server.h"

#include <grpc/grpc_security.h>

/* Credentials that let in only clients with a certificate of the authority's. Release them. */
int node_tls_credentials(grpc_server_credentials **out, const struct node_tls *tls,
                         struct err *err);

#endif
