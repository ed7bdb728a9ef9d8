/* The tables, as a list of steps from each version to the next. For this folder only. */
#ifndef ORCHESTRATOR_STORE_SCHEMA_H
#define ORCHESTRATOR_STORE_SCHEMA_H

#include "orchestrator/store/db.h"

/* Bring the database to DB_VERSION: 0 when it is, or was brought there. A database that held data
 * is first copied to <path>.v<old version>. All steps are one transaction. `path` is the database's
 * file. */
int schema_migrate(struct db *db, const char *path, struct err *err);

#endif
