#include "orchestrator/store/snapshots.h"

#include "orchestrator/store/builds.h"
#include "orchestrator/store/keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Fill in the names; the slug is the team's, `name` may be empty. */
static int set_names(struct store_snapshot *s, const char *slug, const char *name, struct err *err)
{
    s->name[0] = '\0';
    int n = name[0] ? snprintf(s->name, sizeof(s->name), "%s/%s", slug, name) : 0;
    if (n < (int)sizeof(s->name))
        n = snprintf(s->id, sizeof(s->id), "%s:%s", name[0] ? s->name : s->template_id, s->tag);
    if (n >= (int)sizeof(s->id))
        return err_set(err, ERR_INVALID, EINVAL,
                       "the name of a snapshot is too long: with the team's and the tag it has at"
                       " most %d characters",
                       TEMPLATE_REF_MAX);
    return 0;
}

/* Clients tell builds from tags by their form. */
static bool is_uuid(const char *text)
{
    for (size_t i = 0; i < ID_UUID_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !text[i] || !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return text[ID_UUID_SIZE - 1] == '\0';
}

static int check_name(const char *text, const struct store_team *team, struct template_ref *ref,
                      struct err *err)
{
    int rc = template_ref_parse(text, ref, err);
    if (rc)
        return rc;
    if (ref->space[0] && strcmp(ref->space, team->slug) != 0)
        return err_set(err, ERR_INVALID, EINVAL,
                       "the name of a snapshot is in the namespace '%s' of its team, not in '%s'",
                       team->slug, ref->space);
    if (is_uuid(ref->tag))
        return err_set(err, ERR_INVALID, EINVAL, "a tag cannot be a UUID: '%s'", ref->tag);
    return 0;
}

/* The team's snapshot template of that name, made when there is none. */
static int take_template(struct db *db, const char *team_id, const char *name,
                         char id[static ID_TEMPLATE_SIZE], struct err *err)
{
    struct store_template t;
    int rc = name[0] ? template_find_named(db, team_id, name, &t, err) : 0;
    if (rc < 0)
        return rc;
    if (rc == 0)
        return template_make(db, team_id, name[0] ? name : NULL, "snapshot", id, err);
    if (!t.is_snapshot)
        return err_set(err, ERR_EXISTS, EEXIST,
                       "'%s' is the name of a template: choose another one for the snapshot", name);
    memcpy(id, t.id, ID_TEMPLATE_SIZE);
    return 0;
}

static int publish(struct db *db, const char *team_id, const char *text, struct store_build *b,
                   struct store_snapshot *out, struct err *err)
{
    struct store_team team;
    struct template_ref ref = { 0 };
    int64_t images = 0;
    *out = (struct store_snapshot){ 0 };
    int rc = db_team_find(db, team_id, &team, err);
    if (rc == 0 && text)
        rc = check_name(text, &team, &ref, err);
    if (rc == 0)
        rc = db_number(db, &images, err,
                       "SELECT count(*) FROM builds WHERE id = ? AND kind = 'image'", "s",
                       b->base_build_id);
    if (rc == 0 && !images)
        rc = err_set(err, ERR_NOT_FOUND, ENOENT, "the image under the snapshot is not on record");
    if (rc == 0)
        rc = take_template(db, team.id, ref.name, out->template_id, err);
    if (rc)
        return rc;
    snprintf(out->tag, sizeof(out->tag), "%s", template_ref_tag(&ref));
    rc = set_names(out, team.slug, ref.name, err);
    if (rc)
        return rc;
    snprintf(b->kind, sizeof(b->kind), "snapshot");
    if (!b->memory_base[0])
        snprintf(b->memory_base, sizeof(b->memory_base), "build");
    rc = build_publish(db, out->template_id, out->tag, b, err);
    memcpy(out->build_id, b->id, sizeof(out->build_id));
    memcpy(out->source_sandbox_id, b->source_sandbox_id, sizeof(out->source_sandbox_id));
    out->created_ns = b->created_ns;
    return rc;
}

int db_snapshot_publish(struct db *db, const char *team_id, const char *name, struct store_build *b,
                        struct store_snapshot *out, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, publish(db, team_id, name, b, out, err), err);
}

static int read_snapshot(sqlite3_stmt *st, struct store_snapshot *s, struct err *err)
{
    char slug[TEAM_SLUG_SIZE], name[TEMPLATE_NAME_SIZE];
    if (!db_column_text(st, 0, s->template_id, sizeof(s->template_id)) ||
        !db_column_text(st, 1, s->tag, sizeof(s->tag)) ||
        !db_column_text(st, 2, slug, sizeof(slug)) || !db_column_text(st, 3, name, sizeof(name)) ||
        !db_column_text(st, 4, s->build_id, sizeof(s->build_id)) ||
        !db_column_text(st, 5, s->source_sandbox_id, sizeof(s->source_sandbox_id)))
        return db_damaged("builds", err);
    s->created_ns = sqlite3_column_int64(st, 6);
    return set_names(s, slug, name, err);
}

int db_snapshot_list(struct db *db, const char *team_id, const struct snapshot_filter *filter,
                     void (*each)(void *user, const struct store_snapshot *snapshot), void *user,
                     struct err *err)
{
    struct template_ref ref = { 0 };
    int rc = filter->name ? template_ref_parse(filter->name, &ref, err) : 0;
    if (rc)
        return rc;
    AUTO_STMT sqlite3_stmt *st = NULL;
    rc = db_query(db, &st, err,
                  "SELECT t.id, g.tag, o.slug, n.name, b.id, b.source_sandbox_id, b.created_ns"
                  " FROM template_tags g JOIN builds b ON b.id = g.build_id"
                  " JOIN templates t ON t.id = g.template_id JOIN teams o ON o.id = t.team_id"
                  " LEFT JOIN template_names n ON n.template_id = t.id"
                  " WHERE t.kind = 'snapshot' AND t.team_id = ?1"
                  " AND (?2 IS NULL OR b.source_sandbox_id = ?2)"
                  " AND (?3 IS NULL OR o.slug = ?3) AND (?4 IS NULL OR ?4 IN (t.id, n.name))"
                  " AND (?5 IS NULL OR g.tag = ?5)"
                  " AND (?7 IS NULL OR (b.created_ns, t.id, g.tag) < (?6, ?7, ?8))"
                  " ORDER BY b.created_ns DESC, t.id DESC, g.tag DESC LIMIT ?9",
                  "sssssissi", team_id, filter->sandbox_id, db_reference(ref.space),
                  db_reference(ref.name), ref.tagged ? template_ref_tag(&ref) : NULL,
                  filter->after_ns, filter->after_template, filter->after_tag,
                  filter->limit ? (int64_t)filter->limit : (int64_t)-1);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_snapshot s;
        rc = read_snapshot(st, &s, err);
        if (rc == 0)
            each(user, &s);
    }
    return rc;
}

int db_team_kept(struct db *db, const char *team_id, int64_t *n, struct err *err)
{
    return db_number(db, n, err,
                     "SELECT (SELECT count(*) FROM sandboxes"
                     "        WHERE team_id = ?1 AND state IN ('pausing', 'paused', 'resuming'))"
                     " + (SELECT count(*) FROM builds b JOIN templates t ON t.id = b.template_id"
                     "    WHERE t.team_id = ?1 AND t.kind = 'snapshot')",
                     "s", team_id);
}
