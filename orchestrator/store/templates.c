#include "orchestrator/store/templates.h"

#include "common/base/clock.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <stdio.h>

#define TEMPLATE_SELECT                                                                            \
    "SELECT t.id, t.team_id, teams.slug,"                                                          \
    " (SELECT n.name FROM template_names n WHERE n.template_id = t.id ORDER BY n.rowid LIMIT 1),"  \
    " t.public, t.created_ns, t.updated_ns, t.last_spawned_ns, t.spawn_count,"                     \
    " (SELECT count(*) FROM builds b WHERE b.template_id = t.id)"                                  \
    " FROM templates t LEFT JOIN teams ON teams.id = t.team_id "

static bool is_name_char(char c, bool tag)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           (tag && c == '.');
}

/* Copy a part in lower case; false when it is empty, too long or has another character. */
static bool copy_part(struct str s, bool tag, char dst[static TEMPLATE_NAME_SIZE])
{
    if (s.n == 0 || s.n >= TEMPLATE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!is_name_char(c, tag))
            return false;
        dst[i] = c;
    }
    dst[s.n] = '\0';
    return true;
}

int template_ref_parse(const char *text, struct template_ref *out, struct err *err)
{
    *out = (struct template_ref){ 0 };
    struct str rest = str_trim(str_of(text));
    bool ok = rest.n <= TEMPLATE_REF_MAX;
    ptrdiff_t colon = str_find(rest, ':');
    if (ok && colon >= 0) {
        ok = copy_part(str_from(rest, (size_t)colon + 1), true, out->tag);
        rest.n = (size_t)colon;
        if (strcmp(out->tag, "default") == 0)
            out->tag[0] = '\0';
    }
    ptrdiff_t slash = str_find(rest, '/');
    if (ok && slash >= 0) {
        ok = copy_part((struct str){ rest.p, (size_t)slash }, false, out->space);
        rest = str_from(rest, (size_t)slash + 1);
    }
    if (!ok || !copy_part(rest, false, out->name))
        return err_set(
            err, ERR_INVALID, EINVAL,
            "invalid template reference '%.128s': use [namespace/]name[:tag] with letters,"
            " digits, '-' and '_'",
            text);
    return 0;
}

static int read_template(sqlite3_stmt *st, struct store_template *out, struct err *err)
{
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->team_id, sizeof(out->team_id)) ||
        !db_column_text(st, 2, out->team_slug, sizeof(out->team_slug)) ||
        !db_column_text(st, 3, out->name, sizeof(out->name)))
        return db_damaged("templates", err);
    out->is_public = sqlite3_column_int(st, 4) != 0;
    out->created_ns = sqlite3_column_int64(st, 5);
    out->updated_ns = sqlite3_column_int64(st, 6);
    out->last_spawned_ns = sqlite3_column_int64(st, 7);
    out->spawn_count = sqlite3_column_int64(st, 8);
    out->build_count = sqlite3_column_int64(st, 9);
    return 0;
}

/* One row of TEMPLATE_SELECT: 1 found, 0 none, or -errno. */
static int find_one(struct db *db, struct store_template *out, struct err *err, const char *sql,
                    const char *a, const char *b)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = b ? db_query(db, &st, err, sql, "ss", a, b) : db_query(db, &st, err, sql, "s", a);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc != 1)
        return rc;
    rc = read_template(st, out, err);
    return rc ? rc : 1;
}

/* `owner` is a team's id, or '' for the operator. */
static int find_named(struct db *db, const char *owner, const char *name,
                      struct store_template *out, struct err *err)
{
    return find_one(db, out, err,
                    TEMPLATE_SELECT "JOIN template_names n ON n.template_id = t.id"
                                    " WHERE n.owner = ? AND n.name = ?",
                    owner, name);
}

