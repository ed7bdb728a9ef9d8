/* The tables, as a list of steps from each version to the next. For this folder only. */
#ifndef ORCHESTRATOR_STORE_SCHEMA_H
#define ORCHESTRATOR_STORE_SCHEMA_H

#include "orchestrator/store/db.h"

struct schema {
    int version;              /* the newest */
    const char *const *steps; /* [n] leads from version n to version n + 1 */
    /* What a new database holds from the start; NULL: nothing. */
    int (*fill)(struct db *db, struct err *err);
};

extern const struct schema schema_current;

/* Bring the database to the schema's version: 0 when it is, or was brought there. A database that
 * held data is first copied to <path>.v<old version>. All steps are one transaction. `path` is the
 * database's file. */
int schema_migrate(struct db *db, const struct schema *schema, const char *path, struct err *err);

#endif
