#include "test_store.h"

#include "common/base/clock.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/lock.h"
#include "orchestrator/store/sandboxes.h"
#include "orchestrator/store/secret.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static mode_t mode_of(const struct place *p, const char *name)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    if (stat(path, &st) < 0)
        return 0;
    return st.st_mode & 07777;
}

static void test_open_makes_private_files(void **state)
{
    struct place *p = *state;
    struct db *db = place_open(p);
    struct err err;
    /* A write, so that WAL and shared memory exist. */
    char key[KEY_SIZE];
    struct store_key record;
    assert_int_equal(db_key_create(db, NULL, "k", key, &record, &err), 0);
    assert_int_equal(mode_of(p, "."), 0711);
    assert_int_equal(mode_of(p, "sandpit.db"), 0600);
    assert_int_equal(mode_of(p, "sandpit.db-wal"), 0600);
    assert_int_equal(mode_of(p, "sandpit.db-shm"), 0600);
}

static void test_open_twice_keeps_the_default_team(void **state)
{
    struct place *p = *state;
    struct store_team first, second;
    struct err err;
    assert_int_equal(db_team_find(place_open(p), NULL, &first, &err), 0);
    db_close(p->db);
    assert_int_equal(db_team_find(place_open(p), "default", &second, &err), 0);
    assert_string_equal(first.id, second.id);
    assert_int_equal(db_team_find(p->db, "nobody", &second, &err), -ENOENT);
    assert_string_equal(err.msg, "team 'nobody' not found");
}

static void test_open_refuses_a_newer_database(void **state)
{
    struct place *p = *state;
    struct err err = { 0 };
    char sql[64];
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", DB_VERSION + 1);
    assert_int_equal(db_script(place_open(p), sql, &err), 0);
    db_close(p->db);
    p->db = NULL;
    assert_int_equal(db_open(&p->db, p->dir, &err), -EPROTO);
    assert_int_equal(err.code, ERR_PRECONDITION);
    assert_non_null(strstr(err.msg, "the database is of version"));
    assert_null(p->db);
}

static void test_open_refuses_a_file_that_is_no_database(void **state)
{
    struct place *p = *state;
    struct err err = { 0 };
    char path[128];
    assert_int_equal(store_make_dir(p->dir, &err), 0);
    snprintf(path, sizeof(path), "%s/sandpit.db", p->dir);
    static const char text[] = "this is not a database, it is a text of some length, which "
                               "SQLite must look at and refuse, and not overwrite";
    assert_int_equal(file_replace(path, text, sizeof(text), 0600, &err), 0);
    assert_int_equal(db_open(&p->db, p->dir, &err), -EIO);
    struct buf now = { 0 };
    assert_int_equal(file_read(path, 4096, &now, &err), 0);
    assert_int_equal(buf_len(&now), sizeof(text));
    buf_deinit(&now);
}

/* A transaction whose body fails leaves nothing. */
static void test_end_rolls_back_on_failure(void **state)
{
    struct place *p = *state;
    struct db *db = place_open(p);
    struct err err;
    assert_int_equal(db_begin(db, &err), 0);
    assert_int_equal(db_run(db, &err, "INSERT INTO settings VALUES ('a', 'b')", ""), 0);
    assert_int_equal(db_end(db, -EIO, &err), -EIO);
    AUTO_STMT sqlite3_stmt *st = NULL;
    assert_int_equal(db_query(db, &st, &err, "SELECT * FROM settings", ""), 0);
    assert_int_equal(db_step(db, st, &err), 0);
}

static void test_lock_is_held_by_one_and_names_it(void **state)
{
    struct place *p = *state;
    struct err err = { 0 };
    assert_int_equal(store_make_dir(p->dir, &err), 0);
    assert_int_equal(store_lock_holder(p->dir), 0);
    int fd = -1;
    assert_int_equal(store_lock(p->dir, &fd, &err), 0);
    assert_int_equal(mode_of(p, "lock"), 0600);
    assert_int_equal(store_lock_holder(p->dir), getpid());

    int second = -1;
    assert_int_equal(store_lock(p->dir, &second, &err), -EBUSY);
    char expected[160];
    snprintf(expected, sizeof(expected), "another daemon already runs on %s (pid %d)", p->dir,
             (int)getpid());
    assert_string_equal(err.msg, expected);
    assert_int_equal(second, -1);

    close(fd);
    assert_int_equal(store_lock(p->dir, &second, &err), 0);
    close(second);
}

static void test_secret_is_made_once_and_never_replaced(void **state)
{
    struct place *p = *state;
    struct err err = { 0 };
    uint8_t first[STORE_SECRET_SIZE], second[STORE_SECRET_SIZE];
    assert_int_equal(store_make_dir(p->dir, &err), 0);
    assert_int_equal(store_secret_load(p->dir, first, &err), 0);
    assert_int_equal(mode_of(p, "secret"), 0600);
    assert_int_equal(store_secret_load(p->dir, second, &err), 0);
    assert_memory_equal(first, second, sizeof(first));

    char path[128];
    snprintf(path, sizeof(path), "%s/secret", p->dir);
    static const uint8_t longer[STORE_SECRET_SIZE + 1] = { 1 };
    for (size_t n = 0; n <= sizeof(longer); n += n ? 2 : 31) {
        if (n == STORE_SECRET_SIZE)
            continue;
        assert_int_equal(file_replace(path, longer, n, 0600, &err), 0);
        assert_int_equal(store_secret_load(p->dir, second, &err), -EINVAL);
        assert_non_null(strstr(err.msg, "is damaged"));
    }
}

#define WRITERS     3
#define WRITES_EACH 40

static void write_keys(const char *dir, int id)
{
    struct err err;
    struct db *db = NULL;
    int rc = db_open(&db, dir, &err);
    for (int i = 0; rc == 0 && i < WRITES_EACH; i++) {
        char name[32], key[KEY_SIZE];
        struct store_key record;
        snprintf(name, sizeof(name), "%d.%d", id, i);
        rc = db_key_create(db, NULL, name, key, &record, &err);
    }
    if (rc)
        fprintf(stderr, "writer %d: %s\n", id, err.msg);
    db_close(db);
    _exit(rc ? 1 : 0);
}

static void count_key(void *user, const struct store_key *key)
{
    (void)key;
    ++*(int *)user;
}

/* Subcommands beside a daemon: several processes write, also the very first opening at once. */
static void test_several_processes_write_at_once(void **state)
{
    struct place *p = *state;
    pid_t pids[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            write_keys(p->dir, i);
        assert_true(pids[i] > 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    int n = 0;
    struct err err;
    assert_int_equal(db_key_list(place_open(p), count_key, &n, &err), 0);
    assert_int_equal(n, WRITERS * WRITES_EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_open_makes_private_files),
        PLACE_TEST(test_open_twice_keeps_the_default_team),
        PLACE_TEST(test_open_refuses_a_newer_database),
        PLACE_TEST(test_open_refuses_a_file_that_is_no_database),
        PLACE_TEST(test_end_rolls_back_on_failure),
        PLACE_TEST(test_lock_is_held_by_one_and_names_it),
        PLACE_TEST(test_secret_is_made_once_and_never_replaced),
        PLACE_TEST(test_several_processes_write_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
