/*
 * The disk that one team can take. A pause is never refused, an expiry's neither: it is how a
 * sandbox is not lost. So what can be paused later, or kept at once, is refused before it is made:
 * creates, forks and snapshots. A team is over its number at most by what it has running.
 */
#include "orchestrator/sandbox/kept.h"

#include <sys/statvfs.h>

/* Where the operator named no number: so many times the memory of a sandbox is half of the file
 * system, and some on the smallest one. */
#define DISK_SHARE    2
#define KEPT_AT_LEAST 32

unsigned sandbox_host_kept_max(const struct sandbox_host *h)
{
    const struct config *c = h->config;
    struct statvfs fs;
    if (c->max_paused_per_team != CONFIG_FROM_DISK)
        return c->max_paused_per_team;
    if (statvfs(c->data_dir, &fs) < 0)
        return KEPT_AT_LEAST;
    uint64_t n = ((uint64_t)fs.f_blocks * fs.f_frsize >> 20) / DISK_SHARE / c->memory_mb;
    if (n > CONFIG_MAX_PAUSED)
        n = CONFIG_MAX_PAUSED;
    return n < KEPT_AT_LEAST ? KEPT_AT_LEAST : (unsigned)n;
}

static void work(struct store_job *job, struct db *db)
{
    struct kept_check *k = container_of(job, struct kept_check, job);
    if (db_team_kept(db, k->team_id, &k->kept, &k->err) < 0 || k->kept < k->max)
        return;
    err_fill(&k->err, ERR_EXHAUSTED,
             "your team has %lld paused sandboxes and snapshots, and may have %u: kill sandboxes"
             " or delete snapshots that you no longer need",
             (long long)k->kept, k->max);
    k->err.reason = SANDBOX_REASON_TEAM_KEEPS;
}

static void on_worked(struct store_job *job)
{
    struct kept_check *k = container_of(job, struct kept_check, job);
    struct sandbox_host *h = k->host;
    k->done(k, k->err.code ? &k->err : NULL);
    h->busy--;
    sandbox_host_check_stop(h);
}

bool kept_check(struct sandbox_host *h, const char *team_id, struct kept_check *k,
                void (*done)(struct kept_check *k, const struct err *err))
{
    *k = (struct kept_check){ .job = { .work = work, .done = on_worked },
                              .host = h,
                              .max = sandbox_host_kept_max(h),
                              .done = done };
    if (k->max == 0)
        return true;
    memcpy(k->team_id, team_id, sizeof(k->team_id));
    h->busy++;
    store_run(h->store, &k->job);
    return false;
}
