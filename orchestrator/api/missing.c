#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"

/* What a route is about, by a part of its pattern; the first that fits. */
static const struct {
    const char *part;
    const char *name;
} names[] = {
    { "/admin/", "administration over the API" },
    { "/network", "updating the network" },
    { "/metrics", "reading metrics" },
    { "/builds/", "building templates" },
    { "/logs", "reading logs" },
    { "/tags", "tagging templates" },
    { "/templates", "building or changing templates" },
    { "/teams", "listing teams" },
    { "/volumes", "volume" },
    { "/secrets", "secret" },
    { "/api-keys", "managing API keys over the API" },
    { "/access-tokens", "access token" },
    { "/nodes", "listing nodes" },
};

void api_missing(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    const char *name = "this";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strstr(c->route->pattern, names[i].part)) {
            name = names[i].name;
            break;
        }
    }
    api_fail(c, 501, "%s is not supported by this version of sandpit", name);
}
