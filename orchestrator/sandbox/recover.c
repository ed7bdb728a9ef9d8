/*
 * What an earlier daemon left. Each sandbox on record as running is adopted when its VM still runs
 * and answers; when the host was started anew meanwhile it is paused from now on, with its disk
 * alone; when its row still says what it was paused to, its resume did not end well, and it is
 * paused: as before while that snapshot is there, since its guest has not run, with its disk alone
 * otherwise. Any other one ended, with a record of why. Paused ones stay so. What no record names
 * is removed: VMMs, snapshots, layers.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/image/manifest.h"
#include "orchestrator/sandbox/pool.h"
#include "orchestrator/sandbox/strays.h"
#include "orchestrator/snapshot/durable.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

struct recover {
    struct sandbox_host *host;
    struct store_job job;
    struct store_sandbox *rows;
    struct image_of_row { /* under the disk of each */
        char build_id[ID_UUID_SIZE];
        char dir[PATH_MAX];
        char layers[STORE_LAYERS_MAX][ID_UUID_SIZE]; /* of the disk, the written one the last */
        size_t nlayers;
    } * images;
    size_t nrows, pending;
    bool host_restarted; /* since the rows were written */
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void keep_row(void *user, const struct store_sandbox *row)
{
    struct recover *r = user;
    struct store_sandbox *rows = realloc(r->rows, (r->nrows + 1) * sizeof(*rows));
    if (!rows) {
        err_fill(&r->err, ERR_INTERNAL, "out of memory reading the sandboxes");
        return;
    }
    r->rows = rows;
    r->rows[r->nrows] = *row;
    r->rows[r->nrows].metadata = strdup(row->metadata ? row->metadata : "{}");
    r->rows[r->nrows].config = strdup(row->config ? row->config : "{}");
    r->rows[r->nrows].envs = strdup(row->envs ? row->envs : "{}");
    r->nrows++;
}

/* A sandbox without its image cannot be resumed; its VM may run all the same. */
static void find_images(struct recover *r, struct db *db)
{
    struct err err;
    AUTO_FREE struct store_build *build = malloc(sizeof(*build));
    r->images = calloc(r->nrows ? r->nrows : 1, sizeof(*r->images));
    if (!build || !r->images) {
        err_fill(&r->err, ERR_EXHAUSTED, "out of memory reading the sandboxes");
        return;
    }
    for (size_t i = 0; i < r->nrows; i++) {
        struct image_of_row *image = &r->images[i];
        if (db_build_find(db, r->rows[i].build_id, build, &err) < 0)
            continue;
        memcpy(image->build_id, build->base_build_id, sizeof(image->build_id));
        memcpy(image->dir, build->base_dir, sizeof(image->dir));
        if (db_layer_chain(db, r->rows[i].layer_id, image->layers, &image->nlayers, &err) < 0)
            image->nlayers = 0;
    }
}

static int make_dir(struct recover *r, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", r->host->config->data_dir, name);
    return file_make_dirs(path, 0700, &r->err);
}

/* What is synced in them would go with their names. */
static int make_dirs_last(struct recover *r)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/layers", r->host->config->data_dir);
    int rc = durable_parent(path);
    return rc < 0 ? err_set(&r->err, ERR_INTERNAL, -rc, "cannot write the data directory: %s",
                            strerror(-rc))
                  : 0;
}

/* On the worker thread. */
static void load_rows(struct store_job *job, struct db *db)
{
    struct recover *r = container_of(job, struct recover, job);
    if (make_dir(r, "layers") < 0 || make_dir(r, "snapshots") < 0 || make_dir(r, "run") < 0 ||
        make_dirs_last(r) < 0)
        return;
    if (db_sandbox_load(db, keep_row, r, &r->err) == 0 &&
        host_boot_changed(db, &r->host_restarted, &r->err) == 0)
        strays_remove(r->host, db, r->rows, r->nrows);
    if (!r->err.code)
        find_images(r, db);
}

static void finish(struct recover *r)
{
    for (size_t i = 0; i < r->nrows; i++) {
        free((char *)(uintptr_t)r->rows[i].metadata);
        free((char *)(uintptr_t)r->rows[i].config);
        free((char *)(uintptr_t)r->rows[i].envs);
    }
    free(r->rows);
    free(r->images);
    strays_sweep(r->host);
    vmm_driver_tidy(r->host->driver);
    sandbox_collect(r->host); /* the last daemon may have had no time to */
    r->host->recovering = false;
    if (!r->err.code && !r->host->stopping)
        pool_begin(r->host);
    r->done(r->user, r->err.code ? &r->err : NULL);
    sandbox_host_check_stop(r->host); /* which waited for this */
    free(r);
}

