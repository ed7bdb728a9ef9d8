/* What is written down about a sandbox. */
#include "orchestrator/sandbox/internal.h"

#include "common/base/log.h"
#include "orchestrator/snapshot/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct save {
    struct store_job job;
    struct store_sandbox row;
    char *metadata, *config, *envs;
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

/* On the store's worker. */
static void write_row(struct store_job *job, struct db *db)
{
    struct save *s = container_of(job, struct save, job);
    db_sandbox_put(db, &s->row, &s->err);
}

static void on_written(struct store_job *job)
{
    struct save *s = container_of(job, struct save, job);
    void (*done)(void *, const struct err *) = s->done;
    void *user = s->user;
    struct err err = s->err;
    if (err.code && !done)
        log_error("a sandbox was not written down", LOG_STR("sandbox_id", s->row.id),
                  LOG_STR("reason", err.msg));
    free(s->metadata);
    free(s->config);
    free(s->envs);
    free(s);
    if (done)
        done(user, err.code ? &err : NULL);
}

void sandbox_save(struct sandbox_own *own, const char *state,
                  void (*done)(void *user, const struct err *err), void *user)
{
    const struct sandbox *sb = &own->sb;
    struct save *s = calloc(1, sizeof(*s));
    if (!s)
        abort(); /* a sandbox that nobody wrote down would be lost */
    struct store_sandbox *row = &s->row;
    s->done = done;
    s->user = user;
    s->metadata = json_dumps(sb->metadata, JSON_COMPACT);
    s->config = json_dumps(sb->config, JSON_COMPACT);
    s->envs = json_dumps(own->envs, JSON_COMPACT);
    row->metadata = s->metadata;
    row->config = s->config;
    row->envs = s->envs;
    row->started_ns = sb->started_ns;
    row->end_ns = sb->end_ns;
    row->vcpus = sb->vcpus;
    row->memory_mb = sb->memory_mb;
    row->disk_mb = sb->disk_mb;
    row->secure = sb->secure;
    row->private_traffic = sb->traffic_token[0] != '\0';
    row->uid = own->slot >= 0 ? slot_uid(sb->host, own->slot) : (uid_t)-1;
    row->filesystem_only = sb->filesystem_only;
    row->unresponsive = sb->unresponsive_at_pause;
    row->create_timeout_s = sb->create_timeout_s;
    row->run_began_ns = own->run_began_ns;
    row->paused_ns = strcmp(state, "paused") == 0 ? sb->end_ns : 0;
    snprintf(row->id, sizeof(row->id), "%s", sb->id);
    snprintf(row->team_id, sizeof(row->team_id), "%s", sb->team_id);
    snprintf(row->template_id, sizeof(row->template_id), "%s", sb->template_id);
    snprintf(row->alias, sizeof(row->alias), "%s", sb->alias);
    snprintf(row->envd_version, sizeof(row->envd_version), "%s", sb->envd_version);
    snprintf(row->build_id, sizeof(row->build_id), "%s", own->build_id);
    snprintf(row->base_build_id, sizeof(row->base_build_id), "%s", own->base_build_id);
    snprintf(row->layer_id, sizeof(row->layer_id), "%s", own->layer_id);
    snprintf(row->snapshot_id, sizeof(row->snapshot_id), "%s", own->snapshot_id);
    snprintf(row->state, sizeof(row->state), "%s", state);
    snprintf(row->run_dir, sizeof(row->run_dir), "%s", own->run_dir);
    snprintf(row->layer_parent_id, sizeof(row->layer_parent_id), "%s", own->parent_layer_id);
    row->create_key = own->create_key;
    memcpy(row->link_secret, own->link_secret, sizeof(row->link_secret));
    if (sb->vmm) {
        row->vmm_pid = vmm_record(sb->vmm)->pid;
        row->vmm_start_ticks = vmm_record(sb->vmm)->start_ticks;
    }
    s->job = (struct store_job){ .work = write_row, .done = on_written };
    store_run(sb->host->store, &s->job);
}

struct collect {
    struct store_job job;
    struct sandbox_host *host;
};

static bool remove_layer(void *user, const char *layer_id)
{
    char path[PATH_MAX];
    layer_path(user, layer_id, path);
    return unlink(path) == 0 || errno == ENOENT;
}

/* On the store's worker. */
static void collect(struct store_job *job, struct db *db)
{
    struct collect *c = container_of(job, struct collect, job);
    struct err err;
    if (db_layer_collect(db, remove_layer, c->host, &err) < 0)
        log_warn("layers that nothing needs are left", LOG_STR("reason", err.msg));
}

