/* Small facts about this host, by name. */
#ifndef ORCHESTRATOR_STORE_SETTINGS_H
#define ORCHESTRATOR_STORE_SETTINGS_H

#include "orchestrator/store/db.h"

#include <stddef.h>

/* The value of a setting into out; empty when there is none. -EIO when it does not fit. */
int db_setting_get(struct db *db, const char *key, char *out, size_t n, struct err *err);

/* Set one, new or not. */
int db_setting_set(struct db *db, const char *key, const char *value, struct err *err);

#endif