/* On the store's worker. */
static void remember_boot(struct store_job *job, struct db *db)
{
    struct recover *r = container_of(job, struct recover, job);
    host_boot_remember(db, &r->err);
}

static void on_remembered(struct store_job *job)
{
    finish(container_of(job, struct recover, job));
}

/* That the host was started anew is forgotten only when every row has learnt of it. */
static void one_done(struct recover *r)
{
    if (--r->pending)
        return;
    if (r->err.code) {
        finish(r);
        return;
    }
    r->job = (struct store_job){ .work = remember_boot, .done = on_remembered };
    store_run(r->host->store, &r->job);
}

static void on_ended(void *user, const struct err *err)
{
    if (err)
        log_error("a lost sandbox is still on record", LOG_STR("reason", err->msg));
    one_done(user);
}

/* End the VMs of a sandbox that is not to have one: the recorded one, and one that was started
 * since, to resume it, which only its folder tells of. */
static void sweep(const struct store_sandbox *row)
{
    struct vmm_record vm = { .pid = row->vmm_pid, .start_ticks = row->vmm_start_ticks };
    vmm_sweep(row->run_dir, NULL);
    vmm_sweep(row->run_dir, &vm);
}

/* End a sandbox that cannot be had back. */
static void give_up(struct recover *r, const struct store_sandbox *row, const char *detail)
{
    struct store_death death = { .sandbox_id = row->id,
                                 .team_id = row->team_id,
                                 .when_ns = clock_wall_ns(),
                                 .reason = "lost",
                                 .detail = detail,
                                 .actor = "host" };
    log_warn("sandbox was lost while no daemon ran", LOG_STR("sandbox_id", row->id),
             LOG_STR("reason", detail));
    sweep(row);
    metrics_ended(&r->host->metrics, death.reason);
    store_sandbox_end(r->host->store, &death, on_ended, r);
}

static const struct store_sandbox *row_of(const struct recover *r, const char *id)
{
    for (size_t i = 0; i < r->nrows; i++)
        if (strcmp(r->rows[i].id, id) == 0)
            return &r->rows[i];
    return NULL;
}

/* The row says what it was paused to, so nobody saw the end of its resume. */
static bool was_resumed(const struct sandbox_own *own)
{
    return own->snapshot_id[0] || own->sb.filesystem_only;
}

static void on_resumed(void *user, const struct err *err)
{
    struct sandbox *sb = user;
    struct sandbox_own *own = own_of(sb);
    struct recover *r = TAKE(own->recover);
    guest_link_set_vm_running(sb->link, true);
    sm_move(&sb->sm, SANDBOX_RUNNING);
    sandbox_runs_on(sb);
    if (was_resumed(own))
        sandbox_resumed(own);
    if (err) {
        sandbox_end(sb, "lost", err->msg, "host", NULL, NULL);
    } else {
        sandbox_event(sb, SANDBOX_EVENT_RUNNING, "adopted", NULL);
        log_info("sandbox adopted", LOG_STR("sandbox_id", sb->id));
    }
    one_done(r);
}

/* The overlay that a snapshot names before there is any (checkpoint.c): the last daemon ended in
 * between when the VM has not opened it. */
static void settle_layer(struct sandbox_own *own)
{
    char path[PATH_MAX];
    layer_path(own->sb.host, own->layer_id, path);
    if (!own->parent_layer_id[0] || process_has_open(vmm_record(own->sb.vmm)->pid, path))
        return;
    log_warn("a snapshot under way was lost with the last daemon",
             LOG_STR("sandbox_id", own->sb.id));
    unlink(path);
    memcpy(own->layer_id, own->parent_layer_id, sizeof(own->layer_id));
    own->parent_layer_id[0] = '\0';
    sandbox_save(own, "running", NULL, NULL);
}

/* The last daemon may have ended while the VM was stopped. The link goes first, so that the guest
 * finds the marker as soon as it runs. */
static void run_on(struct sandbox *sb)
{
    struct sandbox_own *own = own_of(sb);
    static const char no_memory[] = "out of memory opening the guest link";
    sb->link = guest_link_new(sb->host->loop, sb->host->defer, vmm_link_address(sb->vmm),
                              own->link_secret, &sandbox_link_events, sb);
    if (!sb->link) {
        struct recover *r = TAKE(own->recover);
        sm_move(&sb->sm, SANDBOX_RUNNING);
        sandbox_end(sb, "lost", no_memory, "host", NULL, NULL);
        one_done(r);
        return;
    }
    guest_link_set_vm_running(sb->link, false);
    vmm_resume(sb->vmm, on_resumed, sb);
}

static void list_paused(struct sandbox *sb)
{
    sm_move(&sb->sm, SANDBOX_PAUSED);
    list_push_back(&sb->host->paused, &sb->node);
}

