/* The control REST API: requests in, JSON out. Everything about a sandbox's life is in sandbox/. */
#ifndef ORCHESTRATOR_API_API_H
#define ORCHESTRATOR_API_API_H

#include "common/http/http.h"
#include "orchestrator/config.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/store/store.h"

struct api;

struct api_options { /* all borrowed for the api's life */
    const struct config *config;
    struct store *store;
    struct sandbox_host *host;
};

/* NULL when memory is out. */
struct api *api_new(const struct api_options *options);

/* Read what earlier daemons wrote. Blocking; before serving and before the store has jobs. */
int api_load(struct api *api, struct err *err);

/* For the listener. */
struct http_acceptor *api_acceptor(struct api *api);

/* Requests that have not ended yet, the ones whose client has left among them. */
size_t api_calls(const struct api *api);

/* Call when the listener has closed; it is freed when the last request that still waits for the
 * store or for a sandbox has ended, and freed(user) called then (from here when there is none). */
void api_free(struct api *api, void (*freed)(void *user), void *user);

#endif
