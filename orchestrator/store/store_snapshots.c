#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "orchestrator/store/store.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* One request with copies of what it needs. */
struct request {
    struct store_job job;
    char *texts[5]; /* owned, NULL ones too: the arguments in order */
    int64_t before_ns;
    bool (*remove)(void *user, const char *text);
    void (*removed)(void *user, const char *build_id, const char *dir);
    struct list gone; /* struct gone_build */
    void (*done)(void *user, const struct err *err);
    void *user;
    struct err err;
    int rc;
};

static const struct err *failure(const struct request *r)
{
    return r->rc ? &r->err : NULL;
}

static void request_deinit(struct request *r)
{
    for (size_t i = 0; i < ARRAY_LEN(r->texts); i++)
        free(r->texts[i]);
}

static void on_done(struct store_job *job)
{
    struct request *r = container_of(job, struct request, job);
    const struct err *err = failure(r);
    if (r->done)
        r->done(r->user, err);
    else if (err)
        log_error("a change was not recorded", LOG_STR("reason", err->msg));
    request_deinit(r);
    free(r);
}

/* Out of memory ends the daemon here, as for every record. */
static void *allocate(size_t size)
{
    void *p = calloc(1, size);
    assert(p);
    return p;
}

static void keep(struct request *r, size_t i, const char *text)
{
    if (!text)
        return;
    r->texts[i] = strdup(text);
    assert(r->texts[i]);
}

static struct request *request_new(const char *first, const char *second,
                                   void (*work)(struct store_job *job, struct db *db),
                                   void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = allocate(sizeof(*r));
    r->job = (struct store_job){ .work = work, .done = on_done };
    r->done = done;
    r->user = user;
    keep(r, 0, first);
    keep(r, 1, second);
    return r;
}

static void work_layer_add(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_layer_add(db, r->texts[0], r->texts[1], &r->err);
}

void store_layer_add(struct store *s, const char *id, const char *parent,
                     void (*done)(void *user, const struct err *err), void *user)
{
    store_run(s, &request_new(id, parent, work_layer_add, done, user)->job);
}

static void work_layer_set_parent(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_layer_set_parent(db, r->texts[0], r->texts[1], &r->err);
}

void store_layer_set_parent(struct store *s, const char *id, const char *parent,
                            void (*done)(void *user, const struct err *err), void *user)
{
    store_run(s, &request_new(id, parent, work_layer_set_parent, done, user)->job);
}

static void work_layer_collect(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_layer_collect(db, r->remove, r->user, &r->err);
}

void store_layer_collect(struct store *s, bool (*remove)(void *user, const char *id),
                         void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(NULL, NULL, work_layer_collect, done, user);
    r->remove = remove;
    store_run(s, &r->job);
}

struct gone_build {
    struct list node;
    char id[ID_UUID_SIZE];
    char dir[PATH_MAX];
};

static void note_gone(void *user, const char *build_id, const char *dir)
{
    struct request *r = user;
    struct gone_build *b = allocate(sizeof(*b));
    snprintf(b->id, sizeof(b->id), "%s", build_id);
    snprintf(b->dir, sizeof(b->dir), "%s", dir);
    list_push_back(&r->gone, &b->node);
}

static void work_delete(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_template_delete(db, r->texts[0], r->texts[1], note_gone, r, &r->err);
}

static void clean_deleted(struct store_job *job)
{
    struct request *r = container_of(job, struct request, job);
    while (!list_empty(&r->gone)) {
        struct gone_build *b = container_of(r->gone.next, struct gone_build, node);
        list_remove(&b->node);
        r->removed(r->user, b->id, b->dir);
        free(b);
    }
}

void store_template_delete(struct store *s, const char *team_id, const char *ref,
                           void (*removed)(void *user, const char *build_id, const char *dir),
                           void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(team_id, ref, work_delete, done, user);
    r->removed = removed;
    r->job.clean = clean_deleted;
    list_init(&r->gone);
    store_run(s, &r->job);
}

static void work_prune(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_template_prune(db, r->texts[0], r->before_ns, r->remove, r->user, &r->err);
}

void store_template_prune(struct store *s, const char *template_id, int64_t before_ns,
                          bool (*remove)(void *user, const char *dir),
                          void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(template_id, NULL, work_prune, done, user);
    r->before_ns = before_ns;
    r->remove = remove;
    store_run(s, &r->job);
}