static void on_paused_saved(void *user, const struct err *err)
{
    struct recover *r = user;
    if (err)
        log_error("a sandbox is not written down as paused", LOG_STR("reason", err->msg));
    if (err && r->host_restarted)
        r->err = *err;
    one_done(r);
}

/* No VM is left of its resume. */
static void on_not_resumed(void *user)
{
    struct sandbox *sb = user;
    struct sandbox_own *own = own_of(sb);
    struct recover *r = TAKE(own->recover);
    char dir[PATH_MAX];
    sb->vmm = NULL;
    own->loaded = false;
    sweep(row_of(r, sb->id));
    slot_give(own);
    snapshot_folder(sb->host, own->snapshot_id, dir);
    if (!own->snapshot_id[0] || access(dir, F_OK) < 0) {
        own->snapshot_id[0] = '\0';
        sb->filesystem_only = true;
    }
    log_warn("a sandbox that was not resumed is paused again", LOG_STR("sandbox_id", sb->id),
             LOG_INT("memory", !sb->filesystem_only));
    sb->end_ns = clock_wall_ns();
    list_paused(sb);
    sandbox_save(own, "paused", on_paused_saved, r);
}

static void on_retired(void *user, const struct err *err)
{
    struct sandbox *sb = user;
    if (err)
        vmm_destroy(sb->vmm, on_not_resumed, sb); /* its guest has not run */
    else
        run_on(sb);
}

static void on_adopted(struct vmm *v, const struct err *err)
{
    struct sandbox *sb = vmm_user(v);
    struct sandbox_own *own = own_of(sb);
    struct recover *r = own->recover;
    if (err && was_resumed(own)) {
        on_not_resumed(sb);
        return;
    }
    if (err) {
        sb->vmm = NULL;
        own->recover = NULL;
        sm_move(&sb->sm, SANDBOX_ENDED);
        give_up(r, row_of(r, sb->id), err->msg);
        sandbox_unref(sb);
        return;
    }
    settle_layer(own);
    if (own->snapshot_id[0])
        sandbox_retire_snapshot(own, on_retired, sb);
    else
        run_on(sb);
}

static void fill(struct sandbox_own *own, const struct store_sandbox *row)
{
    struct sandbox *sb = &own->sb;
    snprintf(sb->team_id, sizeof(sb->team_id), "%s", row->team_id);
    snprintf(sb->template_id, sizeof(sb->template_id), "%s", row->template_id);
    snprintf(sb->alias, sizeof(sb->alias), "%s", row->alias);
    snprintf(sb->envd_version, sizeof(sb->envd_version), "%s", row->envd_version);
    snprintf(own->build_id, sizeof(own->build_id), "%s", row->build_id);
    snprintf(own->run_dir, sizeof(own->run_dir), "%s", row->run_dir);
    sb->started_ns = row->started_ns;
    sb->end_ns = row->end_ns;
    sb->vcpus = row->vcpus;
    sb->memory_mb = row->memory_mb;
    sb->disk_mb = row->disk_mb;
    sb->metadata = json_loads(row->metadata, 0, NULL);
    sb->config = json_loads(row->config, 0, NULL);
    if (!sb->metadata)
        sb->metadata = json_object();
    if (!sb->config)
        sb->config = json_object();
    json_decref(own->envs);
    own->envs = json_loads(row->envs, 0, NULL);
    if (!own->envs)
        own->envs = json_object();
    snprintf(own->base_build_id, sizeof(own->base_build_id), "%s", row->base_build_id);
    snprintf(own->snapshot_id, sizeof(own->snapshot_id), "%s", row->snapshot_id);
    sb->filesystem_only = row->filesystem_only;
    sb->unresponsive_at_pause = row->unresponsive;
    snprintf(own->layer_id, sizeof(own->layer_id), "%s", row->layer_id);
    snprintf(own->parent_layer_id, sizeof(own->parent_layer_id), "%s", row->layer_parent_id);
    sb->create_timeout_s = row->create_timeout_s;
    own->run_began_ns = row->run_began_ns;
    sandbox_read_lifecycle(sb);
    sb->secure = row->secure;
    sandbox_make_tokens(sb, !row->private_traffic);
    memcpy(own->link_secret, row->link_secret, sizeof(own->link_secret));
}

/* The slot that owns the VM's uid, or any when VMs share the daemon's. */
static int slot_of(struct sandbox_host *h, uid_t uid)
{
    if (uid == (uid_t)-1 || uid < h->config->uid_base || uid - h->config->uid_base >= SANDBOX_SLOTS)
        return slot_take(h, -1);
    return slot_take(h, (int)(uid - h->config->uid_base));
}

static void recover_paused(struct recover *r, struct sandbox_own *own,
                           const struct store_sandbox *row)
{
    struct sandbox *sb = &own->sb;
    sweep(row);
    list_paused(sb);
    one_done(r);
}

