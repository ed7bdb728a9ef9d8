/*
 * The node service (proto/orchestrator.proto): what operators and other nodes ask of this node. It
 * works on the same sandbox layer as the REST API.
 */
#ifndef ORCHESTRATOR_NODE_NODE_H
#define ORCHESTRATOR_NODE_NODE_H

#include "common/io/loop_turn.h"
#include "orchestrator/config.h"
#include "orchestrator/node/socket_name.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/store/store.h"

struct vmm_host;
struct node;

struct node_options { /* all borrowed for the node's life */
    struct loop_turn *turn;
    struct defer_queue *defer;
    const struct config *config;
    struct store *store;
    struct sandbox_host *host;
    const struct vmm_host *vmm;
};

/* Listen on the data directory's socket and, where the configuration says so, with TLS. When it
 * fails *out is NULL, or it must be stopped and freed all the same. */
int node_new(struct node **out, const struct node_options *options, struct err *err);

/* Of the TLS listener; 0 when there is none. */
uint16_t node_port(const struct node *n);

/* As node_server_stop() and node_server_free(). */
void node_stop(struct node *n, unsigned grace_ms, void (*stopped)(void *user), void *user);
void node_free(struct node *n, void (*freed)(void *user), void *user);

#endif
