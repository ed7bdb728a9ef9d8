#include "orchestrator/store/create_keys_internal.h"
#include "orchestrator/store/statement.h"

#include <string.h>

int create_key_put(struct db *db, const struct store_create_key *key, const char *sandbox_id,
                   struct err *err)
{
    int rc = db_run(db, err,
                    "INSERT OR REPLACE INTO create_keys (team_id, key, request, sandbox_id,"
                    " created_ns) VALUES (?, ?, ?, ?, ?)",
                    "ssbsi", key->team_id, key->key, (const void *)key->request,
                    sizeof(key->request), sandbox_id, key->when_ns);
    if (rc == 0)
        rc = db_run(db, err, "DELETE FROM create_keys WHERE created_ns < ?", "i",
                    key->when_ns - CREATE_KEY_KEPT_NS);
    if (rc)
        return rc;
    return db_run(db, err, "DELETE FROM create_keys WHERE rowid <= ?", "i",
                  sqlite3_last_insert_rowid(db->sqlite) - CREATE_KEYS_KEPT);
}

int create_key_forget(struct db *db, const char *sandbox_id, struct err *err)
{
    return db_run(db, err, "DELETE FROM create_keys WHERE sandbox_id = ?", "s", sandbox_id);
}

static int read_key(sqlite3_stmt *st, struct store_create_key *key,
                    char sandbox_id[static ID_SANDBOX_SIZE], struct err *err)
{
    const void *request = sqlite3_column_blob(st, 2);
    if (!db_column_text(st, 0, key->team_id, sizeof(key->team_id)) ||
        !db_column_text(st, 1, key->key, sizeof(key->key)) ||
        !db_column_text(st, 3, sandbox_id, ID_SANDBOX_SIZE) || !request ||
        sqlite3_column_bytes(st, 2) != SHA256_SIZE)
        return db_damaged("create_keys", err);
    memcpy(key->request, request, SHA256_SIZE);
    key->when_ns = sqlite3_column_int64(st, 4);
    return 0;
}

int db_create_key_list(struct db *db, int64_t since_ns,
                       void (*each)(void *user, const struct store_create_key *key,
                                    const char *sandbox_id),
                       void *user, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT team_id, key, request, sandbox_id, created_ns FROM create_keys"
                      " WHERE created_ns >= ? ORDER BY created_ns, rowid",
                      "i", since_ns);
    while (rc == 0) {
        struct store_create_key key;
        char sandbox_id[ID_SANDBOX_SIZE];
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        rc = read_key(st, &key, sandbox_id, err);
        if (rc == 0)
            each(user, &key, sandbox_id);
    }
    return rc;
}