/* Its VM went with the host; its disk is as its guest last wrote it out. */
static void recover_from_disk(struct recover *r, struct sandbox_own *own,
                              const struct store_sandbox *row)
{
    struct sandbox *sb = &own->sb;
    log_warn("the host was started anew: the sandbox is paused, with its disk alone",
             LOG_STR("sandbox_id", sb->id));
    vmm_sweep(row->run_dir, NULL);
    own->snapshot_id[0] = '\0'; /* that it is there proves nothing: it may have come back */
    sb->filesystem_only = true;
    sb->end_ns = clock_wall_ns();
    list_paused(sb);
    sandbox_save(own, "paused", on_paused_saved, r);
    if (row->snapshot_id[0])
        sandbox_drop_snapshot(r->host, row->snapshot_id);
}

/* Paths of a disk. */
struct disk_texts {
    char rootfs[PATH_MAX], image_layer[PATH_MAX];
    char layers[STORE_LAYERS_MAX][PATH_MAX];
};

/* The disk that a VM was given, as far as it is on record: without it nothing can be put on it. */
static void fill_disk(const struct sandbox_host *h, const struct image_of_row *image,
                      struct disk_texts *t, struct vmm_disk *out)
{
    if (!image->nlayers)
        return;
    snprintf(t->rootfs, sizeof(t->rootfs), "%.*s/" IMAGE_FILE_ROOTFS, PATH_MAX - 32, image->dir);
    snprintf(t->image_layer, sizeof(t->image_layer), "%.*s/" IMAGE_FILE_LAYER, PATH_MAX - 32,
             image->dir);
    out->rootfs = t->rootfs;
    out->layers[out->nlayers++] = t->image_layer;
    for (size_t i = 0; i < image->nlayers; i++) {
        layer_path(h, image->layers[i], t->layers[i]);
        if (i + 1 < image->nlayers)
            out->layers[out->nlayers++] = t->layers[i];
        else
            out->top = t->layers[i];
    }
}

static void recover_running(struct recover *r, struct sandbox_own *own,
                            const struct store_sandbox *row)
{
    struct sandbox_host *h = r->host;
    struct vmm_config config;
    AUTO_FREE struct disk_texts *texts = malloc(sizeof(*texts));
    struct vmm_record vm = { .pid = row->vmm_pid, .start_ticks = row->vmm_start_ticks };
    own->slot = slot_of(h, row->uid);
    own->recover = r;
    own->loaded = true;
    config = (struct vmm_config){ .id = sandbox_vmm_name(own),
                                  .run_dir = own->run_dir,
                                  .vcpus = own->sb.vcpus,
                                  .memory_mb = own->sb.memory_mb,
                                  .disk_mb = own->sb.disk_mb,
                                  .uid = row->uid,
                                  .memory_fd = -1 };
    if (texts)
        fill_disk(h, &r->images[row - r->rows], texts, &config.disk);
    own->sb.vmm = vmm_adopt(h->driver, &config, &vm, &sandbox_vmm_events, &own->sb, on_adopted);
    if (!own->sb.vmm) {
        own->recover = NULL;
        sm_move(&own->sb.sm, SANDBOX_ENDED);
        sandbox_unref(&own->sb);
        give_up(r, row, "out of memory");
    }
}

static void recover_one(struct recover *r, const struct store_sandbox *row)
{
    bool paused = strcmp(row->state, "paused") == 0;
    if (!paused && strcmp(row->state, "running") != 0) {
        give_up(r, row, "the daemon ended while the sandbox was being made or ended");
        return;
    }
    struct sandbox_own *own = sandbox_alloc(r->host, row->id);
    if (!own) {
        give_up(r, row, "out of memory");
        return;
    }
    fill(own, row);
    memcpy(own->image_build_id, r->images[row - r->rows].build_id, sizeof(own->image_build_id));
    memcpy(own->image_dir, r->images[row - r->rows].dir, sizeof(own->image_dir));
    if (paused)
        recover_paused(r, own, row);
    else if (r->host_restarted)
        recover_from_disk(r, own, row);
    else
        recover_running(r, own, row);
}

static void on_rows(struct store_job *job)
{
    struct recover *r = container_of(job, struct recover, job);
    r->pending = 1;
    for (size_t i = 0; i < r->nrows && !r->err.code; i++) {
        r->pending++;
        recover_one(r, &r->rows[i]);
    }
    one_done(r);
}

void sandbox_host_recover(struct sandbox_host *h, void (*done)(void *user, const struct err *err),
                          void *user)
{
    struct recover *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    *r = (struct recover){ .host = h, .done = done, .user = user };
    h->recovering = true;
    r->job = (struct store_job){ .work = load_rows, .done = on_rows };
    store_run(h->store, &r->job);
}
