#include "orchestrator/store/statement.h"

#include "common/base/fault.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

int db_full(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, ENOSPC,
                   "the disk of the data directory is full: the database cannot be written");
}

/* SQLITE_FULL comes from writing a page; the other files it makes and grows fail in other ways. */
static bool is_disk_full(struct db *db, int sqlite_rc)
{
    switch (sqlite_rc & 0xff) {
    case SQLITE_FULL:
        return true;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
        int system = db->sqlite ? sqlite3_system_errno(db->sqlite) : 0;
        return system == ENOSPC || system == EDQUOT;
    }
    default:
        return false;
    }
}

int db_error(struct db *db, int sqlite_rc, struct err *err)
{
    if (is_disk_full(db, sqlite_rc))
        return db_full(err);
    switch (sqlite_rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return err_set(err, ERR_UNAVAILABLE, EBUSY, "the database is locked by another program");
    case SQLITE_NOMEM:
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return err_set(err, ERR_DATA_LOSS, EIO, "the database is damaged: %s",
                       sqlite3_errmsg(db->sqlite));
    case SQLITE_CONSTRAINT:
        return err_set(err, ERR_EXISTS, EEXIST, "the database refused a change: %s",
                       sqlite3_errmsg(db->sqlite));
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return err_set(err, ERR_INTERNAL, EACCES, "cannot write the database: %s",
                       sqlite3_errmsg(db->sqlite));
    default:
        return err_set(err, ERR_INTERNAL, EIO, "database: %s", sqlite3_errmsg(db->sqlite));
    }
}

static int bind_all(sqlite3_stmt *st, const char *types, va_list ap)
{
    int rc = SQLITE_OK;
    for (int i = 1; *types && rc == SQLITE_OK; i++, types++) {
        switch (*types) {
        case 's':
            rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            break;
        case 'i':
            rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
            break;
        case 'b': {
            const void *data = va_arg(ap, const void *);
            rc = sqlite3_bind_blob64(st, i, data, va_arg(ap, size_t), SQLITE_STATIC);
            break;
        }
        default:
            assert(false && "a type letter of db_query");
        }
    }
    return rc;
}

static int query(struct db *db, sqlite3_stmt **st, struct err *err, const char *sql,
                 const char *types, va_list ap)
{
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, st, NULL);
    if (rc != SQLITE_OK)
        return db_error(db, rc, err);
    assert((size_t)sqlite3_bind_parameter_count(*st) == strlen(types));
    rc = bind_all(*st, types, ap);
    return rc == SQLITE_OK ? 0 : db_error(db, rc, err);
}

int db_query(struct db *db, sqlite3_stmt **st, struct err *err, const char *sql, const char *types,
             ...)
{
    va_list ap;
    va_start(ap, types);
    int rc = query(db, st, err, sql, types, ap);
    va_end(ap);
    return rc;
}

int db_step(struct db *db, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : db_error(db, rc, err);
}

int db_run(struct db *db, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    va_list ap;
    va_start(ap, types);
    int rc = query(db, &st, err, sql, types, ap);
    va_end(ap);
    return rc ? rc : db_step(db, st, err);
}

int db_number(struct db *db, int64_t *out, struct err *err, const char *sql, const char *types, ...)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    va_list ap;
    va_start(ap, types);
    int rc = query(db, &st, err, sql, types, ap);
    va_end(ap);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    *out = rc ? sqlite3_column_int64(st, 0) : 0;
    return 0;
}

int db_script(struct db *db, const char *sql, struct err *err)
{
    int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_error(db, rc, err);
}

int db_begin(struct db *db, struct err *err)
{
    /* IMMEDIATE: the wait for another writer happens here, where nothing was read yet. */
    return db_script(db, "BEGIN IMMEDIATE", err);
}

int db_end(struct db *db, int rc, struct err *err)
{
    if (rc == 0 && FAULT_POINT("store.commit"))
        rc = db_full(err);
    if (rc == 0) {
        rc = db_script(db, "COMMIT", err);
        if (rc == 0)
            return 0;
    }
    if (!sqlite3_get_autocommit(db->sqlite))
        sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

bool db_column_text(sqlite3_stmt *st, int column, char *dst, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(st, column);
    if (!text) {
        dst[0] = '\0';
        return true;
    }
    size_t n = strlen(text);
    if (n >= size)
        return false;
    memcpy(dst, text, n + 1);
    return true;
}

int db_damaged(const char *table, struct err *err)
{
    return err_set(err, ERR_DATA_LOSS, EIO, "a row of the table %s is damaged", table);
}
