/* One request on its way to a sandbox's port. */
#ifndef ORCHESTRATOR_PROXY_FORWARD_H
#define ORCHESTRATOR_PROXY_FORWARD_H

#include "common/http/http.h"
#include "common/io/defer.h"
#include "orchestrator/sandbox/sandbox.h"

/* Where envd serves in a guest; every other port is the user's. */
#define FORWARD_ENVD_PORT 49983

/* A request waits this long for a guest link that is just being made anew. */
#define FORWARD_LINK_WAIT_MS 5000

/* Take the request over and answer it, with the guest's response or with one of the pages. */
void forward_start(uv_loop_t *loop, struct defer_queue *defer, struct sandbox_host *sandboxes,
                   struct sandbox *sb, uint16_t port, struct http_stream *s,
                   const struct http_head *head);

#endif
