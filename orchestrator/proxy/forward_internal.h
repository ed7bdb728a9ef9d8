/* What forward.c and wake.c share. */
#ifndef ORCHESTRATOR_PROXY_FORWARD_INTERNAL_H
#define ORCHESTRATOR_PROXY_FORWARD_INTERNAL_H

#include "common/http/splice.h"
#include "orchestrator/proxy/forward.h"
#include "orchestrator/proxy/pages.h"
#include "orchestrator/proxy/rpc_end.h"

struct forward_wait;

struct forward {
    uint32_t magic;
    struct list node; /* of the proxy's requests */
    const struct proxy_options *o;
    struct http_splice *splice;
    const struct http_head *head;
    struct proxy_route route;
    struct rpc_end rpc;        /* how the response can be ended early */
    bool waited;               /* for the link, once */
    unsigned woken;            /* how often the sandbox was woken for this request */
    struct forward_wait *wait; /* for the sandbox, or for the record of its end */
    struct guest_call *call;   /* waiting for the link */
    struct tunnel *tunnel;     /* being opened */
    struct http1_client *http; /* inside the tunnel */
};

/* Look at the sandbox (again), and do what its state asks for. */
void forward_go(struct forward *f);

/* Answer with a page, unless the client has left. */
void forward_page(struct forward *f, enum proxy_page page, const char *text);

/* wake.c: the sandbox is paused, or on the way into that or out of it: wake it and go on, wait for
 * whoever wakes it, or answer why not. */
void forward_wake(struct forward *f, const struct sandbox *sb);

/* There is no such sandbox (any more): answer that, with the reason of its end. */
void forward_gone(struct forward *f);

/* The request has ended; what it waited for may still come. */
void forward_wait_abandon(struct forward *f);

#endif