static void on_collected(struct store_job *job)
{
    struct collect *c = container_of(job, struct collect, job);
    struct sandbox_host *h = c->host;
    free(c);
    h->busy--;
    sandbox_host_check_stop(h);
}

/* Not while a sandbox is being made: what it will stand on is not written down yet. */
void sandbox_collect(struct sandbox_host *h)
{
    h->collect_wanted = true;
    if (!list_empty(&h->creating) || h->forks)
        return;
    struct collect *c = calloc(1, sizeof(*c));
    if (!c)
        return; /* the next end does it */
    h->collect_wanted = false;
    h->busy++;
    c->host = h;
    c->job = (struct store_job){ .work = collect, .done = on_collected };
    store_run(h->store, &c->job);
}

struct retirement {
    struct store_job job;
    char dir[PATH_MAX];
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

/* On the store's worker, after what was written down before. */
static void retire(struct store_job *job, struct db *db)
{
    struct retirement *r = container_of(job, struct retirement, job);
    (void)db;
    snapshot_retire(r->dir, &r->err);
}

static void on_retired(struct store_job *job)
{
    struct retirement *r = container_of(job, struct retirement, job);
    r->done(r->user, r->err.code ? &r->err : NULL);
    free(r);
}

void sandbox_retire_snapshot(struct sandbox_own *own,
                             void (*done)(void *user, const struct err *err), void *user)
{
    struct retirement *r = calloc(1, sizeof(*r));
    if (!r)
        abort(); /* nobody could be told */
    snapshot_folder(own->sb.host, own->snapshot_id, r->dir);
    r->done = done;
    r->user = user;
    r->job = (struct store_job){ .work = retire, .done = on_retired };
    store_run(own->sb.host->store, &r->job);
}

struct forgetting {
    struct sandbox_own *own;
    char was[ID_UUID_SIZE];
    bool filesystem_only;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void on_forgotten(void *user, const struct err *err)
{
    struct forgetting *f = user;
    struct sandbox_own *own = f->own;
    if (err) {
        memcpy(own->snapshot_id, f->was, sizeof(own->snapshot_id));
        own->sb.filesystem_only = f->filesystem_only;
    } else if (f->was[0]) {
        sandbox_drop_snapshot(own->sb.host, f->was);
    }
    f->done(f->user, err);
    free(f);
}

void sandbox_forget_memory(struct sandbox_own *own, void (*done)(void *user, const struct err *err),
                           void *user)
{
    struct forgetting *f = calloc(1, sizeof(*f));
    if (!f)
        abort(); /* nobody could be told */
    f->own = own;
    memcpy(f->was, own->snapshot_id, sizeof(f->was));
    f->filesystem_only = own->sb.filesystem_only;
    f->done = done;
    f->user = user;
    own->snapshot_id[0] = '\0';
    own->sb.filesystem_only = true;
    sandbox_save(own, "paused", on_forgotten, f);
}

void sandbox_resumed(struct sandbox_own *own)
{
    char was[ID_UUID_SIZE];
    memcpy(was, own->snapshot_id, sizeof(was));
    own->snapshot_id[0] = '\0';
    own->sb.filesystem_only = own->sb.unresponsive_at_pause = false;
    sandbox_save(own, "running", NULL, NULL);
    if (was[0])
        sandbox_drop_snapshot(own->sb.host, was);
}

struct removal {
    struct store_job job;
    char dir[PATH_MAX];
};

/* After what was written down before. Who meets the new name removes it, a later daemon too. */
static void retire_snapshot(struct store_job *job, struct db *db)
{
    struct removal *r = container_of(job, struct removal, job);
    struct err err;
    (void)db;
    if (snapshot_retire(r->dir, &err) < 0)
        log_warn("a snapshot that nothing needs cannot be renamed", LOG_STR("reason", err.msg));
}

static void remove_snapshot(struct store_job *job)
{
    struct removal *r = container_of(job, struct removal, job);
    struct err err;
    if (snapshot_remove(r->dir, &err) < 0)
        log_warn("a snapshot that nothing needs is left", LOG_STR("reason", err.msg));
}

static void on_removed(struct store_job *job)
{
    free(container_of(job, struct removal, job));
}

void sandbox_drop_snapshot(struct sandbox_host *h, const char *snapshot_id)
{
    struct removal *r = calloc(1, sizeof(*r));
    if (!r)
        return; /* the next daemon removes it */
    snapshot_folder(h, snapshot_id, r->dir);
    r->job =
        (struct store_job){ .work = retire_snapshot, .clean = remove_snapshot, .done = on_removed };
    store_run(h->store, &r->job);
}
