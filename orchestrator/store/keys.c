#include "orchestrator/store/keys.h"

#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/sha256.h"
#include "orchestrator/store/statement.h"

#include <errno.h>

#define KEY_BYTES       20
#define KEY_ID_MIN      8
#define KEY_USED_EVERY  INT64_C(60000000000) /* ns between two notes of a key's use */
#define KEY_HASH_PREFIX "$sha256$"

int db_team_find(struct db *db, const char *id_or_slug, struct store_team *out, struct err *err)
{
    const char *wanted = id_or_slug ? id_or_slug : "default";
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      "SELECT id, name, slug FROM teams WHERE id = ?1 OR slug = ?1 LIMIT 1", "s",
                      wanted);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "team '%s' not found", wanted);
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->name, sizeof(out->name)) ||
        !db_column_text(st, 2, out->slug, sizeof(out->slug)))
        return db_damaged("teams", err);
    return 0;
}

static bool is_slug(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return s.n > 0 && s.n < TEAM_SLUG_SIZE;
}

int db_team_create(struct db *db, const char *id, const char *name, const char *slug,
                   struct err *err)
{
    char made[ID_UUID_SIZE];
    id_uuid(made);
    if (!is_slug(str_of(slug)) || strlen(name) >= KEY_NAME_SIZE)
        return err_set(
            err, ERR_INVALID, EINVAL,
            "'%.64s' is no name for a team: use letters in lower case, digits, '-' and '_'", slug);
    return db_run(db, err, "INSERT INTO teams (id, name, slug, created_ns) VALUES (?, ?, ?, ?)",
                  "sssi", id ? id : made, name, slug, clock_wall_ns());
}

int db_team_ensure(struct db *db, const char *id_or_slug, struct store_team *out, struct err *err)
{
    int rc = db_team_find(db, id_or_slug, out, err);
    if (rc != -ENOENT || !id_or_slug)
        return rc;
    rc = db_team_create(db, NULL, id_or_slug, id_or_slug, err);
    return rc ? rc : db_team_find(db, id_or_slug, out, err);
}

