#include "orchestrator/store/settings.h"

#include "orchestrator/store/statement.h"

int db_setting_get(struct db *db, const char *key, char *out, size_t n, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, "SELECT value FROM settings WHERE key = ?", "s", key);
    if (rc == 0)
        rc = db_step(db, st, err);
    out[0] = '\0';
    if (rc <= 0)
        return rc;
    return db_column_text(st, 0, out, n) ? 0 : db_damaged("settings", err);
}

int db_setting_set(struct db *db, const char *key, const char *value, struct err *err)
{
    return db_run(db, err, "INSERT OR REPLACE INTO settings VALUES (?, ?)", "ss", key, value);
}
