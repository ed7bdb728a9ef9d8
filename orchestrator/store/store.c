#include "orchestrator/store/store.h"

#include "common/base/cleanup.h"
#include "orchestrator/store/lock.h"

#include <assert.h>
#include <errno.h>

struct store {
    uv_loop_t *loop;
    struct db *db;
    int lock; /* fd */
    uint8_t secret[STORE_SECRET_SIZE];
    struct list jobs; /* in order; `current` is not among them */
    struct store_job *current;
    uv_work_t work;
    struct list cleans; /* jobs whose files are to go; `cleaned` is not among them */
    struct store_job *cleaned;
    uv_work_t cleaning;
    uv_async_t kick; /* starts the next job, or the close, from the loop */
    bool closing;
    void (*closed)(void *user);
    void *closed_user;
};

static void on_work(uv_work_t *req)
{
    struct store *s = container_of(req, struct store, work);
    s->current->work(s->current, s->db);
}

static void on_worked(uv_work_t *req, int status);

static void on_clean(uv_work_t *req)
{
    struct store *s = container_of(req, struct store, cleaning);
    s->cleaned->clean(s->cleaned);
}

static void on_cleaned(uv_work_t *req, int status);
static void next(struct store *s);

/* One at a time: files may take long, and all the pool's threads would have none for a job. */
static void next_clean(struct store *s)
{
    if (s->cleaned || list_empty(&s->cleans))
        return;
    s->cleaned = container_of(s->cleans.next, struct store_job, node);
    list_remove(&s->cleaned->node);
    int rc = uv_queue_work(s->loop, &s->cleaning, on_clean, on_cleaned);
    assert(rc == 0); /* fails only without a work function */
}

static void on_cleaned(uv_work_t *req, int status)
{
    struct store *s = container_of(req, struct store, cleaning);
    assert(status == 0); /* nobody cancels it */
    struct store_job *job = TAKE(s->cleaned);
    job->done(job);
    next_clean(s);
    next(s); /* the close, when it waited for this */
}

static void store_free(struct store *s)
{
    db_close(s->db);
    cleanup_close(&s->lock);
    explicit_bzero(s->secret, sizeof(s->secret));
    free(s);
}

static void on_kick_closed(uv_handle_t *h)
{
    struct store *s = container_of((uv_async_t *)h, struct store, kick);
    void (*closed)(void *user) = s->closed;
    void *user = s->closed_user;
    store_free(s);
    closed(user);
}

/* Start the next job when none runs. */
static void next(struct store *s)
{
    if (s->current)
        return;
    if (list_empty(&s->jobs)) {
        if (s->closing && !s->cleaned && list_empty(&s->cleans) &&
            !uv_is_closing((uv_handle_t *)&s->kick))
            uv_close((uv_handle_t *)&s->kick, on_kick_closed);
        return;
    }
    s->current = container_of(s->jobs.next, struct store_job, node);
    list_remove(&s->current->node);
    int rc = uv_queue_work(s->loop, &s->work, on_work, on_worked);
    assert(rc == 0); /* fails only without a work function */
}

static void on_worked(uv_work_t *req, int status)
{
    struct store *s = container_of(req, struct store, work);
    assert(status == 0); /* nobody cancels it */
    struct store_job *job = TAKE(s->current);
    if (job->clean) {
        list_push_back(&s->cleans, &job->node);
        next_clean(s);
    } else {
        job->done(job);
    }
    next(s);
}

static void on_kick(uv_async_t *a)
{
    next(container_of(a, struct store, kick));
}

int store_new(struct store **out, uv_loop_t *loop, const char *data_dir, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    s->lock = -1;
    s->loop = loop;
    list_init(&s->jobs);
    list_init(&s->cleans);
    int rc = store_make_dir(data_dir, err);
    if (rc == 0)
        rc = store_lock(data_dir, &s->lock, err);
    if (rc == 0)
        rc = db_open(&s->db, data_dir, err);
    if (rc == 0)
        rc = store_secret_load(data_dir, s->secret, err);
    if (rc == 0) {
        rc = uv_async_init(loop, &s->kick, on_kick);
        if (rc)
            rc = err_set(err, ERR_INTERNAL, -rc, "cannot make a wake-up: %s", uv_strerror(rc));
    }
    if (rc) {
        store_free(s);
        return rc;
    }
    uv_unref((uv_handle_t *)&s->kick); /* an idle store keeps no loop alive */
    *out = s;
    return 0;
}

const uint8_t *store_secret(const struct store *s)
{
    return s->secret;
}

int store_sandbox_load(struct store *s, void (*each)(void *user, const struct store_sandbox *sb),
                       void *user, struct err *err)
{
    assert(!s->current);
    return db_sandbox_load(s->db, each, user, err);
}

int store_create_key_load(struct store *s, int64_t since_ns,
                          void (*each)(void *user, const struct store_create_key *key,
                                       const char *sandbox_id),
                          void *user, struct err *err)
{
    assert(!s->current);
    return db_create_key_list(s->db, since_ns, each, user, err);
}

void store_run(struct store *s, struct store_job *job)
{
    assert(job->work && job->done && !uv_is_closing((uv_handle_t *)&s->kick));
    list_push_back(&s->jobs, &job->node);
    next(s);
}

void store_close(struct store *s, void (*closed)(void *user), void *user)
{
    assert(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_user = user;
    uv_ref((uv_handle_t *)&s->kick);
    uv_async_send(&s->kick);
}
