/* One request of the API, from its head to the end of its stream. For this folder only. */
#ifndef ORCHESTRATOR_API_CALL_H
#define ORCHESTRATOR_API_CALL_H

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/http/router.h"
#include "orchestrator/api/api.h"
#include "orchestrator/api/idempotency.h"

#include <jansson.h>

/* Of one request's body. */
#define API_BODY_MAX (16u << 20)

/* What a route needs before its handler is called; http_route.flags. */
enum {
    API_OPEN = 1,          /* no key */
    API_BODY = 2,          /* a JSON object */
    API_BODY_OPTIONAL = 4, /* a JSON object, or nothing, which is an empty one */
};

struct api {
    struct http_acceptor acceptor;
    struct api_options o;
    struct idempotency idempotency;
    size_t calls;
    void (*freed)(void *user); /* set: the api goes with its last call */
    void *freed_user;
};

struct api_call {
    uint32_t magic;
    unsigned refs; /* of the stream, and of each operation under way */
    struct api *api;
    /* Once the client is gone, r.stream is NULL and everything of the request is empty. */
    struct http_request r;
    const struct http_route *route;
    struct store_key key;          /* whose request it is; team_id is what handlers want */
    json_t *body;                  /* an object, for routes that have one; until they return */
    struct idempotent *idempotent; /* the key that it came with, while it is under way */

    /* Of call.c. */
    struct store_job lookup;
    char hash[KEY_HASH_SIZE];
    struct store_key found; /* the worker's until the lookup is done */
    int lookup_rc;
    struct err lookup_err;
    struct buf received;
    size_t unconsumed; /* bytes that arrived before the key was known to be good */
    bool admitted, ended, handled, responded;
    int64_t began_ns;
};

/* The call of a request that a handler was given. */
static inline struct api_call *api_call_of(struct http_request *r)
{
    return container_of(r, struct api_call, r);
}

/* Held by whatever answers later. A call without a stream takes answers and drops them. */
void api_call_ref(struct api_call *c);
void api_call_unref(struct api_call *c);

/* Whose request it is, for records: "key e2b_ab...12cd". Returns out. */
#define API_ACTOR_SIZE 40
const char *api_call_actor(const struct api_call *c, char out[static API_ACTOR_SIZE]);

/* Begin to serve a request on a stream; respond.c and routes.c do the rest. */
void api_call_start(struct api *api, struct http_stream *s, const struct http_head *head);

#endif
