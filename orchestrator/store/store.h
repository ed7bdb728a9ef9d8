/*
 * The database for the daemon: every access runs on libuv's thread pool, one at a time and in the
 * order of the calls, and its callback on the loop. So a sandbox's records are written in the order
 * of its life.
 */
#ifndef ORCHESTRATOR_STORE_STORE_H
#define ORCHESTRATOR_STORE_STORE_H

#include "common/base/list.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/sandboxes.h"
#include "orchestrator/store/templates.h"

#include <uv.h>

struct store;

/* Opens the database, blocking: call before serving. */
int store_new(struct store **out, uv_loop_t *loop, const char *data_dir, struct err *err);

/* Any access: embed a job, queue it. `work` runs on the worker with the database, `done` later on
 * the loop, never from inside store_run(); after done the job is the caller's again. Every job is
 * run, also those queued when the store is closed. */
struct store_job {
    struct list node;
    void (*work)(struct store_job *job, struct db *db);
    void (*done)(struct store_job *job);
};
void store_run(struct store *s, struct store_job *job);

/* Common accesses. done(user, err) comes once on the loop, err NULL on success; it may be NULL,
 * then a failure is logged. Arguments are copied. */
void store_sandbox_save(struct store *s, const struct sandbox_record *sb,
                        void (*done)(void *user, const struct err *err), void *user);
void store_sandbox_set_end(struct store *s, const char *id, int64_t end_ns);
void store_sandbox_end(struct store *s, const char *id, const char *reason, const char *detail,
                       void (*done)(void *user, const struct err *err), void *user);

/* Run what is queued, then close the database and free the store; then closed(user), from the
 * loop. Jobs may still be queued by the done callbacks of others until it has closed. */
void store_close(struct store *s, void (*closed)(void *user), void *user);

#endif
