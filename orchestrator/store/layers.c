#include "orchestrator/store/layers.h"

#include "common/base/clock.h"
#include "orchestrator/store/layers_internal.h"
#include "orchestrator/store/statement.h"

#include <errno.h>

/* The chain of ?1 from the newest to the oldest, and one more than is allowed at most: so a chain
 * that is too long, or a ring, ends and is seen. */
#define CHAIN                                                                                      \
    "WITH RECURSIVE chain(id, parent_id, depth) AS ("                                              \
    " SELECT id, parent_id, 1 FROM layers WHERE id = ?1 UNION ALL"                                 \
    " SELECT l.id, l.parent_id, depth + 1 FROM layers l JOIN chain ON l.id = chain.parent_id"      \
    " WHERE depth <= ?2) "

static int not_on_record(const char *id, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, ENOENT, "the disk layer %s is not on record", id);
}

int layer_add(struct db *db, const char *id, const char *parent, struct err *err)
{
    if (!parent)
        parent = "";
    int64_t below = 0;
    int rc = db_number(db, &below, err, CHAIN "SELECT count(*) FROM chain", "si", parent,
                       (int64_t)STORE_LAYERS_MAX);
    if (rc)
        return rc;
    if (parent[0] && below == 0)
        return not_on_record(parent, err);
    if (below >= STORE_LAYERS_MAX)
        return err_set(err, ERR_EXHAUSTED, EMLINK, "a disk has at most %d layers",
                       STORE_LAYERS_MAX);
    return db_run(db, err, "INSERT INTO layers (id, parent_id, created_ns) VALUES (?, ?, ?)", "ssi",
                  id, db_reference(parent), clock_wall_ns());
}

int db_layer_add(struct db *db, const char *id, const char *parent, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, layer_add(db, id, parent, err), err);
}

static int set_parent(struct db *db, const char *id, const char *parent, struct err *err)
{
    int64_t known = 0, above = 0;
    int rc = db_number(db, &known, err, "SELECT count(*) FROM layers WHERE id = ?", "s", id);
    if (rc == 0 && !known)
        return not_on_record(id, err);
    if (rc == 0 && parent[0])
        rc = db_number(db, &above, err,
                       CHAIN "SELECT count(*) FROM chain WHERE id = ?3 AND id <> ?1", "sis", id,
                       (int64_t)STORE_LAYERS_MAX, parent);
    if (rc)
        return rc;
    if (parent[0] && !above)
        return err_set(err, ERR_INVALID, EINVAL, "the disk layer %s does not stand on %s", id,
                       parent);
    return db_run(db, err, "UPDATE layers SET parent_id = ? WHERE id = ?", "ss",
                  db_reference(parent), id);
}

int db_layer_set_parent(struct db *db, const char *id, const char *parent, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, set_parent(db, id, parent ? parent : "", err), err);
}

int db_layer_chain(struct db *db, const char *id, char ids[static STORE_LAYERS_MAX][ID_UUID_SIZE],
                   size_t *n, struct err *err)
{
    *n = 0;
    if (!id[0])
        return 0;
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, CHAIN "SELECT id FROM chain ORDER BY depth DESC", "si", id,
                      (int64_t)STORE_LAYERS_MAX);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more < 0)
            return more;
        if (!more)
            break;
        if (*n == STORE_LAYERS_MAX || !db_column_text(st, 0, ids[*n], ID_UUID_SIZE))
            return db_damaged("layers", err);
        ++*n;
    }
    if (rc == 0 && *n == 0)
        rc = not_on_record(id, err);
    return rc;
}

/* The newest layer before the row `before` that nothing stands on: 1, 0 none, or -errno. */
static int find_unused(struct db *db, int64_t before, int64_t *row, char id[static ID_UUID_SIZE],
                       struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT rowid, id FROM layers l WHERE rowid < ?"
                      " AND NOT EXISTS (SELECT 1 FROM sandboxes WHERE layer_id = l.id)"
                      " AND NOT EXISTS (SELECT 1 FROM builds WHERE layer_id = l.id)"
                      " AND NOT EXISTS (SELECT 1 FROM layers WHERE parent_id = l.id)"
                      " ORDER BY rowid DESC LIMIT 1",
                      "i", before);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc <= 0)
        return rc;
    *row = sqlite3_column_int64(st, 0);
    return db_column_text(st, 1, id, ID_UUID_SIZE) ? 1 : db_damaged("layers", err);
}

int db_layer_collect(struct db *db, bool (*remove)(void *user, const char *id), void *user,
                     struct err *err)
{
    /* From the newest: what a layer stands on is older, so it is met after the layer is gone. */
    int64_t row = INT64_MAX;
    for (;;) {
        char id[ID_UUID_SIZE];
        int rc = find_unused(db, row, &row, id, err);
        if (rc <= 0)
            return rc;
        if (!remove(user, id))
            continue;
        rc = db_run(db, err, "DELETE FROM layers WHERE id = ?", "s", id);
        if (rc < 0)
            return rc;
    }
}
