#include "orchestrator/store/sandboxes.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <stdio.h>

#define SANDBOX_COLUMNS                                                                            \
    "id, team_id, template_id, build_id, alias, envd_version, state, started_ns, end_ns, vcpus,"   \
    " memory_mb, disk_mb, secure, private_traffic, metadata, config, vmm_pid, vmm_start_ticks,"    \
    " link_secret, uid, run_dir"

/* Whether this is the moment that counts for the template: 1, 0, or -errno. */
static int begins_to_run(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    if (strcmp(sb->state, "running") != 0)
        return 0;
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, "SELECT 1 FROM sandboxes WHERE id = ? AND state = 'running'",
                      "s", sb->id);
    if (rc == 0)
        rc = db_step(db, st, err);
    return rc < 0 ? rc : !rc;
}

static int put(struct db *db, const struct store_sandbox *sb, struct err *err)
{
    if (FAULT_POINT("store.sandbox_put"))
        return err_set(err, ERR_INTERNAL, ENOSPC, "no space left for the database");
    int begins = begins_to_run(db, sb, err);
    if (begins < 0)
        return begins;
    int rc =
        db_run(db, err,
               "REPLACE INTO sandboxes (" SANDBOX_COLUMNS
               ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
               "sssssssiiiiiiissiibis", sb->id, sb->team_id, sb->template_id, sb->build_id,
               sb->alias, sb->envd_version, sb->state, sb->started_ns, sb->end_ns,
               (int64_t)sb->vcpus, (int64_t)sb->memory_mb, (int64_t)sb->disk_mb,
               (int64_t)sb->secure, (int64_t)sb->private_traffic, sb->metadata, sb->config,
               (int64_t)sb->vmm_pid, (int64_t)sb->vmm_start_ticks, (const void *)sb->link_secret,
               sizeof(sb->link_secret), (int64_t)sb->uid, sb->run_dir);
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

static int end(struct db *db, const struct store_death *d, struct err *err)
{
    int rc = db_run(db, err, "DELETE FROM sandboxes WHERE id = ?", "s", d->sandbox_id);
    if (rc || sqlite3_changes(db->sqlite) == 0)
        return rc;
    size_t n = strlen(d->detail);
    const char *newest = n > DEATH_DETAIL_MAX ? d->detail + (n - DEATH_DETAIL_MAX) : d->detail;
    char reason[DEATH_REASON_MAX + 1];
    snprintf(reason, sizeof(reason), "%s", d->reason);
    rc = db_run(db, err,
                "INSERT INTO deaths (sandbox_id, team_id, ended_ns, reason, detail)"
                " VALUES (?, ?, ?, ?, ?)",
                "ssiss", d->sandbox_id, d->team_id, d->when_ns, reason, newest);
    if (rc)
        return rc;
    return db_run(db, err, "DELETE FROM deaths WHERE ended_ns < ?", "i",
                  d->when_ns - DEATH_KEPT_NS);
}

int db_sandbox_end(struct db *db, const struct store_death *death, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, end(db, death, err), err);
}

/* The text of a column, borrowed until the statement's next step. */
static const char *text_column(sqlite3_stmt *st, int column)
{
    return (const char *)sqlite3_column_text(st, column);
}

static int read_sandbox(sqlite3_stmt *st, struct store_sandbox *sb, struct err *err)
{
    const void *secret = sqlite3_column_blob(st, 18);
    if (!db_column_text(st, 0, sb->id, sizeof(sb->id)) ||
        !db_column_text(st, 1, sb->team_id, sizeof(sb->team_id)) ||
        !db_column_text(st, 2, sb->template_id, sizeof(sb->template_id)) ||
        !db_column_text(st, 3, sb->build_id, sizeof(sb->build_id)) ||
        !db_column_text(st, 4, sb->alias, sizeof(sb->alias)) ||
        !db_column_text(st, 5, sb->envd_version, sizeof(sb->envd_version)) ||
        !db_column_text(st, 6, sb->state, sizeof(sb->state)) ||
        !db_column_text(st, 20, sb->run_dir, sizeof(sb->run_dir)) || !secret ||
        sqlite3_column_bytes(st, 18) != SANDBOX_SECRET_SIZE)
        return db_damaged("sandboxes", err);
    sb->started_ns = sqlite3_column_int64(st, 7);
    sb->end_ns = sqlite3_column_int64(st, 8);
    sb->vcpus = (unsigned)sqlite3_column_int(st, 9);
    sb->memory_mb = (unsigned)sqlite3_column_int(st, 10);
    sb->disk_mb = (uint64_t)sqlite3_column_int64(st, 11);
    sb->secure = sqlite3_column_int(st, 12) != 0;
    sb->private_traffic = sqlite3_column_int(st, 13) != 0;
    sb->metadata = text_column(st, 14);
    sb->config = text_column(st, 15);
    sb->vmm_pid = (pid_t)sqlite3_column_int(st, 16);
    sb->vmm_start_ticks = (uint64_t)sqlite3_column_int64(st, 17);
    memcpy(sb->link_secret, secret, SANDBOX_SECRET_SIZE);
    sb->uid = (uid_t)sqlite3_column_int64(st, 19);
    return 0;
}

int db_sandbox_load(struct db *db, void (*each)(void *user, const struct store_sandbox *sb),
                    void *user, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT " SANDBOX_COLUMNS " FROM sandboxes ORDER BY started_ns, id", "");
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

int db_death_list(struct db *db, const char *sandbox_id,
                  void (*each)(void *user, const struct store_death *death), void *user,
                  struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT sandbox_id, team_id, ended_ns, reason, detail FROM deaths"
                      " WHERE ?1 IS NULL OR sandbox_id = ?1 ORDER BY ended_ns DESC, rowid DESC",
                      "s", sandbox_id);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_death death = { .sandbox_id = text_column(st, 0),
                                     .team_id = text_column(st, 1),
                                     .when_ns = sqlite3_column_int64(st, 2),
                                     .reason = text_column(st, 3),
                                     .detail = text_column(st, 4) };
        each(user, &death);
    }
    return rc;
}
