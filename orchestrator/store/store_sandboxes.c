#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "orchestrator/store/store.h"

#include <assert.h>

/* One write about one sandbox, with everything it needs. */
struct write {
    struct store_job job;
    struct sandbox_record record; /* only the id but for a save */
    int64_t end_ns;
    char *reason, *detail;
    void (*done)(void *user, const struct err *err);
    void *user;
    struct err err;
    int rc;
};

static char *copy(const char *text)
{
    char *out = strdup(text);
    assert(out); /* a record that is not written would be a lie; out of memory ends the daemon */
    return out;
}

static void on_done(struct store_job *job)
{
    struct write *w = container_of(job, struct write, job);
    if (w->done)
        w->done(w->user, w->rc ? &w->err : NULL);
    else if (w->rc)
        log_error("a sandbox's record was not written", LOG_STR("sandbox", w->record.id),
                  LOG_STR("error", w->err.msg));
    free(w->record.metadata);
    free(w->record.config);
    free(w->reason);
    free(w->detail);
    free(w);
}

static struct write *write_new(const char *id, void (*work)(struct store_job *, struct db *))
{
    struct write *w = calloc(1, sizeof(*w));
    assert(w);
    w->job = (struct store_job){ .work = work, .done = on_done };
    snprintf(w->record.id, sizeof(w->record.id), "%s", id);
    return w;
}

static void work_save(struct store_job *job, struct db *db)
{
    struct write *w = container_of(job, struct write, job);
    w->rc = db_sandbox_save(db, &w->record, &w->err);
}

void store_sandbox_save(struct store *s, const struct sandbox_record *sb,
                        void (*done)(void *user, const struct err *err), void *user)
{
    struct write *w = write_new(sb->id, work_save);
    w->record = *sb;
    w->record.metadata = copy(sb->metadata);
    w->record.config = copy(sb->config);
    w->done = done;
    w->user = user;
    store_run(s, &w->job);
}

static void work_set_end(struct store_job *job, struct db *db)
{
    struct write *w = container_of(job, struct write, job);
    w->rc = db_sandbox_set_end(db, w->record.id, w->end_ns, &w->err);
}

void store_sandbox_set_end(struct store *s, const char *id, int64_t end_ns)
{
    struct write *w = write_new(id, work_set_end);
    w->end_ns = end_ns;
    store_run(s, &w->job);
}

static void work_end(struct store_job *job, struct db *db)
{
    struct write *w = container_of(job, struct write, job);
    w->rc = db_sandbox_end(db, w->record.id, w->reason, w->detail, &w->err);
}

void store_sandbox_end(struct store *s, const char *id, const char *reason, const char *detail,
                       void (*done)(void *user, const struct err *err), void *user)
{
    struct write *w = write_new(id, work_end);
    w->reason = copy(reason);
    w->detail = copy(detail);
    w->done = done;
    w->user = user;
    store_run(s, &w->job);
}
