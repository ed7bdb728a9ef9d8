/*
 * The database, synchronously: for subcommands, which may run beside the daemon, and for the
 * daemon's worker behind store.h. The tables' functions are in keys.h, templates.h, snapshots.h,
 * layers.h, sandboxes.h and deaths.h; all of them return 0 or a negative errno with a sentence. A
 * write that finds the disk full gives ERR_UNAVAILABLE, -ENOSPC, and changes nothing.
 */
#ifndef ORCHESTRATOR_STORE_DB_H
#define ORCHESTRATOR_STORE_DB_H

#include "common/base/err.h"

#include <stdbool.h>

#define DB_FILE    "sandpit.db"
#define DB_VERSION 4

/* How long a statement waits for another process's transaction before it fails with -EBUSY. */
#define DB_BUSY_MS 10000

/* One thread at a time may use it. */
struct db;

/* Open <data_dir>/sandpit.db, make it (and the directory) when there is none, migrate it when it is
 * of an older version. A newer one is refused. */
int db_open(struct db **out, const char *data_dir, struct err *err);
void db_close(struct db *db);

/* Make the data directory when there is none: readable by its owner, but the VMMs' uids may pass
 * through it on their way to their own folders. */
int store_make_dir(const char *data_dir, struct err *err);

#endif
