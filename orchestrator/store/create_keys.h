/* Which sandbox a create with an Idempotency-Key made. Written with the sandbox's first record, in
 * the same transaction: after a crash either both are there or neither. */
#ifndef ORCHESTRATOR_STORE_CREATE_KEYS_H
#define ORCHESTRATOR_STORE_CREATE_KEYS_H

#include "common/base/sha256.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

/* Kept for a day, and the newest of these; the sandbox may end before. */
#define CREATE_KEYS_KEPT   4096
#define CREATE_KEY_KEPT_NS (INT64_C(24) * 3600 * 1000000000)

#define CREATE_KEY_MAX 255

struct store_create_key {
    char team_id[ID_UUID_SIZE];
    char key[CREATE_KEY_MAX + 1];
    uint8_t request[SHA256_SIZE]; /* what was asked for */
    int64_t when_ns;              /* wall clock */
};

/* Each that was written since `since_ns`, the oldest first, with the sandbox that it made. Borrowed
 * for the call. */
int db_create_key_list(struct db *db, int64_t since_ns,
                       void (*each)(void *user, const struct store_create_key *key,
                                    const char *sandbox_id),
                       void *user, struct err *err);

#endif
