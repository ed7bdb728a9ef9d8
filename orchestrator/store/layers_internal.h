/* For this folder only: a layer recorded inside the caller's transaction. */
#ifndef ORCHESTRATOR_STORE_LAYERS_INTERNAL_H
#define ORCHESTRATOR_STORE_LAYERS_INTERNAL_H

#include "orchestrator/store/db.h"

int layer_add(struct db *db, const char *id, const char *parent, struct err *err);

#endif
