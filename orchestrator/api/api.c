#include "orchestrator/api/api.h"

#include "common/base/cleanup.h"
#include "orchestrator/api/call.h"

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    api_call_start(container_of(a, struct api, acceptor), s, head);
}

struct api *api_new(const struct api_options *options)
{
    struct api *api = calloc(1, sizeof(*api));
    if (!api)
        return NULL;
    api->acceptor.on_request = on_request;
    api->o = *options;
    idempotency_init(&api->idempotency);
    return api;
}

int api_load(struct api *api, struct err *err)
{
    return idempotency_load(&api->idempotency, api->o.store, err);
}

struct http_acceptor *api_acceptor(struct api *api)
{
    return &api->acceptor;
}

size_t api_calls(const struct api *api)
{
    return api->calls;
}

void api_free(struct api *api, void (*freed)(void *user), void *user)
{
    if (api->calls) {
        api->freed = freed;
        api->freed_user = user;
        return;
    }
    idempotency_deinit(&api->idempotency);
    free(api);
    freed(user);
}
