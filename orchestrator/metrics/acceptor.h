/* GET /metrics, for a listener of its own. */
#ifndef ORCHESTRATOR_METRICS_ACCEPTOR_H
#define ORCHESTRATOR_METRICS_ACCEPTOR_H

#include "common/base/buf.h"
#include "common/http/http.h"

struct metrics_acceptor {
    struct http_acceptor acceptor;              /* for the listener */
    void (*write)(void *user, struct buf *out); /* all families, at each request */
    void *user;
};

void metrics_acceptor_init(struct metrics_acceptor *a, void (*write)(void *user, struct buf *out),
                           void *user);

#endif