static int find_ref(struct db *db, const char *team_id, const struct template_ref *ref,
                    struct store_template *out, struct err *err)
{
    if (ref->space[0])
        return find_one(db, out, err,
                        TEMPLATE_SELECT "JOIN template_names n ON n.template_id = t.id"
                                        " JOIN teams o ON o.id = n.owner"
                                        " WHERE o.slug = ? AND n.name = ?",
                        ref->space, ref->name);
    int rc = find_named(db, team_id, ref->name, out, err);
    if (rc == 0)
        rc = find_named(db, "", ref->name, out, err);
    if (rc == 0)
        rc = find_one(db, out, err, TEMPLATE_SELECT "WHERE t.id = ?", ref->name, NULL);
    return rc;
}

static int find_checked(struct db *db, const char *team_id, const char *text,
                        const struct template_ref *ref, struct store_template *out, struct err *err)
{
    int rc = find_ref(db, team_id, ref, out, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "template '%.200s' not found", text);
    if (!out->is_public && strcmp(out->team_id, team_id) != 0)
        return err_set(err, ERR_DENIED, EACCES, "you don't have access to template '%.200s'", text);
    return 0;
}

int db_template_find(struct db *db, const char *team_id, const char *text,
                     struct store_template *out, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(text, &ref, err);
    return rc ? rc : find_checked(db, team_id, text, &ref, out, err);
}

#define BUILD_COLUMNS                                                                              \
    "b.id, b.template_id, b.status, b.dir, b.vcpus, b.memory_mb, b.disk_mb, b.envd_version,"       \
    " b.created_ns, b.finished_ns"

static int read_build(sqlite3_stmt *st, struct store_build *out, struct err *err)
{
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->template_id, sizeof(out->template_id)) ||
        !db_column_text(st, 2, out->status, sizeof(out->status)) ||
        !db_column_text(st, 3, out->dir, sizeof(out->dir)) ||
        !db_column_text(st, 7, out->envd_version, sizeof(out->envd_version)))
        return db_damaged("builds", err);
    out->alias[0] = '\0';
    out->vcpus = (unsigned)sqlite3_column_int(st, 4);
    out->memory_mb = (unsigned)sqlite3_column_int(st, 5);
    out->disk_mb = (uint64_t)sqlite3_column_int64(st, 6);
    out->created_ns = sqlite3_column_int64(st, 8);
    out->finished_ns = sqlite3_column_int64(st, 9);
    return 0;
}

/* The build a tag stands for: 1, 0 none, -errno. */
static int find_build(struct db *db, const char *template_id, const char *tag,
                      struct store_build *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT " BUILD_COLUMNS " FROM template_tags g JOIN builds b"
                      " ON b.id = g.build_id WHERE g.template_id = ? AND g.tag = ?",
                      "ss", template_id, tag[0] ? tag : "default");
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc != 1)
        return rc;
    rc = read_build(st, out, err);
    return rc ? rc : 1;
}

int db_template_resolve(struct db *db, const char *team_id, const char *text,
                        struct store_template *out, struct store_build *build, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(text, &ref, err);
    if (rc == 0)
        rc = find_checked(db, team_id, text, &ref, out, err);
    if (rc)
        return rc;
    rc = find_build(db, out->id, ref.tag, build, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "tag '%s' does not exist for template '%.120s'",
                       ref.tag[0] ? ref.tag : "default", ref.name);
    if (rc < 0)
        return rc;
    memcpy(build->alias, out->name, sizeof(build->alias));
    return 0;
}

static int make_template(struct db *db, const char *team_id, const char *name, int64_t now,
                         struct err *err)
{
    char id[ID_TEMPLATE_SIZE];
    id_template(id);
    int rc = db_run(db, err,
                    "INSERT INTO templates (id, team_id, public, created_ns, updated_ns)"
                    " VALUES (?, ?, ?, ?, ?)",
                    "ssiii", id, team_id, (int64_t)(team_id == NULL), now, now);
    if (rc)
        return rc;
    return db_run(db, err, "INSERT INTO template_names (owner, name, template_id) VALUES (?, ?, ?)",
                  "sss", team_id ? team_id : "", name, id);
}

