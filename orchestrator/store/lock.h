/* One daemon per data directory. */
#ifndef ORCHESTRATOR_STORE_LOCK_H
#define ORCHESTRATOR_STORE_LOCK_H

#include "common/base/err.h"

/* Lock <data_dir>/lock and write this process's id into it. The lock lasts until *fd (which no
 * child inherits) is closed. 0 or -errno; -EBUSY "another daemon already runs on DIR (pid N)". */
int store_lock(const char *data_dir, int *fd, struct err *err);

/* The pid of the daemon that holds the lock; 0 when none runs or it cannot be told. */
int store_lock_holder(const char *data_dir);

#endif
