/*
 * Fork: the running sandbox is saved once, and every child is a create from that. The snapshot's
 * folder goes when the last child has read it; what stays is the frozen layer they stand on.
 */
#include "orchestrator/sandbox/checkpoint.h"

#include "common/base/clock.h"
#include "orchestrator/sandbox/kept.h"

#include <errno.h>
#include <stdio.h>

struct fork_child {
    struct fork *fork;
    struct sandbox_fork_result result;
};

struct fork {
    struct store_job job;
    struct deferred refused;
    struct kept_check kept;
    struct sandbox_host *host;
    struct sandbox *parent;
    struct checkpoint *checkpoint;
    struct source *source;
    struct sandbox_timings timings;
    int64_t began_ns;
    char snapshot_id[ID_UUID_SIZE], layer_id[ID_UUID_SIZE];
    unsigned timeout_s, count, left;
    struct fork_child *children;
    struct err err;
    sandbox_forked_cb done;
    void *user;
};

static void finish(struct fork *f)
{
    struct sandbox_fork_result *results = calloc(f->count, sizeof(*results));
    if (!results)
        abort(); /* nobody could be told */
    for (unsigned i = 0; i < f->count; i++)
        results[i] = f->children[i].result;
    metrics_operation(&f->host->metrics, OPERATION_FORK, &f->timings, f->began_ns, &f->err);
    f->done(f->user, results, f->err.code ? 0 : f->count, &f->timings,
            f->err.code ? &f->err : NULL);
    for (unsigned i = 0; i < f->count; i++)
        if (results[i].sb)
            sandbox_unref(results[i].sb);
    free(results);
    if (f->snapshot_id[0])
        sandbox_drop_snapshot(f->host, f->snapshot_id);
    source_unref(f->source);
    struct sandbox_host *h = f->host;
    h->forks--;
    sandbox_collect(h);
    sandbox_unref(f->parent);
    free(f->children);
    free(f);
    h->busy--;
    sandbox_host_check_stop(h);
}

static void on_child(void *user, struct sandbox *sb, const struct sandbox_timings *t,
                     const struct err *err)
{
    struct fork_child *child = user;
    struct fork *f = child->fork;
    (void)t;
    child->result.sb = sb;
    if (sb)
        sandbox_ref(sb);
    else
        child->result.err = *err;
    if (--f->left == 0)
        finish(f);
}

static void on_source(void *user, struct source *source, const struct err *err)
{
    struct fork *f = user;
    f->source = source;
    if (err) {
        f->err = *err;
        finish(f);
        return;
    }
    f->left = f->count;
    for (unsigned i = 0; i < f->count; i++)
        create_from_source(f->host, own_of(f->parent), source, f->timeout_s, on_child,
                           &f->children[i]);
}

/* The layer's children are not written down yet: the parent's own overlay keeps it. */
static void on_publish(void *user, struct checkpoint *c, const struct checkpoint_result *r)
{
    struct fork *f = user;
    memcpy(f->snapshot_id, r->id, sizeof(f->snapshot_id));
    memcpy(f->layer_id, r->layer_id, sizeof(f->layer_id));
    checkpoint_published(c, NULL);
}

static void on_saved(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct fork *f = user;
    const struct sandbox_own *own = own_of(f->parent);
    f->timings = *t;
    if (err) {
        f->snapshot_id[0] = '\0';
        f->err = *err;
        finish(f);
        return;
    }
    source_open_frozen(f->host, own, f->layer_id, f->snapshot_id, on_source, f);
}

static void on_refused(struct deferred *d)
{
    struct fork *f = container_of(d, struct fork, refused);
    f->done(f->user, NULL, 0, &f->timings, &f->err);
    free(f->children);
    free(f);
}

static void begin(struct fork *f)
{
    f->host->busy++;
    f->host->forks++;
    checkpoint_start(f->parent, true, false, on_publish, on_saved, f);
}

static void on_admitted(struct kept_check *k, const struct err *err)
{
    struct fork *f = container_of(k, struct fork, kept);
    struct sandbox *sb = f->parent;
    if (err)
        f->err = *err;
    if (!err && !checkpoint_refused(f->host, sb, sb->id, &f->err)) {
        begin(f);
        return;
    }
    on_refused(&f->refused);
    sandbox_unref(sb);
}

void sandbox_fork(struct sandbox_host *h, const char *id, const char *team_id, unsigned timeout_s,
                  unsigned count, const char *actor, sandbox_forked_cb done, void *user)
{
    struct sandbox *sb = sandbox_lookup(h, id, team_id);
    struct fork *f = calloc(1, sizeof(*f));
    struct fork_child *children = calloc(count ? count : 1, sizeof(*children));
    (void)actor;
    if (!f || !children)
        abort(); /* nobody could be told */
    *f = (struct fork){ .host = h,
                        .parent = sb,
                        .began_ns = clock_mono_ns(),
                        .timeout_s = timeout_s,
                        .count = count,
                        .children = children,
                        .done = done,
                        .user = user };
    for (unsigned i = 0; i < count; i++)
        children[i].fork = f;
    if (checkpoint_refused(h, sb, id, &f->err) ||
        (count < 1 || count > SANDBOX_FORK_MAX
             ? err_set(&f->err, ERR_INVALID, EINVAL, "count must be 1 to %d", SANDBOX_FORK_MAX)
             : 0)) {
        defer(h->defer, &f->refused, on_refused);
        return;
    }
    sandbox_ref(sb);
    if (kept_check(h, sb->team_id, &f->kept, on_admitted))
        begin(f);
}
