#include "orchestrator/store/templates.h"

#include "orchestrator/store/builds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEMPLATE_SELECT                                                                            \
    "SELECT t.id, t.team_id, teams.slug,"                                                          \
    " (SELECT n.name FROM template_names n WHERE n.template_id = t.id ORDER BY n.rowid LIMIT 1),"  \
    " t.public, t.created_ns, t.updated_ns, t.last_spawned_ns, t.spawn_count,"                     \
    " (SELECT count(*) FROM builds b WHERE b.template_id = t.id), t.kind = 'snapshot'"             \
    " FROM templates t LEFT JOIN teams ON teams.id = t.team_id "

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
    out->is_snapshot = sqlite3_column_int(st, 10) != 0;
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

int template_find_named(struct db *db, const char *owner, const char *name,
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
    int rc = template_find_named(db, team_id, ref->name, out, err);
    if (rc == 0)
        rc = template_find_named(db, "", ref->name, out, err);
    if (rc == 0)
        rc = find_one(db, out, err, TEMPLATE_SELECT "WHERE t.id = ?", ref->name, NULL);
    return rc;
}

int template_find(struct db *db, const char *team_id, const char *text,
                  const struct template_ref *ref, struct store_template *out, struct err *err)
{
    int rc = find_ref(db, team_id, ref, out, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "template '%.200s' not found", text);
    if (!out->is_public && (!team_id || strcmp(out->team_id, team_id) != 0))
        return err_set(err, ERR_DENIED, EACCES, "you don't have access to template '%.200s'", text);
    return 0;
}

int db_template_find(struct db *db, const char *team_id, const char *text,
                     struct store_template *out, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(text, &ref, err);
    return rc ? rc : template_find(db, team_id, text, &ref, out, err);
}

int db_template_resolve(struct db *db, const char *team_id, const char *text,
                        struct store_template *out, struct store_build *build, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(text, &ref, err);
    if (rc == 0)
        rc = template_find(db, team_id, text, &ref, out, err);
    if (rc)
        return rc;
    rc = build_find(db, out->id, template_ref_tag(&ref), build, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "tag '%s' does not exist for template '%.120s'",
                       template_ref_tag(&ref), ref.name);
    if (rc < 0)
        return rc;
    memcpy(build->alias, out->name, sizeof(build->alias));
    return build_load_layers(db, build, err);
}

static int publish(struct db *db, const char *team_id, const char *name, struct store_build *build,
                   struct store_template *out, struct err *err)
{
    const char *owner = team_id ? team_id : "";
    char id[ID_TEMPLATE_SIZE];
    int rc = template_find_named(db, owner, name, out, err);
    if (rc < 0)
        return rc;
    if (rc == 1 && out->is_snapshot)
        return err_set(err, ERR_EXISTS, EEXIST, "'%s' is the name of a snapshot", name);
    if (rc == 1)
        memcpy(id, out->id, sizeof(id));
    rc = rc == 1 ? 0 : template_make(db, team_id, name, "image", id, err);
    if (rc)
        return rc;
    snprintf(build->kind, sizeof(build->kind), "image");
    snprintf(build->memory_base, sizeof(build->memory_base), "zeros");
    build->base_build_id[0] = build->layer_id[0] = '\0';
    build->nlayers = 0;
    rc = build_publish(db, id, "default", build, err);
    memcpy(build->base_build_id, build->id, sizeof(build->base_build_id));
    memcpy(build->base_dir, build->dir, sizeof(build->base_dir));
    if (rc == 0)
        rc = template_find_named(db, owner, name, out, err);
    return rc < 0 ? rc : 0;
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

int db_template_list(struct db *db, const char *team_id,
                     void (*each)(void *user, const struct store_template *t,
                                  const struct store_build *build),
                     void *user, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      TEMPLATE_SELECT "WHERE t.kind = 'image' AND"
                                      " (?1 IS NULL OR t.team_id IS NULL OR t.team_id = ?1)"
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
        int found = build_find(db, t.id, "default", &build, err);
        if (found < 0)
            return found;
        each(user, &t, found ? &build : NULL);
    }
    return rc;
}
