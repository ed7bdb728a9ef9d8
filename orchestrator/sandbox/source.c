#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "orchestrator/image/image.h"
#include "orchestrator/sandbox/pool.h"
#include "orchestrator/snapshot/host_check.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/*
 * Opening:  [ROW] -> FILES -> BASE -> done, or KNOWN -> done
 *
 * ROW    (a paused sandbox only) image and layers from the database
 * FILES  a worker reads the manifests
 * BASE   the image's memory: had already, being loaded by another opening, or loaded by a worker
 * KNOWN  an image's files do not change, and the pool has read them
 */
struct opening {
    struct source *source;
    struct deferred known;
    struct store_job job;
    uv_work_t work;
    struct list node; /* of base_load.waiting */
    char layer_id[ID_UUID_SIZE];
    bool frozen;                       /* that layer too */
    char kernel[SNAPSHOT_DIGEST_SIZE]; /* of the image */
    struct err err;
    source_cb done;
    void *user;
};

/* An image's memory on its way from its file. */
struct base_load {
    struct list node; /* of all loads; a host has few */
    struct sandbox_host *host;
    char build_id[ID_UUID_SIZE];
    char dir[PATH_MAX];
    int fd;
    uv_work_t work;
    struct err err;
    struct list waiting; /* openings */
};

void layer_path(const struct sandbox_host *h, const char *layer_id, char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/layers/%s.qcow2", h->config->data_dir, layer_id);
}

void snapshot_folder(const struct sandbox_host *h, const char *id, char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/snapshots/%s", h->config->data_dir, id);
}

static int join(char out[static PATH_MAX], const char *dir, const char *name, struct err *err)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return 0;
    return err_set(err, ERR_INTERNAL, ENAMETOOLONG, "path is too long: %s", dir);
}

static void opened(struct opening *o)
{
    struct source *s = o->source;
    source_cb done = o->done;
    void *user = o->user;
    struct err err = o->err;
    free(o);
    if (err.code) {
        source_unref(s);
        s = NULL;
    }
    done(user, s, s ? NULL : &err);
}

/* Memory of images. */

static struct base_memory *base_find(struct sandbox_host *h, const char *build_id)
{
    list_for_each (node, &h->bases) {
        struct base_memory *b = container_of(node, struct base_memory, node);
        if (strcmp(b->build_id, build_id) == 0)
            return b;
    }
    return NULL;
}

static void base_free(struct base_memory *b)
{
    list_remove(&b->node);
    close(b->fd);
    free(b);
}

/* Keep the idle ones that were used last. */
static void bases_trim(struct sandbox_host *h)
{
    size_t idle = 0;
    list_for_each_safe (node, &h->bases) {
        struct base_memory *b = container_of(node, struct base_memory, node);
        if (b->refs == 0 && ++idle > BASES_KEPT)
            base_free(b);
    }
}

static void base_take(struct source *s, struct base_memory *b)
{
    b->refs++;
    s->base = b;
    list_remove(&b->node);
    list_push_front(&s->host->bases, &b->node);
}

void source_bases_free(struct sandbox_host *h)
{
    list_for_each_safe (node, &h->bases)
        base_free(container_of(node, struct base_memory, node));
}

/* On a worker. */
static void load_base(uv_work_t *work)
{
    struct base_load *l = container_of(work, struct base_load, work);
    struct snapshot_manifest *m = malloc(sizeof(*m));
    int dirfd = -1;
    if (!m) {
        err_fill(&l->err, ERR_EXHAUSTED, "out of memory reading the template's snapshot");
        return;
    }
    if (snapshot_open(l->dir, m, &dirfd, NULL, &l->err) == 0)
        memory_load(dirfd, SNAPSHOT_FILE_MEMORY, &m->memory, (uint64_t)m->memory_mb << 20, &l->fd,
                    &l->err);
    if (dirfd >= 0)
        close(dirfd);
    free(m);
}

static void on_base_loaded(uv_work_t *work, int status)
{
    (void)status;
    struct base_load *l = container_of(work, struct base_load, work);
    struct sandbox_host *h = l->host;
    struct base_memory *b = l->err.code ? NULL : calloc(1, sizeof(*b));
    if (b) {
        snprintf(b->build_id, sizeof(b->build_id), "%s", l->build_id);
        b->fd = l->fd;
        list_push_front(&h->bases, &b->node);
        log_info("template memory loaded", LOG_STR("build_id", b->build_id));
    } else if (!l->err.code) {
        close(l->fd);
        err_fill(&l->err, ERR_EXHAUSTED, "out of memory");
    }
    list_remove(&l->node);
    list_for_each_safe (node, &l->waiting) {
        struct opening *o = container_of(node, struct opening, node);
        list_remove(&o->node);
        if (b)
            base_take(o->source, b);
        else
            o->err = l->err;
        opened(o);
    }
    free(l);
    bases_trim(h);
}

