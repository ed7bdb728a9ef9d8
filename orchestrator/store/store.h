/*
 * The database for the daemon: every access runs on libuv's thread pool, one at a time and in the
 * order of the calls, and its callback on the loop. So a sandbox's records are written in the order
 * of its life.
 */
#ifndef ORCHESTRATOR_STORE_STORE_H
#define ORCHESTRATOR_STORE_STORE_H

#include "common/base/list.h"
#include "orchestrator/store/deaths.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/sandboxes.h"
#include "orchestrator/store/secret.h"
#include "orchestrator/store/snapshots.h"
#include "orchestrator/store/templates.h"

#include <uv.h>

struct store;

/* Take the daemon's lock on the data directory, open the database, load the host's secret.
 * Blocking: call before serving. */
int store_new(struct store **out, uv_loop_t *loop, const char *data_dir, struct err *err);

/* The host's secret, STORE_SECRET_SIZE bytes. */
const uint8_t *store_secret(const struct store *s);

/* Any access: embed a job, queue it. `work` runs on the worker with the database. `clean`, where
 * there is one, runs after it on another thread, while the jobs that follow go on: for what may
 * take long, such as removing files, of one job at a time. `done` comes last on the loop, never
 * from inside store_run(); after done the job is the caller's again. Every job is run, also those
 * queued when the store is closed. */
struct store_job {
    struct list node;
    void (*work)(struct store_job *job, struct db *db);
    void (*clean)(struct store_job *job); /* or NULL */
    void (*done)(struct store_job *job);
};
void store_run(struct store *s, struct store_job *job);

/* Common accesses. done comes once on the loop, err NULL on success. Arguments are copied. A done
 * of NULL is allowed where it tells nothing but an error; then a failure is logged. */
void store_sandbox_put(struct store *s, const struct store_sandbox *sb,
                       void (*done)(void *user, const struct err *err), void *user);
void store_sandbox_set_end(struct store *s, const char *id, int64_t end_ns,
                           void (*done)(void *user, const struct err *err), void *user);
void store_sandbox_end(struct store *s, const struct store_death *death,
                       void (*done)(void *user, const struct err *err), void *user);

/* What a team means by a reference, as db_template_resolve() has it: *build is borrowed for the
 * call, NULL exactly when err is set. */
void store_template_find(struct store *s, const char *ref, const char *team_id,
                         void (*done)(void *user, const struct store_build *build,
                                      const struct err *err),
                         void *user);

/* Layers, as db_layer_add() and its like have them. `remove` runs on the worker. */
void store_layer_add(struct store *s, const char *id, const char *parent,
                     void (*done)(void *user, const struct err *err), void *user);
void store_layer_set_parent(struct store *s, const char *id, const char *parent,
                            void (*done)(void *user, const struct err *err), void *user);
void store_layer_collect(struct store *s, bool (*remove)(void *user, const char *id),
                         void (*done)(void *user, const struct err *err), void *user);

/* As db_snapshot_publish() has it. Both results are borrowed for the call, NULL exactly when err is
 * set. */
void store_snapshot_publish(struct store *s, const char *team_id, const char *name,
                            const struct store_build *build,
                            void (*done)(void *user, const struct store_snapshot *snapshot,
                                         const struct store_build *build, const struct err *err),
                            void *user);

/* As db_snapshot_list() has it; the list is borrowed for the call, and empty when err is set. */
void store_snapshot_list(struct store *s, const char *team_id, const struct snapshot_filter *filter,
                         void (*done)(void *user, const struct store_snapshot *list, size_t n,
                                      const struct err *err),
                         void *user);

/* As db_template_delete() and db_template_prune() have it. `removed` runs as a job's `clean` does,
 * `remove` on the worker. */
void store_template_delete(struct store *s, const char *team_id, const char *ref,
                           void (*removed)(void *user, const char *build_id, const char *dir),
                           void (*done)(void *user, const struct err *err), void *user);
void store_template_prune(struct store *s, const char *template_id, int64_t before_ns,
                          bool (*remove)(void *user, const char *dir),
                          void (*done)(void *user, const struct err *err), void *user);

/* As db_death_find() has it: *death is borrowed for the call, NULL exactly when err is set. */
void store_death_find(struct store *s, const char *sandbox_id, const char *team_id,
                      void (*done)(void *user, const struct store_death *death,
                                   const struct err *err),
                      void *user);

/* Every sandbox that an earlier daemon left, blocking: call before serving. */
int store_sandbox_load(struct store *s, void (*each)(void *user, const struct store_sandbox *sb),
                       void *user, struct err *err);

/* As db_create_key_list() has it; blocking: call before serving. */
int store_create_key_load(struct store *s, int64_t since_ns,
                          void (*each)(void *user, const struct store_create_key *key,
                                       const char *sandbox_id),
                          void *user, struct err *err);

/* Run what is queued, then close the database and free the store; then closed(user), from the
 * loop. Jobs may still be queued by the done callbacks of others until it has closed. */
void store_close(struct store *s, void (*closed)(void *user), void *user);

#endif
