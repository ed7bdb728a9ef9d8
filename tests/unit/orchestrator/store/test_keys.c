#include "test_store.h"

#include "common/base/encode.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>

/* The hash by other means (hashlib, base64): SHA-256 over the 20 bytes 00 01 .. 13, then base64
 * without padding. */
static void test_hash_is_over_the_decoded_bytes(void **state)
{
    (void)state;
    char hash[KEY_HASH_SIZE];
    assert_true(key_hash(STR("e2b_000102030405060708090a0b0c0d0e0f10111213"), hash));
    assert_string_equal(hash, "$sha256$566/V39gQS8DEtRCxwofphSMCQv1urQEyuwpSCrneeg");
}

static void test_hash_refuses_what_is_no_key(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "e2b_",
        "e2b",
        "sk_e2b_000102030405060708090a0b0c0d0e0f10111213",
        "e2b_000102030405060708090a0b0c0d0e0f101112",     /* too short */
        "e2b_000102030405060708090a0b0c0d0e0f1011121300", /* too long */
        "e2b_000102030405060708090a0b0c0d0e0f1011121g",   /* no hex */
        " e2b_000102030405060708090a0b0c0d0e0f10111213",  /* space */
    };
    char hash[KEY_HASH_SIZE];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(key_hash(str_of(bad[i]), hash));
}

static void first_key(void *user, const struct store_key *key)
{
    *(struct store_key *)user = *key;
}

static void test_key_lives_from_create_to_revoke(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    char key[KEY_SIZE], hash[KEY_HASH_SIZE];
    struct store_key made, found, listed = { 0 };
    assert_int_equal(db_key_create(db, NULL, "laptop", key, &made, &err), 0);
    assert_int_equal(strlen(key), KEY_SIZE - 1);
    assert_int_equal(made.mask_length, 40);
    assert_memory_equal(made.mask_first, key + 4, 2);
    assert_memory_equal(made.mask_last, key + strlen(key) - 4, 5);
    assert_int_equal(made.last_used_ns, 0);

    assert_true(key_hash(str_of(key), hash));
    assert_int_equal(db_key_lookup(db, hash, &found, &err), 0);
    assert_string_equal(found.id, made.id);
    assert_string_equal(found.team_id, made.team_id);
    assert_string_equal(found.team_slug, "default");
    assert_string_equal(found.name, "laptop");

    assert_int_equal(db_key_list(db, first_key, &listed, &err), 0);
    assert_string_equal(listed.id, made.id);
    assert_true(listed.last_used_ns >= made.created_ns);
    assert_int_equal(listed.revoked_ns, 0);

    /* Used again at once: noted once a minute only. */
    assert_int_equal(db_key_lookup(db, hash, &found, &err), 0);
    assert_int_equal(found.last_used_ns, listed.last_used_ns);

    char part[9] = { 0 };
    memcpy(part, made.id, 8);
    assert_int_equal(db_key_revoke(db, part, &found, &err), 0);
    assert_string_equal(found.id, made.id);
    assert_int_equal(db_key_lookup(db, hash, &found, &err), -ENOENT);
    assert_int_equal(db_key_revoke(db, made.id, &found, &err), -EALREADY);
}

static void test_key_text_is_not_kept(void **state)
{
    struct place *p = *state;
    struct err err;
    char key[KEY_SIZE];
    struct store_key made;
    assert_int_equal(db_key_create(place_open(p), NULL, "x", key, &made, &err), 0);
    static const char *const names[] = { "sandpit.db", "sandpit.db-wal" };
    uint8_t bytes[20];
    assert_true(hex_decode(str_of(key + 4), bytes, sizeof(bytes)));
    for (int i = 0; i < 2; i++) {
        char path[128];
        struct buf text = { 0 };
        snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
        assert_int_equal(file_read(path, 16 << 20, &text, &err), 0);
        assert_null(memmem(buf_head(&text), buf_len(&text), key + 4, 40));
        assert_null(memmem(buf_head(&text), buf_len(&text), bytes, sizeof(bytes)));
        buf_deinit(&text);
    }
}

static void test_lookup_and_revoke_refuse_the_unknown(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    struct store_key key;
    char hash[KEY_HASH_SIZE], text[KEY_SIZE];
    assert_true(key_hash(STR("e2b_0000000000000000000000000000000000000000"), hash));
    assert_int_equal(db_key_lookup(db, hash, &key, &err), -ENOENT);
    assert_int_equal(db_key_revoke(db, "12345678", &key, &err), -ENOENT);
    assert_int_equal(db_key_create(db, NULL, "a", text, &key, &err), 0);
    /* Too short a beginning, and one that is a pattern. */
    assert_int_equal(db_key_revoke(db, "", &key, &err), -ENOENT);
    assert_int_equal(db_key_revoke(db, "%%%%%%%%", &key, &err), -ENOENT);
    assert_int_equal(db_key_create(db, "no-team", "a", text, &key, &err), -ENOENT);
}

static void test_revoke_refuses_an_ambiguous_beginning(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    struct store_key key;
    char text[KEY_SIZE];
    for (int i = 0; i < 2; i++)
        assert_int_equal(db_key_create(db, NULL, "a", text, &key, &err), 0);
    assert_int_equal(db_script(db,
                               "UPDATE keys SET id = 'aaaaaaaa-' || (SELECT count(*) FROM keys k"
                               " WHERE k.rowid < keys.rowid)",
                               &err),
                     0);
    assert_int_equal(db_key_revoke(db, "aaaaaaaa", &key, &err), -EINVAL);
    assert_int_equal(db_key_revoke(db, "aaaaaaaa-1", &key, &err), 0);
}

static void test_team_has_a_slug_of_its_own(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    struct store_team team;
    assert_int_equal(db_team_create(db, NULL, "Research", "research", &err), 0);
    assert_int_equal(db_team_find(db, "research", &team, &err), 0);
    assert_string_equal(team.name, "Research");
    assert_int_equal(strlen(team.id), ID_UUID_SIZE - 1);
    assert_int_equal(db_team_create(db, NULL, "Again", "research", &err), -EEXIST);
    static const char *const bad[] = { "", "A", "a b", "a/b", "a:b" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(db_team_create(db, NULL, "x", bad[i], &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_is_over_the_decoded_bytes),
        cmocka_unit_test(test_hash_refuses_what_is_no_key),
        PLACE_TEST(test_key_lives_from_create_to_revoke),
        PLACE_TEST(test_key_text_is_not_kept),
        PLACE_TEST(test_lookup_and_revoke_refuse_the_unknown),
        PLACE_TEST(test_revoke_refuses_an_ambiguous_beginning),
        PLACE_TEST(test_team_has_a_slug_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
