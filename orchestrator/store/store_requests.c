#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "orchestrator/store/store.h"

#include <assert.h>
#include <stdio.h>

/* One request with copies of everything it needs. */
struct request {
    struct store_job job;
    struct store_sandbox sandbox;
    struct store_death death;
    char id[ID_SANDBOX_SIZE];
    int64_t end_ns;
    char *texts[3]; /* owned; what the members above point at */
    void (*done)(void *user, const struct err *err);
    void (*found)(void *user, const struct store_build *build, const struct err *err);
    void *user;
    struct store_template template;
    struct store_build build;
    struct err err;
    int rc;
};

static void on_done(struct store_job *job)
{
    struct request *r = container_of(job, struct request, job);
    const struct err *err = r->rc ? &r->err : NULL;
    if (r->found)
        r->found(r->user, err ? NULL : &r->build, err);
    else if (r->done)
        r->done(r->user, err);
    else if (err)
        log_error("a record was not written", LOG_STR("sandbox_id", r->id),
                  LOG_STR("reason", err->msg));
    store_death_deinit(&r->death);
    for (size_t i = 0; i < ARRAY_LEN(r->texts); i++)
        free(r->texts[i]);
    free(r);
}

/* Out of memory ends the daemon here: a record that is left out would be a lie. */
static struct request *request_new(const char *id,
                                   void (*work)(struct store_job *job, struct db *db),
                                   void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = calloc(1, sizeof(*r));
    assert(r);
    r->job = (struct store_job){ .work = work, .done = on_done };
    r->done = done;
    r->user = user;
    snprintf(r->id, sizeof(r->id), "%s", id);
    return r;
}

static char *keep(struct request *r, const char *text)
{
    if (!text)
        return NULL;
    size_t i = 0;
    while (i < ARRAY_LEN(r->texts) && r->texts[i])
        i++;
    assert(i < ARRAY_LEN(r->texts));
    r->texts[i] = strdup(text);
    assert(r->texts[i]);
    return r->texts[i];
}

static void work_put(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_sandbox_put(db, &r->sandbox, &r->err);
}

void store_sandbox_put(struct store *s, const struct store_sandbox *sb,
                       void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(sb->id, work_put, done, user);
    r->sandbox = *sb;
    r->sandbox.metadata = keep(r, sb->metadata);
    r->sandbox.config = keep(r, sb->config);
    r->sandbox.envs = keep(r, sb->envs);
    store_run(s, &r->job);
}

static void work_set_end(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_sandbox_set_end(db, r->id, r->end_ns, &r->err);
}

void store_sandbox_set_end(struct store *s, const char *id, int64_t end_ns,
                           void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(id, work_set_end, done, user);
    r->end_ns = end_ns;
    store_run(s, &r->job);
}

static void work_end(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_sandbox_end(db, &r->death, &r->err);
}

void store_sandbox_end(struct store *s, const struct store_death *death,
                       void (*done)(void *user, const struct err *err), void *user)
{
    struct request *r = request_new(death->sandbox_id, work_end, done, user);
    int rc = store_death_copy(&r->death, death, NULL);
    assert(rc == 0);
    store_run(s, &r->job);
}

static void work_find(struct store_job *job, struct db *db)
{
    struct request *r = container_of(job, struct request, job);
    r->rc = db_template_resolve(db, r->texts[1], r->texts[0], &r->template, &r->build, &r->err);
}

void store_template_find(struct store *s, const char *ref, const char *team_id,
                         void (*done)(void *user, const struct store_build *build,
                                      const struct err *err),
                         void *user)
{
    struct request *r = request_new("", work_find, NULL, user);
    keep(r, ref);
    keep(r, team_id);
    r->found = done;
    store_run(s, &r->job);
}