static int publish(struct db *db, const char *team_id, const char *name, struct store_build *build,
                   struct store_template *out, struct err *err)
{
    const char *owner = team_id ? team_id : "";
    int64_t now = clock_wall_ns();
    int rc = find_named(db, owner, name, out, err);
    if (rc == 0) {
        rc = make_template(db, team_id, name, now, err);
        if (rc)
            return rc;
        rc = find_named(db, owner, name, out, err);
    }
    if (rc < 0)
        return rc;
    if (!build->id[0])
        id_uuid(build->id);
    memcpy(build->template_id, out->id, sizeof(build->template_id));
    snprintf(build->status, sizeof(build->status), "ready");
    build->finished_ns = now;
    if (!build->created_ns)
        build->created_ns = now;
    rc = db_run(db, err,
                "INSERT INTO builds (id, template_id, status, dir, vcpus, memory_mb, disk_mb,"
                " envd_version, created_ns, finished_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                "ssssiiisii", build->id, build->template_id, build->status, build->dir,
                (int64_t)build->vcpus, (int64_t)build->memory_mb, (int64_t)build->disk_mb,
                build->envd_version, build->created_ns, build->finished_ns);
    if (rc == 0)
        rc = db_run(db, err, "REPLACE INTO template_tags VALUES (?, 'default', ?, ?)", "ssi",
                    out->id, build->id, now);
    if (rc == 0)
        rc =
            db_run(db, err, "UPDATE templates SET updated_ns = ? WHERE id = ?", "is", now, out->id);
    out->updated_ns = now;
    out->build_count++;
    return rc;
}

int db_template_publish(struct db *db, const char *team_id, const char *name,
                        struct store_build *build, struct store_template *out, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(name, &ref, err);
    if (rc)
        return rc;
    if (ref.space[0] || ref.tag[0])
        return err_set(err, ERR_INVALID, EINVAL,
                       "'%.128s' is no name for a template: leave namespace and tag away", name);
    rc = db_begin(db, err);
    return rc ? rc : db_end(db, publish(db, team_id, ref.name, build, out, err), err);
}

/* The oldest build after `after_ns` that nothing needs: 1, 0 when there is none, or -errno. */
static int find_unused(struct db *db, const char *template_id, int64_t after_ns, int64_t before_ns,
                       struct store_build *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT id, dir, finished_ns FROM builds WHERE template_id = ?"
                      " AND finished_ns > ? AND finished_ns < ?"
                      " AND id NOT IN (SELECT build_id FROM template_tags)"
                      " AND id NOT IN (SELECT build_id FROM sandboxes)"
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

int db_template_prune(struct db *db, const char *template_id, int64_t before_ns,
                      bool (*remove)(void *user, const char *dir), void *user, struct err *err)
{
    struct store_build build = { .finished_ns = 0 };
    for (;;) {
        int rc = find_unused(db, template_id, build.finished_ns, before_ns, &build, err);
        if (rc <= 0)
            return rc;
        if (!remove(user, build.dir))
            continue;
        rc = db_run(db, err, "DELETE FROM builds WHERE id = ?", "s", build.id);
        if (rc < 0)
            return rc;
    }
}

int db_template_list(struct db *db, const char *team_id,
                     void (*each)(void *user, const struct store_template *t,
                                  const struct store_build *build),
                     void *user, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      TEMPLATE_SELECT "WHERE ?1 IS NULL OR t.team_id IS NULL OR t.team_id = ?1"
                                      " ORDER BY 4, t.id",
                      "s", team_id);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_template t;
        struct store_build build;
        rc = read_template(st, &t, err);
        if (rc)
            return rc;
        int found = find_build(db, t.id, "", &build, err);
        if (found < 0)
            return found;
        each(user, &t, found ? &build : NULL);
    }
    return rc;
}
