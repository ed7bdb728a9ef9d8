/* Teams and their API keys. A key's text exists only in the answer to its creation; what is kept is
 * a hash and a mask to recognise it by. */
#ifndef ORCHESTRATOR_STORE_KEYS_H
#define ORCHESTRATOR_STORE_KEYS_H

#include "common/base/str.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#define KEY_PREFIX     "e2b_"
#define KEY_SIZE       45 /* the prefix, 40 hex digits of 20 random bytes, NUL */
#define KEY_HASH_SIZE  52 /* "$sha256$", 43 characters of base64, NUL */
#define KEY_NAME_SIZE  129
#define TEAM_SLUG_SIZE 65

struct store_team {
    char id[ID_UUID_SIZE];
    char name[KEY_NAME_SIZE];
    char slug[TEAM_SLUG_SIZE];
};

struct store_key {
    char id[ID_UUID_SIZE];
    char team_id[ID_UUID_SIZE];
    char team_slug[TEAM_SLUG_SIZE];
    char name[KEY_NAME_SIZE];
    char mask_prefix[8];
    unsigned mask_length; /* of the value without the prefix */
    char mask_first[3], mask_last[5];
    int64_t created_ns;
    int64_t last_used_ns; /* 0: never */
    int64_t revoked_ns;   /* 0: valid */
};

/* A team by its id or slug; NULL is the default team. -ENOENT "team 'x' not found". */
int db_team_find(struct db *db, const char *id_or_slug, struct store_team *out, struct err *err);

/* Make a team. id NULL: a new one. The slug is its name in references to its templates:
 * [a-z0-9-_]+. -EEXIST when there is one with that id or slug. */
int db_team_create(struct db *db, const char *id, const char *name, const char *slug,
                   struct err *err);

/* The same team as db_team_find() gives; one that is not there is made, with this slug. */
int db_team_ensure(struct db *db, const char *id_or_slug, struct store_team *out, struct err *err);

/* Make a new key for the team. `key` is the only copy of its text. */
int db_key_create(struct db *db, const char *team_id, const char *name, char key[static KEY_SIZE],
                  struct store_key *out, struct err *err);

/* The stored form of a key: "$sha256$" and the base64 of SHA-256 over its 20 bytes. false when the
 * text is no key at all. */
bool key_hash(struct str key, char out[static KEY_HASH_SIZE]);

/* The valid key with this hash, and note that it was used (at most once a minute). -ENOENT when
 * there is none or it was revoked. */
int db_key_lookup(struct db *db, const char *hash, struct store_key *out, struct err *err);

/* All keys, revoked ones too, oldest first. */
int db_key_list(struct db *db, void (*each)(void *user, const struct store_key *key), void *user,
                struct err *err);

/* Revoke for good the key with this id, or the one whose id begins with it (8 characters or more).
 * -ENOENT; -EALREADY when it was revoked before; -EINVAL when several begin with it. */
int db_key_revoke(struct db *db, const char *id, struct store_key *out, struct err *err);

#endif
