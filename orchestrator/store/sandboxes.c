#include "orchestrator/store/sandboxes.h"

#include "common/base/fault.h"
#include "orchestrator/store/create_keys_internal.h"
#include "orchestrator/store/layers_internal.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>

#define SANDBOX_COLUMNS                                                                            \
    "id, team_id, template_id, build_id, alias, envd_version, state, started_ns, end_ns, vcpus,"   \
    " memory_mb, disk_mb, secure, private_traffic, metadata, config, vmm_pid, vmm_start_ticks,"    \
    " link_secret, uid, run_dir, envs, layer_id, base_build_id, snapshot_id, paused_ns,"           \
    " filesystem_only, unresponsive, create_timeout_s, key_id, run_began_ns"

/* Whether this is the moment that counts for the template, which a resume is not: 1, 0, -errno. */
static int begins_to_run(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    if (strcmp(sb->state, "running") != 0)
        return 0;
    int64_t began = 0;
    int rc = db_number(db, &began, err,
                       "SELECT count(*) FROM sandboxes WHERE id = ? AND state <> 'creating'", "s",
                       sb->id);
    return rc < 0 ? rc : !began;
}

/* What the sandbox stands on may have been deleted since it was looked up. */
static int check_build(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    int64_t known = 0;
    int rc = db_number(db, &known, err,
                       "SELECT count(*) FROM builds WHERE id = ?1 AND"
                       " (?2 IS NULL OR EXISTS (SELECT 1 FROM builds WHERE id = ?2))",
                       "ss", sb->build_id, db_reference(sb->base_build_id));
    if (rc == 0 && !known)
        rc = err_set(err, ERR_NOT_FOUND, ENOENT,
                     "the template that the sandbox is made from does not exist any more");
    return rc;
}

/* A layer that is new to the record. */
static int put_layer(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    int64_t known = 0;
    if (!sb->layer_id[0])
        return 0;
    int rc =
        db_number(db, &known, err, "SELECT count(*) FROM layers WHERE id = ?", "s", sb->layer_id);
    return rc || known ? rc : layer_add(db, sb->layer_id, sb->layer_parent_id, err);
}

static const char *object_or_empty(const char *json)
{
    return json ? json : "{}";
}

static int put_row(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    return db_run(db, err,
                  "REPLACE INTO sandboxes (" SANDBOX_COLUMNS
                  ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                  " ?, ?, ?, ?, ?, ?, ?, ?)",
                  "sssssssiiiiiiissiibisssssiiiisi", sb->id, sb->team_id, sb->template_id,
                  sb->build_id, sb->alias, sb->envd_version, sb->state, sb->started_ns, sb->end_ns,
                  (int64_t)sb->vcpus, (int64_t)sb->memory_mb, (int64_t)sb->disk_mb,
                  (int64_t)sb->secure, (int64_t)sb->private_traffic, object_or_empty(sb->metadata),
                  object_or_empty(sb->config), (int64_t)sb->vmm_pid, (int64_t)sb->vmm_start_ticks,
                  (const void *)sb->link_secret, sizeof(sb->link_secret), (int64_t)sb->uid,
                  sb->run_dir, object_or_empty(sb->envs), db_reference(sb->layer_id),
                  db_reference(sb->base_build_id), sb->snapshot_id, sb->paused_ns,
                  (int64_t)sb->filesystem_only, (int64_t)sb->unresponsive,
                  (int64_t)sb->create_timeout_s, sb->key_id, sb->run_began_ns);
}

static int put(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    if (FAULT_POINT("store.sandbox_put"))
        return db_full(err);
    int begins = begins_to_run(db, sb, err);
    if (begins < 0)
        return begins;
    int rc = check_build(db, sb, err);
    if (rc == 0)
        rc = put_layer(db, sb, err);
    if (rc == 0)
        rc = put_row(db, sb, err);
    if (rc == 0 && sb->create_key)
        rc = create_key_put(db, sb->create_key, sb->id, err);
    if (rc || !begins)
        return rc;
    return db_run(db, err,
                  "UPDATE templates SET spawn_count = spawn_count + 1, last_spawned_ns = ?"
                  " WHERE id = ?",
                  "is", sb->started_ns, sb->template_id);
}

