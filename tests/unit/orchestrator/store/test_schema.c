#include "test_store.h"

#include "orchestrator/store/keys.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The real first version, and two made-up later ones. */
static const char *const good_steps[DB_VERSION + 2] = {
    [DB_VERSION] = "ALTER TABLE keys ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';",
    [DB_VERSION + 1] = "CREATE TABLE extra (a INTEGER) STRICT; INSERT INTO extra VALUES (7);",
};
static const struct schema good = { .version = DB_VERSION + 2, .steps = good_steps };

static const char *const bad_steps[DB_VERSION + 2] = {
    [DB_VERSION] = "CREATE TABLE half (a INTEGER) STRICT; DELETE FROM keys;",
    [DB_VERSION + 1] = "CREATE TABLE keys (a INTEGER) STRICT;", /* is there already */
};
static const struct schema bad = { .version = DB_VERSION + 2, .steps = bad_steps };

static char path[128], copy[160];

/* A database of the current version with one key. */
static struct db *open_with_key(void **state)
{
    struct place *p = *state;
    struct err err;
    char key[KEY_SIZE];
    struct store_key record;
    snprintf(path, sizeof(path), "%s/sandpit.db", p->dir);
    snprintf(copy, sizeof(copy), "%s.v%d", path, DB_VERSION);
    assert_int_equal(db_key_create(place_open(p), NULL, "k", key, &record, &err), 0);
    return p->db;
}

/* The only number that a query gives. */
static int64_t number(struct db *db, const char *sql)
{
    struct err err;
    AUTO_STMT sqlite3_stmt *st = NULL;
    if (db_query(db, &st, &err, sql, "") || db_step(db, st, &err) != 1)
        fail_msg("%s: %s", sql, err.msg);
    return sqlite3_column_int64(st, 0);
}

static void test_migrate_keeps_data_and_makes_a_copy(void **state)
{
    struct db *db = open_with_key(state);
    struct err err;
    assert_int_equal(schema_migrate(db, &good, path, &err), 0);
    assert_int_equal(number(db, "PRAGMA user_version"), DB_VERSION + 2);
    assert_int_equal(number(db, "SELECT count(*) FROM keys WHERE colour = 'red'"), 1);
    assert_int_equal(number(db, "SELECT a FROM extra"), 7);
    assert_int_equal(number(db, "SELECT count(*) FROM teams"), 1); /* not filled again */

    struct stat st;
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct db old = { 0 };
    assert_int_equal(sqlite3_open(copy, &old.sqlite), SQLITE_OK);
    assert_int_equal(number(&old, "PRAGMA user_version"), DB_VERSION);
    assert_int_equal(number(&old, "SELECT count(*) FROM keys"), 1);
    sqlite3_close(old.sqlite);

    /* Once more: nothing to do, and no second copy. */
    assert_int_equal(unlink(copy), 0);
    assert_int_equal(schema_migrate(db, &good, path, &err), 0);
    assert_int_equal(stat(copy, &st), -1);
}

static void test_migrate_that_fails_changes_nothing(void **state)
{
    struct db *db = open_with_key(state);
    struct err err = { 0 };
    assert_true(schema_migrate(db, &bad, path, &err) < 0);
    assert_non_null(strstr(err.msg, "keys"));
    assert_int_equal(number(db, "PRAGMA user_version"), DB_VERSION);
    assert_int_equal(number(db, "SELECT count(*) FROM keys"), 1);
    assert_int_equal(number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    /* And it is still usable, by the good steps too. */
    assert_int_equal(schema_migrate(db, &good, path, &err), 0);
}

static void test_migrate_without_room_for_the_copy_changes_nothing(void **state)
{
    struct db *db = open_with_key(state);
    struct err err = { 0 };
    assert_int_equal(mkdir(copy, 0700), 0); /* a directory is in the copy's place */
    assert_true(schema_migrate(db, &good, path, &err) < 0);
    assert_non_null(strstr(err.msg, copy));
    assert_int_equal(number(db, "PRAGMA user_version"), DB_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_migrate_keeps_data_and_makes_a_copy),
        PLACE_TEST(test_migrate_that_fails_changes_nothing),
        PLACE_TEST(test_migrate_without_room_for_the_copy_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
