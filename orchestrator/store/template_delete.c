#include "orchestrator/store/builds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Builds that go. */
struct gone {
    struct {
        char id[ID_UUID_SIZE];
        char *dir;
    } * builds;
    size_t n;
    int64_t sandboxes, snapshots; /* that stand in the way */
};

static int note(struct gone *g, sqlite3_stmt *st, struct err *err)
{
    void *builds = realloc(g->builds, (g->n + 1) * sizeof(g->builds[0]));
    if (!builds)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    g->builds = builds;
    if (!db_column_text(st, 0, g->builds[g->n].id, ID_UUID_SIZE))
        return db_damaged("builds", err);
    const char *dir = db_text(st, 1);
    g->builds[g->n].dir = strdup(dir ? dir : "");
    if (!g->builds[g->n].dir)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    g->n++;
    return 0;
}

/* Of the template's builds without a tag: `wanted` must go (NULL: all), others go when nothing
 * stands on them. */
static int choose(struct db *db, const char *template_id, const char *wanted, struct gone *g,
                  struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT b.id, b.dir, ?2 IS NULL OR b.id = ?2,"
                      " (SELECT count(*) FROM sandboxes"
                      "  WHERE build_id = b.id OR base_build_id = b.id),"
                      " (SELECT count(*) FROM builds WHERE base_build_id = b.id)"
                      " FROM builds b WHERE b.template_id = ?1"
                      " AND NOT EXISTS (SELECT 1 FROM template_tags WHERE build_id = b.id)",
                      "ss", template_id, wanted);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        int64_t sandboxes = sqlite3_column_int64(st, 3), snapshots = sqlite3_column_int64(st, 4);
        if (sandboxes == 0 && snapshots == 0) {
            rc = note(g, st, err);
        } else if (sqlite3_column_int(st, 2)) {
            g->sandboxes += sandboxes;
            g->snapshots += snapshots;
        }
    }
    return rc;
}

static int remove_tags(struct db *db, const char *template_id, const struct template_ref *ref,
                       struct store_build *tagged, struct err *err)
{
    if (!ref->tagged)
        return db_run(db, err, "DELETE FROM template_tags WHERE template_id = ?", "s", template_id);
    const char *tag = template_ref_tag(ref);
    int rc = build_find(db, template_id, tag, tagged, err);
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "tag '%s' does not exist for template '%.120s'",
                       tag, ref->name);
    return rc < 0 ? rc
                  : db_run(db, err, "DELETE FROM template_tags WHERE template_id = ? AND tag = ?",
                           "ss", template_id, tag);
}

static int delete_template(struct db *db, const char *team_id, const char *text, struct gone *g,
                           struct err *err)
{
    struct template_ref ref;
    struct store_template t;
    struct store_build tagged;
    int rc = template_ref_parse(text, &ref, err);
    if (rc == 0)
        rc = template_find(db, team_id, text, &ref, &t, err);
    if (rc)
        return rc;
    if (strcmp(t.team_id, team_id) != 0)
        return err_set(err, ERR_DENIED, EACCES, "template '%.200s' is not your team's", text);
    rc = remove_tags(db, t.id, &ref, &tagged, err);
    if (rc == 0)
        rc = choose(db, t.id, ref.tagged ? tagged.id : NULL, g, err);
    if (rc)
        return rc;
    if (g->sandboxes || g->snapshots)
        return err_set(err, ERR_INVALID, EBUSY,
                       "template '%.120s' cannot be deleted: %lld sandboxes, running or paused, and"
                       " %lld snapshots stand on it",
                       text, (long long)g->sandboxes, (long long)g->snapshots);
    for (size_t i = 0; rc == 0 && i < g->n; i++)
        rc = db_run(db, err, "DELETE FROM builds WHERE id = ?", "s", g->builds[i].id);
    if (rc == 0)
        rc = db_run(db, err,
                    "DELETE FROM templates WHERE id = ?1"
                    " AND NOT EXISTS (SELECT 1 FROM builds WHERE template_id = ?1)",
                    "s", t.id);
    return rc;
}

int db_template_delete(struct db *db, const char *team_id, const char *ref,
                       void (*removed)(void *user, const char *build_id, const char *dir),
                       void *user, struct err *err)
{
    struct gone g = { 0 };
    int rc = db_begin(db, err);
    if (rc == 0)
        rc = db_end(db, delete_template(db, team_id, ref, &g, err), err);
    for (size_t i = 0; i < g.n; i++) {
        if (rc == 0)
            removed(user, g.builds[i].id, g.builds[i].dir);
        free(g.builds[i].dir);
    }
    free(g.builds);
    return rc;
}
