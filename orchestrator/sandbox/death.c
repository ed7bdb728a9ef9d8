/* Why a sandbox ended, from what was written down then. */
#include "orchestrator/sandbox/internal.h"

#include "common/base/log.h"

struct death_query {
    void (*done)(void *user, const struct store_death *death);
    void *user;
};

static void on_found(void *user, const struct store_death *death, const struct err *err)
{
    struct death_query *q = user;
    if (err && err->code != ERR_NOT_FOUND)
        log_error("a death record cannot be read", LOG_STR("reason", err->msg));
    q->done(q->user, death);
    free(q);
}

void sandbox_death(struct sandbox_host *h, const char *id, const char *team_id,
                   void (*done)(void *user, const struct store_death *death), void *user)
{
    struct death_query *q = malloc(sizeof(*q));
    if (!q)
        abort();
    *q = (struct death_query){ done, user };
    store_death_find(h->store, id, team_id, on_found, q);
}