static struct base_load *load_find(struct sandbox_host *h, const char *build_id)
{
    list_for_each (node, &h->base_loads) {
        struct base_load *l = container_of(node, struct base_load, node);
        if (strcmp(l->build_id, build_id) == 0)
            return l;
    }
    return NULL;
}

static void want_base(struct opening *o)
{
    struct source *s = o->source;
    struct sandbox_host *h = s->host;
    struct base_memory *have = base_find(h, s->base_build_id);
    if (have) {
        base_take(s, have);
        opened(o);
        return;
    }
    struct base_load *l = load_find(h, s->base_build_id);
    if (!l) {
        l = calloc(1, sizeof(*l));
        if (!l) {
            err_fill(&o->err, ERR_EXHAUSTED, "out of memory");
            opened(o);
            return;
        }
        l->host = h;
        l->fd = -1;
        list_init(&l->waiting);
        snprintf(l->build_id, sizeof(l->build_id), "%s", s->base_build_id);
        snprintf(l->dir, sizeof(l->dir), "%.*s/snapshot", PATH_MAX - 16, s->build.base_dir);
        list_push_back(&h->base_loads, &l->node);
        if (uv_queue_work(h->loop, &l->work, load_base, on_base_loaded) < 0)
            abort(); /* libuv refuses only what is no work at all */
    }
    list_push_back(&l->waiting, &o->node);
}

/* Files. */

/* Of which this daemon cannot restore anything: the sentence says what to do. */
static int no_snapshot(const struct source *s, struct err *err)
{
    return err_set(err, ERR_PRECONDITION, ENOENT,
                   "template build %s has no snapshot: build the template anew with `sandpit image "
                   "build`",
                   s->image_build_id);
}

/* On a worker. */
static void read_files(uv_work_t *work)
{
    struct opening *o = container_of(work, struct opening, work);
    struct source *s = o->source;
    struct image_manifest image;
    if (image_manifest_load(s->build.base_dir, &image, &o->err) < 0)
        return;
    image_boot_files(s->build.base_dir, &image, &s->boot, s->rootfs);
    snprintf(o->kernel, sizeof(o->kernel), "%s", image.kernel.sha256);
    if (join(s->image_layer, s->build.base_dir, IMAGE_FILE_LAYER, &o->err) < 0)
        return;
    if (access(s->image_layer, F_OK) < 0) {
        no_snapshot(s, &o->err);
        return;
    }
    if (s->snapshot_dir[0])
        snapshot_open(s->snapshot_dir, &s->manifest, NULL, NULL, &o->err);
}

static void on_files(uv_work_t *work, int status)
{
    (void)status;
    struct opening *o = container_of(work, struct opening, work);
    struct source *s = o->source;
    const struct vmm_host *vmm = vmm_driver_host(s->host->driver);
    enum vmm_board board = s->boot.board;
    if (!o->err.code && s->snapshot_dir[0] &&
        snapshot_check_host(&s->manifest, vmm, board, &o->err) == 0)
        snapshot_check_machine(&s->manifest, o->kernel, s->boot.cmdline,
                               vmm_devices_text(s->host->driver, board), &o->err);
    if (o->err.code || !s->snapshot_dir[0] || !s->base_build_id[0])
        opened(o);
    else
        want_base(o);
}

static void want_files(struct opening *o)
{
    if (uv_queue_work(o->source->host->loop, &o->work, read_files, on_files) < 0)
        abort(); /* libuv refuses only what is no work at all */
}

static struct source *source_new(struct sandbox_host *h)
{
    struct source *s = calloc(1, sizeof(*s));
    if (!s)
        abort(); /* nobody could be told */
    s->host = h;
    s->refs = 1;
    return s;
}

static struct opening *opening_new(struct source *s, source_cb done, void *user)
{
    struct opening *o = calloc(1, sizeof(*o));
    if (!o)
        abort(); /* nobody could be told */
    o->source = s;
    o->done = done;
    o->user = user;
    return o;
}

static void on_known(struct deferred *d)
{
    opened(container_of(d, struct opening, known));
}

