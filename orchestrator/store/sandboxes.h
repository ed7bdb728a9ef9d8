/* What must be known of each sandbox to find it again after the daemon ended. */
#ifndef ORCHESTRATOR_STORE_SANDBOXES_H
#define ORCHESTRATOR_STORE_SANDBOXES_H

#include "orchestrator/store/create_keys.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#include <limits.h>
#include <sys/types.h>

#define SANDBOX_SECRET_SIZE 32

struct store_sandbox {
    char id[ID_SANDBOX_SIZE];
    char team_id[ID_UUID_SIZE];
    char template_id[ID_TEMPLATE_SIZE];
    char build_id[ID_UUID_SIZE]; /* what it was made from, an image or a snapshot */
    char alias[129];
    char envd_version[32];
    char state[16]; /* creating, running, pausing, paused, resuming, killing */
    int64_t started_ns, end_ns;
    unsigned vcpus, memory_mb;
    uint64_t disk_mb;
    bool secure;
    bool private_traffic;
    const char *metadata, *config, *envs; /* JSON objects as text; NULL is written as {} */
    pid_t vmm_pid;                        /* 0: none yet */
    uint64_t vmm_start_ticks;
    uint8_t link_secret[SANDBOX_SECRET_SIZE];
    uid_t uid; /* of the VMM; (uid_t)-1: the daemon's own */
    char run_dir[PATH_MAX];
    char layer_id[ID_UUID_SIZE];        /* the layer that it writes; empty: none yet */
    char layer_parent_id[ID_UUID_SIZE]; /* what that one stands on; empty: the image */
    char base_build_id[ID_UUID_SIZE];   /* the build under its memory; empty: zeros */
    char snapshot_id[ID_UUID_SIZE];     /* what it was paused to; empty: none */
    int64_t paused_ns;                  /* 0: not paused */
    bool filesystem_only;               /* paused without memory */
    bool unresponsive;                  /* its guest did not answer before the pause */
    unsigned create_timeout_s;          /* what it was created with */
    int64_t run_began_ns;      /* it was made or resumed: its longest life counts from it */
    char key_id[ID_UUID_SIZE]; /* the API key that created it; empty: none */
    /* To be written with it; NULL: none, or it is on record. Borrowed until it is written. */
    const struct store_create_key *create_key;
};

/* Write a sandbox, new or changed, in one transaction. When it becomes "running" for the first time
 * it also counts for its template. A layer_id that is new is recorded too, as db_layer_add() does;
 * of one on record the parent stays as it is. ERR_NOT_FOUND when a build or the parent it stands on
 * is not on record (any more). */
int db_sandbox_put(struct db *db, const struct store_sandbox *sb, struct err *err);

/* A changed end time alone. No error when there is no such sandbox. */
int db_sandbox_set_end(struct db *db, const char *id, int64_t end_ns, struct err *err);

/* Every sandbox on record, oldest first. The record is borrowed for the call. */
int db_sandbox_load(struct db *db, void (*each)(void *user, const struct store_sandbox *sb),
                    void *user, struct err *err);

#endif
