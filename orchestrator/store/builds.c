#include "orchestrator/store/builds.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdio.h>

#define BUILD_SELECT                                                                               \
    "SELECT b.id, b.template_id, b.status, b.dir, b.vcpus, b.memory_mb, b.disk_mb,"                \
    " b.envd_version, b.created_ns, b.finished_ns, b.kind, base.id, base.dir, b.layer_id,"         \
    " b.source_sandbox_id, b.filesystem_only, b.memory_base, b.created_by"                         \
    " FROM builds b JOIN builds base ON base.id = coalesce(b.base_build_id, b.id) "

static int read_build(sqlite3_stmt *st, struct store_build *out, struct err *err)
{
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->template_id, sizeof(out->template_id)) ||
        !db_column_text(st, 2, out->status, sizeof(out->status)) ||
        !db_column_text(st, 3, out->dir, sizeof(out->dir)) ||
        !db_column_text(st, 7, out->envd_version, sizeof(out->envd_version)) ||
        !db_column_text(st, 10, out->kind, sizeof(out->kind)) ||
        !db_column_text(st, 11, out->base_build_id, sizeof(out->base_build_id)) ||
        !db_column_text(st, 12, out->base_dir, sizeof(out->base_dir)) ||
        !db_column_text(st, 13, out->layer_id, sizeof(out->layer_id)) ||
        !db_column_text(st, 14, out->source_sandbox_id, sizeof(out->source_sandbox_id)) ||
        !db_column_text(st, 16, out->memory_base, sizeof(out->memory_base)) ||
        !db_column_text(st, 17, out->created_by, sizeof(out->created_by)))
        return db_damaged("builds", err);
    out->alias[0] = '\0';
    out->vcpus = (unsigned)sqlite3_column_int(st, 4);
    out->memory_mb = (unsigned)sqlite3_column_int(st, 5);
    out->disk_mb = (uint64_t)sqlite3_column_int64(st, 6);
    out->created_ns = sqlite3_column_int64(st, 8);
    out->finished_ns = sqlite3_column_int64(st, 9);
    out->filesystem_only = sqlite3_column_int(st, 15) != 0;
    out->nlayers = 0;
    return 0;
}

int build_find(struct db *db, const char *template_id, const char *tag, struct store_build *out,
               struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      BUILD_SELECT "JOIN template_tags g ON g.build_id = b.id"
                                   " WHERE g.template_id = ? AND g.tag = ?",
                      "ss", template_id, tag);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc != 1)
        return rc;
    rc = read_build(st, out, err);
    return rc ? rc : 1;
}

int build_load_layers(struct db *db, struct store_build *b, struct err *err)
{
    return db_layer_chain(db, b->layer_id, b->layers, &b->nlayers, err);
}

int db_build_find(struct db *db, const char *id, struct store_build *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, BUILD_SELECT "WHERE b.id = ?", "s", id);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "build %s is not on record", id);
    rc = rc < 0 ? rc : read_build(st, out, err);
    return rc ? rc : build_load_layers(db, out, err);
}

int build_publish(struct db *db, const char *template_id, const char *tag, struct store_build *b,
                  struct err *err)
{
    int64_t now = clock_wall_ns();
    if (!b->id[0])
        id_uuid(b->id);
    snprintf(b->template_id, sizeof(b->template_id), "%s", template_id);
    snprintf(b->status, sizeof(b->status), "ready");
    b->finished_ns = now;
    if (!b->created_ns)
        b->created_ns = now;
    int rc =
        db_run(db, err,
               "INSERT INTO builds (id, template_id, status, dir, vcpus, memory_mb, disk_mb,"
               " envd_version, created_ns, finished_ns, kind, base_build_id, layer_id,"
               " source_sandbox_id, filesystem_only, memory_base, created_by)"
               " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
               "ssssiiisiissssiss", b->id, b->template_id, b->status, b->dir, (int64_t)b->vcpus,
               (int64_t)b->memory_mb, (int64_t)b->disk_mb, b->envd_version, b->created_ns,
               b->finished_ns, b->kind, db_reference(b->base_build_id), db_reference(b->layer_id),
               b->source_sandbox_id, (int64_t)b->filesystem_only, b->memory_base, b->created_by);
    if (rc == 0)
        rc = db_run(db, err, "REPLACE INTO template_tags VALUES (?, ?, ?, ?)", "sssi", template_id,
                    tag, b->id, now);
    if (rc == 0)
        rc = db_run(db, err, "UPDATE templates SET updated_ns = ? WHERE id = ?", "is", now,
                    template_id);
    return rc;
}

int template_make(struct db *db, const char *team_id, const char *name, const char *kind,
                  char id[static ID_TEMPLATE_SIZE], struct err *err)
{
    int64_t now = clock_wall_ns();
    id_template(id);
    int rc = db_run(db, err,
                    "INSERT INTO templates (id, team_id, public, created_ns, updated_ns, kind)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    "ssiiis", id, team_id, (int64_t)(team_id == NULL), now, now, kind);
    if (rc || !name)
        return rc;
    return db_run(db, err, "INSERT INTO template_names (owner, name, template_id) VALUES (?, ?, ?)",
                  "sss", team_id ? team_id : "", name, id);
}

/* The oldest build after `after_ns` that nothing needs: 1, 0 when there is none, or -errno. */
static int find_unused(struct db *db, const char *template_id, int64_t after_ns, int64_t before_ns,
                       struct store_build *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT id, dir, finished_ns FROM builds b"
                      " WHERE (?1 IS NULL OR template_id = ?1)"
                      " AND finished_ns > ?2 AND finished_ns < ?3"
                      " AND NOT EXISTS (SELECT 1 FROM template_tags WHERE build_id = b.id)"
                      " AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE build_id = b.id)"
                      " AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE base_build_id = b.id)"
                      " AND NOT EXISTS (SELECT 1 FROM builds WHERE base_build_id = b.id)"
                      " ORDER BY finished_ns LIMIT 1",
                      "sii", template_id, after_ns, before_ns);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc <= 0)
        return rc;
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->dir, sizeof(out->dir)))
        return db_damaged("builds", err);
    out->finished_ns = sqlite3_column_int64(st, 2);
    return 1;
}

/* One step of pruning, as find_unused() returns. */
static int prune_one(struct db *db, const char *template_id, struct store_build *last,
                     int64_t before_ns, bool (*remove)(void *user, const char *dir), void *user,
                     struct err *err)
{
    int rc = find_unused(db, template_id, last->finished_ns, before_ns, last, err);
    if (rc <= 0 || !remove(user, last->dir))
        return rc;
    rc = db_run(db, err, "DELETE FROM builds WHERE id = ?", "s", last->id);
    return rc ? rc : 1;
}

int db_template_prune(struct db *db, const char *template_id, int64_t before_ns,
                      bool (*remove)(void *user, const char *dir), void *user, struct err *err)
{
    struct store_build last = { .finished_ns = 0 };
    for (;;) {
        /* Nobody can write that he needs the build between the look and the removal. */
        int rc = db_begin(db, err);
        if (rc < 0)
            return rc;
        int found = prune_one(db, template_id, &last, before_ns, remove, user, err);
        rc = db_end(db, found < 0 ? found : 0, err);
        if (rc < 0)
            return rc;
        if (!found)
            break;
    }
    return db_run(db, err,
                  "DELETE FROM templates WHERE kind = 'snapshot' AND (?1 IS NULL OR id = ?1)"
                  " AND NOT EXISTS (SELECT 1 FROM builds WHERE template_id = templates.id)",
                  "s", template_id);
}