void source_open(struct sandbox_host *h, const struct store_build *build, source_cb done,
                 void *user)
{
    bool snapshot = strcmp(build->kind, "snapshot") == 0;
    struct source *known = snapshot ? NULL : pool_source(h, build);
    if (known) {
        defer(h->defer, &opening_new(source_ref(known), done, user)->known, on_known);
        return;
    }
    struct opening *o = opening_new(source_new(h), done, user);
    struct source *s = o->source;
    s->build = *build;
    snprintf(s->image_build_id, sizeof(s->image_build_id), "%s", build->base_build_id);
    memcpy(s->layers, build->layers, sizeof(s->layers));
    s->nlayers = build->nlayers;
    if (!snapshot) {
        snprintf(s->snapshot_dir, sizeof(s->snapshot_dir), "%.*s/snapshot", PATH_MAX - 16,
                 build->dir);
        memcpy(s->base_build_id, s->image_build_id, sizeof(s->base_build_id));
    } else if (!build->filesystem_only) {
        memcpy(s->snapshot_dir, build->dir, sizeof(s->snapshot_dir));
        s->diff = true;
        if (strcmp(build->memory_base, "zeros") != 0)
            memcpy(s->base_build_id, s->image_build_id, sizeof(s->base_build_id));
    }
    want_files(o);
}

/* On the store's worker. */
static void read_row(struct store_job *job, struct db *db)
{
    struct opening *o = container_of(job, struct opening, job);
    struct source *s = o->source;
    size_t n = STORE_LAYERS_MAX;
    if (db_build_find(db, s->image_build_id, &s->build, &o->err) == 0 &&
        db_layer_chain(db, o->layer_id, s->layers, &n, &o->err) == 0)
        s->nlayers = n > 0 && !o->frozen ? n - 1 : n; /* without the one that is written */
}

static void on_row(struct store_job *job)
{
    struct opening *o = container_of(job, struct opening, job);
    if (o->err.code)
        opened(o);
    else
        want_files(o);
}

static void open_layers(struct sandbox_host *h, const struct sandbox_own *own, const char *layer_id,
                        bool frozen, const char *snapshot_id, source_cb done, void *user)
{
    struct opening *o = opening_new(source_new(h), done, user);
    struct source *s = o->source;
    snprintf(s->image_build_id, sizeof(s->image_build_id), "%s", own->image_build_id);
    snprintf(s->base_build_id, sizeof(s->base_build_id), "%s", own->base_build_id);
    snprintf(o->layer_id, sizeof(o->layer_id), "%s", layer_id);
    o->frozen = frozen;
    if (snapshot_id[0])
        snapshot_folder(h, snapshot_id, s->snapshot_dir);
    s->diff = true;
    o->job = (struct store_job){ .work = read_row, .done = on_row };
    store_run(h->store, &o->job);
}

void source_open_paused(struct sandbox_host *h, const struct sandbox_own *own,
                        const char *snapshot_id, source_cb done, void *user)
{
    open_layers(h, own, own->layer_id, false, snapshot_id, done, user);
}

void source_open_frozen(struct sandbox_host *h, const struct sandbox_own *own, const char *layer_id,
                        const char *snapshot_id, source_cb done, void *user)
{
    open_layers(h, own, layer_id, true, snapshot_id, done, user);
}

struct source *source_ref(struct source *s)
{
    s->refs++;
    return s;
}

void source_unref(struct source *s)
{
    if (!s || --s->refs)
        return;
    if (s->base) {
        s->base->refs--;
        bases_trim(s->host);
    }
    free(s);
}

void source_fill_config(const struct source *s, const struct sandbox_own *own,
                        struct source_paths *paths, struct vmm_config *config)
{
    const struct sandbox_host *h = s->host;
    struct vmm_disk *disk = &config->disk;
    *config = (struct vmm_config){
        .id = own->sb.id,
        .run_dir = own->run_dir,
        .template = s->boot,
        .vcpus = own->sb.vcpus,
        .memory_mb = own->sb.memory_mb,
        .disk_mb = own->sb.disk_mb,
        .uid = slot_uid(h, own->slot),
        .background = own->spare != NULL,
        .memory_fd = s->base ? s->base->fd : -1,
    };
    disk->rootfs = s->rootfs;
    disk->layers[disk->nlayers++] = s->image_layer;
    for (size_t i = 0; i < s->nlayers; i++) {
        layer_path(h, s->layers[i], paths->layers[i]);
        disk->layers[disk->nlayers++] = paths->layers[i];
    }
    layer_path(h, own->layer_id, paths->top);
    disk->top = paths->top;
}
