/* A template goes, and what it kept on the disk. */
#include "orchestrator/sandbox/internal.h"

#include "common/base/fileio.h"
#include "common/base/log.h"

struct removal {
    struct sandbox_host *host;
    void (*done)(void *user, const struct err *err);
    void *user;
};

/* On a thread of the pool. What cannot be removed is only in the way: nothing knows of it any more.
 */
static void on_removed(void *user, const char *build_id, const char *dir)
{
    struct err err;
    (void)user;
    if (file_remove_tree(dir, &err) < 0)
        log_warn("the files of a deleted template are still there", LOG_STR("build_id", build_id),
                 LOG_STR("reason", err.msg));
}

static void on_deleted(void *user, const struct err *err)
{
    struct removal *r = user;
    if (!err)
        sandbox_collect(r->host);
    r->done(r->user, err);
    free(r);
}

void sandbox_template_delete(struct sandbox_host *h, const char *team_id, const char *ref,
                             void (*done)(void *user, const struct err *err), void *user)
{
    struct removal *r = malloc(sizeof(*r));
    if (!r)
        abort();
    *r = (struct removal){ h, done, user };
    store_template_delete(h->store, team_id, ref, on_removed, on_deleted, r);
}