struct publish_request {
    struct request r;
    struct store_build build;
    struct store_snapshot snapshot;
    void (*done)(void *user, const struct store_snapshot *snapshot, const struct store_build *build,
                 const struct err *err);
};

static void work_publish(struct store_job *job, struct db *db)
{
    struct publish_request *p = container_of(job, struct publish_request, r.job);
    p->r.rc =
        db_snapshot_publish(db, p->r.texts[0], p->r.texts[1], &p->build, &p->snapshot, &p->r.err);
}

static void on_published(struct store_job *job)
{
    struct publish_request *p = container_of(job, struct publish_request, r.job);
    const struct err *err = failure(&p->r);
    p->done(p->r.user, err ? NULL : &p->snapshot, err ? NULL : &p->build, err);
    request_deinit(&p->r);
    free(p);
}

void store_snapshot_publish(struct store *s, const char *team_id, const char *name,
                            const struct store_build *build,
                            void (*done)(void *user, const struct store_snapshot *snapshot,
                                         const struct store_build *build, const struct err *err),
                            void *user)
{
    struct publish_request *p = allocate(sizeof(*p));
    p->r.job = (struct store_job){ .work = work_publish, .done = on_published };
    p->r.user = user;
    p->build = *build;
    p->done = done;
    keep(&p->r, 0, team_id);
    keep(&p->r, 1, name);
    store_run(s, &p->r.job);
}

struct list_request {
    struct request r;
    struct snapshot_filter filter;
    struct store_snapshot *list;
    size_t n, room;
    void (*done)(void *user, const struct store_snapshot *list, size_t n, const struct err *err);
};

static void add(void *user, const struct store_snapshot *snapshot)
{
    struct list_request *l = user;
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->list = realloc(l->list, l->room * sizeof(*l->list));
        assert(l->list);
    }
    l->list[l->n++] = *snapshot;
}

static void work_list(struct store_job *job, struct db *db)
{
    struct list_request *l = container_of(job, struct list_request, r.job);
    l->r.rc = db_snapshot_list(db, l->r.texts[0], &l->filter, add, l, &l->r.err);
}

static void on_listed(struct store_job *job)
{
    struct list_request *l = container_of(job, struct list_request, r.job);
    l->done(l->r.user, l->list, l->r.rc ? 0 : l->n, failure(&l->r));
    request_deinit(&l->r);
    free(l->list);
    free(l);
}

void store_snapshot_list(struct store *s, const char *team_id, const struct snapshot_filter *filter,
                         void (*done)(void *user, const struct store_snapshot *list, size_t n,
                                      const struct err *err),
                         void *user)
{
    struct list_request *l = allocate(sizeof(*l));
    const char *const texts[] = { team_id, filter->sandbox_id, filter->name, filter->after_template,
                                  filter->after_tag };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        keep(&l->r, i, texts[i]);
    l->r.job = (struct store_job){ .work = work_list, .done = on_listed };
    l->r.user = user;
    l->filter = (struct snapshot_filter){ .sandbox_id = l->r.texts[1],
                                          .name = l->r.texts[2],
                                          .after_ns = filter->after_ns,
                                          .after_template = l->r.texts[3],
                                          .after_tag = l->r.texts[4],
                                          .limit = filter->limit };
    l->done = done;
    store_run(s, &l->r.job);
}

struct death_request {
    struct request r;
    struct store_death death;
    void (*done)(void *user, const struct store_death *death, const struct err *err);
};

static void work_death(struct store_job *job, struct db *db)
{
    struct death_request *d = container_of(job, struct death_request, r.job);
    d->r.rc = db_death_find(db, d->r.texts[0], d->r.texts[1], &d->death, &d->r.err);
}

static void on_death(struct store_job *job)
{
    struct death_request *d = container_of(job, struct death_request, r.job);
    const struct err *err = failure(&d->r);
    d->done(d->r.user, err ? NULL : &d->death, err);
    store_death_deinit(&d->death);
    request_deinit(&d->r);
    free(d);
}

void store_death_find(struct store *s, const char *sandbox_id, const char *team_id,
                      void (*done)(void *user, const struct store_death *death,
                                   const struct err *err),
                      void *user)
{
    struct death_request *d = allocate(sizeof(*d));
    d->r.job = (struct store_job){ .work = work_death, .done = on_death };
    d->r.user = user;
    d->done = done;
    keep(&d->r, 0, sandbox_id);
    keep(&d->r, 1, team_id);
    store_run(s, &d->r.job);
}
