/* Layers of disks: qcow2 files, each on another one or on the root file system of an image. What a
 * sandbox writes goes to the newest; those below are frozen and may be under several. */
#ifndef ORCHESTRATOR_STORE_LAYERS_H
#define ORCHESTRATOR_STORE_LAYERS_H

#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#include <stddef.h>

/* Of one disk, the layer that is written included. */
#define STORE_LAYERS_MAX 24

/* Record a layer that stands on `parent` ("" or NULL: on the image itself). ERR_NOT_FOUND when the
 * parent is not on record, ERR_EXHAUSTED when it is the last of STORE_LAYERS_MAX, ERR_EXISTS. */
int db_layer_add(struct db *db, const char *id, const char *parent, struct err *err);

/* A layer took up those between it and `parent`, which it stands on from now on ("" or NULL: on the
 * image). ERR_NOT_FOUND; ERR_INVALID when it did not stand on the parent before. */
int db_layer_set_parent(struct db *db, const char *id, const char *parent, struct err *err);

/* The layers of a disk whose newest is `id`, the oldest first; none for "". ERR_NOT_FOUND. */
int db_layer_chain(struct db *db, const char *id, char ids[static STORE_LAYERS_MAX][ID_UUID_SIZE],
                   size_t *n, struct err *err);

/* Forget every layer that no sandbox, no build and no other layer stands on. remove(user, id)
 * removes the file of each first, and succeeds when there is none; what it returns false for stays
 * on record, and so does what that one stands on. A layer that was recorded before the sandbox that
 * will stand on it must be spared by `remove`; db_sandbox_put() records both at once. */
int db_layer_collect(struct db *db, bool (*remove)(void *user, const char *id), void *user,
                     struct err *err);

#endif
