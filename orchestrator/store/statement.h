/* What the tables' files share: statements, transactions, errors. For this folder only. */
#ifndef ORCHESTRATOR_STORE_STATEMENT_H
#define ORCHESTRATOR_STORE_STATEMENT_H

#include "orchestrator/store/db.h"

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct db {
    sqlite3 *sqlite;
};

static inline void stmt_cleanup(sqlite3_stmt **st)
{
    sqlite3_finalize(*st);
}
#define AUTO_STMT __attribute__((cleanup(stmt_cleanup)))

/* Turn an SQLite result into -errno with a sentence. */
int db_error(struct db *db, int sqlite_rc, struct err *err);

/* Prepare one statement and bind its parameters in order, one letter each in `types`: s text
 * (const char *, NULL is NULL), i int64_t, b blob (const void *, size_t; NULL is NULL). Text and
 * blobs are borrowed until the statement ends. */
int db_query(struct db *db, sqlite3_stmt **st, struct err *err, const char *sql, const char *types,
             ...);

/* The next row: 1, 0 at the end, or -errno. */
int db_step(struct db *db, sqlite3_stmt *st, struct err *err);

/* db_query for a statement without rows. */
int db_run(struct db *db, struct err *err, const char *sql, const char *types, ...);

/* Several statements without parameters. */
int db_script(struct db *db, const char *sql, struct err *err);

/* A write transaction: int rc = db_begin(db, err); if (rc == 0) rc = db_end(db, body(), err);
 * db_end commits when its argument is 0, else rolls back and returns it. */
int db_begin(struct db *db, struct err *err);
int db_end(struct db *db, int rc, struct err *err);

/* Copy a text column into dst. false when it is longer. NULL gives an empty text. */
bool db_column_text(sqlite3_stmt *st, int column, char *dst, size_t size);

/* The text of a column, borrowed until the statement's next step. */
static inline const char *db_text(sqlite3_stmt *st, int column)
{
    return (const char *)sqlite3_column_text(st, column);
}

/* The number in the first column of the first row, 0 when there is none. Parameters as for
 * db_query(). */
int db_number(struct db *db, int64_t *out, struct err *err, const char *sql, const char *types,
              ...);

/* NULL for an empty text: what a reference to nothing is in the tables. */
static inline const char *db_reference(const char *id)
{
    return id[0] ? id : NULL;
}

/* The error of a row that does not hold what we write. */
int db_damaged(const char *table, struct err *err);

/* The error of a write that found no room. */
int db_full(struct err *err);

#endif
