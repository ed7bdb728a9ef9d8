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

struct sandbox_record {
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
    char *metadata, *config; /* JSON objects as text */
    pid_t vmm_pid;           /* 0: none yet */
    uint64_t vmm_start_ticks;
    uint8_t link_secret[SANDBOX_SECRET_SIZE];
    uid_t uid; /* of the VMM; (uid_t)-1: the daemon's own */
    char run_dir[PATH_MAX];
};

/* Why a sandbox ended; kept for DEATH_KEPT_NS. */
struct death_record {
    char sandbox_id[ID_SANDBOX_SIZE];
    char team_id[ID_UUID_SIZE];
    int64_t ended_ns;
    char reason[64];
    char detail[2048];
};

/* Write a sandbox, new or changed. A new one also counts for its template. */
int db_sandbox_save(struct db *db, const struct sandbox_record *sb, struct err *err);

/* A changed end time alone. No error when there is no such sandbox. */
int db_sandbox_set_end(struct db *db, const char *id, int64_t end_ns, struct err *err);

/* The sandbox is gone: its row becomes a death record, in one transaction. A detail that is too
 * long is cut at the front, where it is oldest. Nothing happens when there is no row. */
int db_sandbox_end(struct db *db, const char *id, const char *reason, const char *detail,
                   struct err *err);

/* Every sandbox on record, oldest first. The record is borrowed for the call. */
int db_sandbox_load(struct db *db, void (*each)(void *user, const struct sandbox_record *sb),
                    void *user, struct err *err);

/* The newest death of a sandbox. -ENOENT. */
int db_death_find(struct db *db, const char *sandbox_id, struct death_record *out, struct err *err);

#endif