static void hash_bytes(const uint8_t bytes[static KEY_BYTES], char out[static KEY_HASH_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    sha256(bytes, KEY_BYTES, digest);
    struct buf text = { 0 };
    buf_puts(&text, KEY_HASH_PREFIX);
    base64_encode(&text, digest, sizeof(digest), false);
    if (text.failed || !str_copy(buf_str(&text), out, KEY_HASH_SIZE))
        out[0] = '\0'; /* matches no stored hash */
    buf_deinit(&text);
}

bool key_hash(struct str key, char out[static KEY_HASH_SIZE])
{
    struct str prefix = STR(KEY_PREFIX);
    uint8_t bytes[KEY_BYTES];
    if (!str_starts(key, prefix) || !hex_decode(str_from(key, prefix.n), bytes, sizeof(bytes)))
        return false;
    hash_bytes(bytes, out);
    return out[0] != '\0';
}

int db_key_create(struct db *db, const char *team_id, const char *name, char key[static KEY_SIZE],
                  struct store_key *out, struct err *err)
{
    *out = (struct store_key){ .mask_length = 2 * KEY_BYTES, .created_ns = clock_wall_ns() };
    if (!str_copy(str_of(name), out->name, sizeof(out->name)))
        return err_set(err, ERR_INVALID, EINVAL, "a key's name has at most %d bytes",
                       KEY_NAME_SIZE - 1);
    struct store_team team;
    int rc = db_team_find(db, team_id, &team, err);
    if (rc)
        return rc;
    memcpy(out->team_id, team.id, sizeof(out->team_id));
    memcpy(out->team_slug, team.slug, sizeof(out->team_slug));

    uint8_t bytes[KEY_BYTES];
    char hash[KEY_HASH_SIZE];
    id_uuid(out->id);
    id_random_bytes(bytes, sizeof(bytes));
    hash_bytes(bytes, hash);
    if (!hash[0])
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    memcpy(key, KEY_PREFIX, sizeof(KEY_PREFIX));
    hex_encode(bytes, sizeof(bytes), key + sizeof(KEY_PREFIX) - 1);
    memcpy(out->mask_prefix, KEY_PREFIX, sizeof(KEY_PREFIX));
    memcpy(out->mask_first, key + sizeof(KEY_PREFIX) - 1, 2);
    memcpy(out->mask_last, key + KEY_SIZE - 5, 4);

    return db_run(db, err,
                  "INSERT INTO keys (id, team_id, name, hash, mask_prefix, mask_length, mask_first,"
                  " mask_last, created_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                  "sssssissi", out->id, out->team_id, out->name, hash, out->mask_prefix,
                  (int64_t)out->mask_length, out->mask_first, out->mask_last, out->created_ns);
}

#define KEY_SELECT                                                                                 \
    "SELECT keys.id, team_id, slug, keys.name, mask_prefix, mask_length, mask_first, mask_last,"   \
    " keys.created_ns, last_used_ns, revoked_ns, hash FROM keys JOIN teams ON teams.id = team_id "
#define KEY_COLUMN_HASH 11

static int read_key(sqlite3_stmt *st, struct store_key *out, struct err *err)
{
    if (!db_column_text(st, 0, out->id, sizeof(out->id)) ||
        !db_column_text(st, 1, out->team_id, sizeof(out->team_id)) ||
        !db_column_text(st, 2, out->team_slug, sizeof(out->team_slug)) ||
        !db_column_text(st, 3, out->name, sizeof(out->name)) ||
        !db_column_text(st, 4, out->mask_prefix, sizeof(out->mask_prefix)) ||
        !db_column_text(st, 6, out->mask_first, sizeof(out->mask_first)) ||
        !db_column_text(st, 7, out->mask_last, sizeof(out->mask_last)))
        return db_damaged("keys", err);
    out->mask_length = (unsigned)sqlite3_column_int(st, 5);
    out->created_ns = sqlite3_column_int64(st, 8);
    out->last_used_ns = sqlite3_column_int64(st, 9);
    out->revoked_ns = sqlite3_column_int64(st, 10);
    return 0;
}

int db_key_lookup(struct db *db, const char *hash, struct store_key *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, KEY_SELECT "WHERE hash = ?", "s", hash);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    /* The index found it by ordinary comparison, which tells nothing of use about a hash; the
     * decision itself takes the same time for every near miss. */
    const char *found = rc == 1 ? (const char *)sqlite3_column_text(st, KEY_COLUMN_HASH) : NULL;
    if (!found || !str_eq_secret(str_of(found), str_of(hash)))
        return err_set(err, ERR_NOT_FOUND, ENOENT, "no such API key");
    rc = read_key(st, out, err);
    if (rc)
        return rc;
    if (out->revoked_ns)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "this API key was revoked");
    sqlite3_reset(st);
    int64_t now = clock_wall_ns();
    if (now - out->last_used_ns < KEY_USED_EVERY)
        return 0;
    /* A note for people: a key works all the same when it cannot be written, on a full disk say. */
    if (db_run(db, NULL, "UPDATE keys SET last_used_ns = ? WHERE id = ?", "is", now, out->id) == 0)
        out->last_used_ns = now;
    return 0;
}

int db_key_list(struct db *db, void (*each)(void *user, const struct store_key *key), void *user,
                struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, KEY_SELECT "ORDER BY keys.created_ns, keys.id", "");
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_key key;
        rc = read_key(st, &key, err);
        if (rc == 0)
            each(user, &key);
    }
    return rc;
}

static int find_by_id(struct db *db, const char *id, struct store_key *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, KEY_SELECT "WHERE substr(keys.id, 1, length(?1)) = ?1 LIMIT 2",
                      "s", id);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || strlen(id) < KEY_ID_MIN)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "there is no API key with the id '%s'", id);
    rc = read_key(st, out, err);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc == 1)
        return err_set(err, ERR_INVALID, EINVAL, "several API keys have ids that begin with '%s'",
                       id);
    return rc;
}

static int revoke_key(struct db *db, const char *id, struct store_key *out, struct err *err)
{
    int rc = find_by_id(db, id, out, err);
    if (rc)
        return rc;
    if (out->revoked_ns)
        return err_set(err, ERR_PRECONDITION, EALREADY, "the API key '%s' was revoked before", id);
    out->revoked_ns = clock_wall_ns();
    return db_run(db, err, "UPDATE keys SET revoked_ns = ? WHERE id = ?", "is", out->revoked_ns,
                  out->id);
}

int db_key_revoke(struct db *db, const char *id, struct store_key *out, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, revoke_key(db, id, out, err), err);
}