int db_sandbox_put(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, put(db, sb, err), err);
}

int db_sandbox_set_end(struct db *db, const char *id, int64_t end_ns, struct err *err)
{
    return db_run(db, err, "UPDATE sandboxes SET end_ns = ? WHERE id = ?", "is", end_ns, id);
}

static int read_sandbox(sqlite3_stmt *st, struct store_sandbox *sb, struct err *err)
{
    const void *secret = sqlite3_column_blob(st, 18);
    *sb = (struct store_sandbox){ 0 };
    if (!db_column_text(st, 0, sb->id, sizeof(sb->id)) ||
        !db_column_text(st, 1, sb->team_id, sizeof(sb->team_id)) ||
        !db_column_text(st, 2, sb->template_id, sizeof(sb->template_id)) ||
        !db_column_text(st, 3, sb->build_id, sizeof(sb->build_id)) ||
        !db_column_text(st, 4, sb->alias, sizeof(sb->alias)) ||
        !db_column_text(st, 5, sb->envd_version, sizeof(sb->envd_version)) ||
        !db_column_text(st, 6, sb->state, sizeof(sb->state)) ||
        !db_column_text(st, 20, sb->run_dir, sizeof(sb->run_dir)) ||
        !db_column_text(st, 22, sb->layer_id, sizeof(sb->layer_id)) ||
        !db_column_text(st, 23, sb->base_build_id, sizeof(sb->base_build_id)) ||
        !db_column_text(st, 24, sb->snapshot_id, sizeof(sb->snapshot_id)) ||
        !db_column_text(st, 29, sb->key_id, sizeof(sb->key_id)) ||
        !db_column_text(st, 31, sb->layer_parent_id, sizeof(sb->layer_parent_id)) || !secret ||
        sqlite3_column_bytes(st, 18) != SANDBOX_SECRET_SIZE)
        return db_damaged("sandboxes", err);
    sb->started_ns = sqlite3_column_int64(st, 7);
    sb->end_ns = sqlite3_column_int64(st, 8);
    sb->vcpus = (unsigned)sqlite3_column_int(st, 9);
    sb->memory_mb = (unsigned)sqlite3_column_int(st, 10);
    sb->disk_mb = (uint64_t)sqlite3_column_int64(st, 11);
    sb->secure = sqlite3_column_int(st, 12) != 0;
    sb->private_traffic = sqlite3_column_int(st, 13) != 0;
    sb->metadata = db_text(st, 14);
    sb->config = db_text(st, 15);
    sb->vmm_pid = (pid_t)sqlite3_column_int(st, 16);
    sb->vmm_start_ticks = (uint64_t)sqlite3_column_int64(st, 17);
    memcpy(sb->link_secret, secret, SANDBOX_SECRET_SIZE);
    sb->uid = (uid_t)sqlite3_column_int64(st, 19);
    sb->envs = db_text(st, 21);
    sb->paused_ns = sqlite3_column_int64(st, 25);
    sb->filesystem_only = sqlite3_column_int(st, 26) != 0;
    sb->unresponsive = sqlite3_column_int(st, 27) != 0;
    sb->create_timeout_s = (unsigned)sqlite3_column_int64(st, 28);
    sb->run_began_ns = sqlite3_column_int64(st, 30);
    return 0;
}

int db_sandbox_load(struct db *db, void (*each)(void *user, const struct store_sandbox *sb),
                    void *user, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT " SANDBOX_COLUMNS
                      ", (SELECT parent_id FROM layers WHERE layers.id = layer_id)"
                      " FROM sandboxes ORDER BY started_ns, id",
                      "");
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_sandbox sb;
        rc = read_sandbox(st, &sb, err);
        if (rc == 0)
            each(user, &sb);
    }
    return rc;
}
