/* Sandbox traffic: each request goes to the sandbox and port that its host or fields name. */
#ifndef ORCHESTRATOR_PROXY_PROXY_H
#define ORCHESTRATOR_PROXY_PROXY_H

#include "common/http/http.h"
#include "common/io/defer.h"
#include "orchestrator/config.h"
#include "orchestrator/sandbox/sandbox.h"

struct proxy;

struct proxy_options { /* all borrowed for the proxy's life */
    uv_loop_t *loop;
    struct defer_queue *defer;
    const struct config *config;
    struct sandbox_host *sandboxes;
};

/* NULL when memory is out. */
struct proxy *proxy_new(const struct proxy_options *options);
struct http_acceptor *proxy_acceptor(struct proxy *p);

/* After the last stream was closed. */
void proxy_free(struct proxy *p);

#endif
