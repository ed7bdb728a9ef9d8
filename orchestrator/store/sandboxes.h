/* What must be known of each sandbox to find it again after the daemon ended, and why each ended.
 */
#ifndef ORCHESTRATOR_STORE_SANDBOXES_H
#define ORCHESTRATOR_STORE_SANDBOXES_H

#include "common/base/str.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#include <limits.h>
#include <sys/types.h>

#define SANDBOX_SECRET_SIZE 32
#define DEATH_KEPT_NS       (INT64_C(7) * 24 * 3600 * 1000000000)

struct store_sandbox {
    char id[ID_SANDBOX_SIZE];
    char team_id[ID_UUID_SIZE];
    char template_id[ID_TEMPLATE_SIZE];
    char build_id[ID_UUID_SIZE];
    char alias[129];
    char envd_version[32];
    char state[16]; /* creating, running, killing */
    int64_t started_ns, end_ns;
    unsigned vcpus, memory_mb;
    uint64_t disk_mb;
    bool secure;
    bool private_traffic;
    const char *metadata, *config; /* JSON objects as text */
    pid_t vmm_pid;                 /* 0: none yet */
    uint64_t vmm_start_ticks;
    uint8_t link_secret[SANDBOX_SECRET_SIZE];
    uid_t uid; /* of the VMM; (uid_t)-1: the daemon's own */
    char run_dir[PATH_MAX];
};

/* Why a sandbox ended; kept for DEATH_KEPT_NS. */
#define DEATH_REASON_MAX 64
#define DEATH_DETAIL_MAX 4096
struct store_death {
    const char *sandbox_id, *team_id;
    int64_t when_ns;
    const char *reason; /* at most DEATH_REASON_MAX bytes are kept, the first */
    const char *detail; /* at most DEATH_DETAIL_MAX bytes are kept, the last */
};

/* Write a sandbox, new or changed. When it becomes "running" it also counts for its template. */
int db_sandbox_put(struct db *db, const struct store_sandbox *sb, struct err *err);

/* A changed end time alone. No error when there is no such sandbox. */
int db_sandbox_set_end(struct db *db, const char *id, int64_t end_ns, struct err *err);

/* The sandbox is gone: its row becomes a death record, in one transaction. Nothing happens when
 * there is no row. */
int db_sandbox_end(struct db *db, const struct store_death *death, struct err *err);

/* Every sandbox on record, oldest first. The record is borrowed for the call. */
int db_sandbox_load(struct db *db, void (*each)(void *user, const struct store_sandbox *sb),
                    void *user, struct err *err);

/* The deaths on record, newest first; of one sandbox, or of all (NULL). The record is borrowed for
 * the call. */
int db_death_list(struct db *db, const char *sandbox_id,
                  void (*each)(void *user, const struct store_death *death), void *user,
                  struct err *err);

#endif
