/* A snapshot of a running sandbox that clients make sandboxes from. */
#include "orchestrator/sandbox/checkpoint.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/kept.h"
#include "orchestrator/snapshot/snapshot.h"

#include <errno.h>
#include <stdio.h>

struct snapshot {
    struct store_job job;
    struct deferred refused;
    struct kept_check kept;
    struct sandbox_host *host;
    struct sandbox *source;
    struct checkpoint *checkpoint;
    bool memory, require_healthy; /* as in the spec */
    struct store_build build;
    char team_id[TEAM_ID_SIZE];
    char name[TEMPLATE_REF_MAX + 1]; /* empty: none */
    struct store_snapshot published;
    struct list replaced; /* struct replaced: builds whose files are to go */
    int64_t began_ns;
    struct err err;
    sandbox_snapshotted_cb done;
    void *user;
};

/* Builds that a name stood for before: a sandbox may be on its way from one. */
#define REPLACED_KEPT_NS (INT64_C(600) * 1000000000)

struct replaced {
    struct list node;
    char dir[PATH_MAX];
};

/* The name alone goes before the record does: the files may take long. */
static bool retire_build(void *user, const char *dir)
{
    struct snapshot *s = user;
    struct err err;
    struct replaced *r = malloc(sizeof(*r));
    if (!r || snapshot_retire(dir, &err) < 0) {
        free(r);
        return false;
    }
    snprintf(r->dir, sizeof(r->dir), "%s", dir);
    list_push_back(&s->replaced, &r->node);
    return true;
}

/* On the store's worker. */
static void publish_row(struct store_job *job, struct db *db)
{
    struct snapshot *s = container_of(job, struct snapshot, job);
    struct err ignored;
    db_snapshot_publish(db, s->team_id, s->name[0] ? s->name : NULL, &s->build, &s->published,
                        &s->err);
    if (!s->err.code)
        db_template_prune(db, s->published.template_id, clock_wall_ns() - REPLACED_KEPT_NS,
                          retire_build, s, &ignored);
}

static void remove_replaced(struct store_job *job)
{
    struct snapshot *s = container_of(job, struct snapshot, job);
    while (!list_empty(&s->replaced)) {
        struct replaced *r = container_of(s->replaced.next, struct replaced, node);
        struct err err;
        list_remove(&r->node);
        if (snapshot_remove(r->dir, &err) < 0)
            log_warn("a snapshot that nothing needs is left", LOG_STR("reason", err.msg));
        free(r);
    }
}

static void on_published(struct store_job *job)
{
    struct snapshot *s = container_of(job, struct snapshot, job);
    checkpoint_published(s->checkpoint, s->err.code ? &s->err : NULL);
}

static void on_publish(void *user, struct checkpoint *c, const struct checkpoint_result *r)
{
    struct snapshot *s = user;
    const struct sandbox_own *own = r->own;
    struct store_build *b = &s->build;
    s->checkpoint = c;
    memcpy(b->id, r->id, sizeof(b->id));
    snprintf(b->kind, sizeof(b->kind), "snapshot");
    snapshot_folder(s->host, r->id, b->dir);
    b->vcpus = own->sb.vcpus;
    b->memory_mb = own->sb.memory_mb;
    b->disk_mb = own->sb.disk_mb;
    snprintf(b->envd_version, sizeof(b->envd_version), "%s", own->sb.envd_version);
    memcpy(b->base_build_id, own->image_build_id, sizeof(b->base_build_id));
    snprintf(b->memory_base, sizeof(b->memory_base), "%s",
             own->base_build_id[0] ? "build" : "zeros");
    memcpy(b->layer_id, r->layer_id, sizeof(b->layer_id));
    snprintf(b->source_sandbox_id, sizeof(b->source_sandbox_id), "%s", own->sb.id);
    b->filesystem_only = r->manifest == NULL;
    b->created_ns = b->finished_ns = clock_wall_ns();
    s->job =
        (struct store_job){ .work = publish_row, .clean = remove_replaced, .done = on_published };
    store_run(s->host->store, &s->job);
}

static void on_done(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct snapshot *s = user;
    const struct store_snapshot *p = &s->published;
    if (s->began_ns)
        metrics_operation(&s->host->metrics, OPERATION_SNAPSHOT, t, s->began_ns, err);
    s->done(s->user, err ? NULL : p->id, err || !p->name[0] ? NULL : p->name, t, err);
    if (s->source)
        sandbox_unref(s->source);
    free(s);
}

static void on_refused(struct deferred *d)
{
    struct snapshot *s = container_of(d, struct snapshot, refused);
    on_done(s, &(struct sandbox_timings){ 0 }, &s->err);
}

static void begin(struct snapshot *s)
{
    s->began_ns = clock_mono_ns();
    checkpoint_start(s->source, s->memory, s->require_healthy, on_publish, on_done, s);
}

static void on_admitted(struct kept_check *k, const struct err *err)
{
    struct snapshot *s = container_of(k, struct snapshot, kept);
    if (err)
        s->err = *err;
    if (err || checkpoint_refused(s->host, s->source, s->source->id, &s->err))
        on_refused(&s->refused);
    else
        begin(s);
}

void sandbox_snapshot(struct sandbox_host *h, const char *id, const char *team_id,
                      const struct sandbox_snapshot_spec *spec, sandbox_snapshotted_cb done,
                      void *user)
{
    struct sandbox *sb = sandbox_lookup(h, id, team_id);
    struct snapshot *s = calloc(1, sizeof(*s));
    if (!s)
        abort(); /* nobody could be told */
    s->host = h;
    list_init(&s->replaced);
    s->done = done;
    s->user = user;
    if (checkpoint_refused(h, sb, id, &s->err)) {
        defer(h->defer, &s->refused, on_refused);
        return;
    }
    sandbox_ref(sb);
    s->source = sb;
    s->memory = spec->memory;
    s->require_healthy = spec->require_healthy;
    memcpy(s->team_id, sb->team_id, sizeof(s->team_id));
    snprintf(s->name, sizeof(s->name), "%s", spec->name ? spec->name : "");
    if (kept_check(h, sb->team_id, &s->kept, on_admitted))
        begin(s);
}
