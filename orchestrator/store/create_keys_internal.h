/* Steps of transactions of others. For this folder only. */
#ifndef ORCHESTRATOR_STORE_CREATE_KEYS_INTERNAL_H
#define ORCHESTRATOR_STORE_CREATE_KEYS_INTERNAL_H

#include "orchestrator/store/create_keys.h"

int create_key_put(struct db *db, const struct store_create_key *key, const char *sandbox_id,
                   struct err *err);

/* A create that was undone may be tried again with its key. */
int create_key_forget(struct db *db, const char *sandbox_id, struct err *err);

#endif
