/* A disk without room: each write says so and changes nothing; with room again all goes on. */
#include "records.h"

#include "common/base/cleanup.h"
#include "orchestrator/store/schema.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static char team[ID_UUID_SIZE];
static struct store_build image;

/* Texts that are as large as clients may make them, so that each write needs new pages. */
static char large[8192];

static int write_sandbox(struct db *db, struct err *err)
{
    struct store_sandbox sb;
    make_sandbox(db, "inew", &image, &sb);
    sb.metadata = sb.config = sb.envs = large;
    memcpy(sb.layer_id, "new", 4);
    return db_sandbox_put(db, &sb, err);
}

static int write_end(struct db *db, struct err *err)
{
    struct store_death d = { .sandbox_id = "i1",
                             .team_id = team,
                             .console = large,
                             .detail = large,
                             .reason = "api",
                             .when_ns = 1 };
    return db_sandbox_end(db, &d, err);
}

static int write_snapshot(struct db *db, struct err *err)
{
    struct store_build b;
    struct store_snapshot s;
    return add_snapshot(db, "new", &image, NULL, &b, &s, err);
}

static int write_image(struct db *db, struct err *err)
{
    struct store_template t;
    struct store_build b = { .vcpus = 1 };
    memset(b.dir, 'd', sizeof(b.dir) - 1);
    return db_template_publish(db, NULL, "new", &b, &t, err);
}

static int write_layer(struct db *db, struct err *err)
{
    return db_layer_add(db, "another", NULL, err);
}

static int write_key(struct db *db, struct err *err)
{
    char key[KEY_SIZE];
    struct store_key record;
    return db_key_create(db, NULL, "new", key, &record, err);
}

static int write_time(struct db *db, struct err *err)
{
    return db_sandbox_set_end(db, "i1", 77, err);
}

static int write_delete(struct db *db, struct err *err)
{
    return db_template_delete(db, team, "old", NULL, NULL, err);
}

struct writer {
    const char *name;
    int (*write)(struct db *db, struct err *err);
};

static const struct writer writers[] = {
    { "sandbox", write_sandbox }, { "end", write_end },       { "snapshot", write_snapshot },
    { "image", write_image },     { "layer", write_layer },   { "key", write_key },
    { "time", write_time },       { "delete", write_delete },
};

static void fill(struct db *db)
{
    struct err err;
    struct store_sandbox sb;
    struct store_build b;
    struct store_snapshot s;
    default_team(db, team);
    memset(large, 'x', sizeof(large) - 1);
    add_image(db, "base", "/base", &image);
    OK(add_snapshot(db, "old", &image, NULL, &b, &s, &err));
    make_sandbox(db, "i1", &image, &sb);
    OK(db_sandbox_put(db, &sb, &err));
}

/* All there is, as one number that any change of a row would change. */
static int64_t sum(struct db *db)
{
    return number(db,
                  "SELECT (SELECT count(*) FROM sandboxes) * 1000003"
                  " + (SELECT sum(end_ns) FROM sandboxes) * 10007"
                  " + (SELECT count(*) FROM deaths) * 5003 + (SELECT count(*) FROM builds) * 401"
                  " + (SELECT count(*) FROM template_tags) * 211"
                  " + (SELECT count(*) FROM templates) * 101 + (SELECT count(*) FROM keys) * 41"
                  " + (SELECT count(*) FROM layers) * 17");
}

static void assert_sound(struct db *db)
{
    assert_int_equal(number(db, "SELECT count(*) FROM pragma_integrity_check"
                                " WHERE integrity_check <> 'ok'"),
                     0);
    assert_int_equal(number(db, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

static void assert_refused(struct db *db, const struct writer *w)
{
    struct err err = { 0 };
    int64_t before = sum(db);
    int rc = w->write(db, &err);
    if (rc != -ENOSPC)
        fail_msg("%s: %d, %s", w->name, rc, rc ? err.msg : "written");
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.msg,
                        "the disk of the data directory is full: the database cannot be written");
    assert_int_equal(sum(db), before);
}

/* No page more than the file has; those that are free in it are used up first. */
static void test_no_page_more(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    char sql[64];
    fill(db);
    snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %lld",
             (long long)number(db, "PRAGMA page_count"));
    OK(db_script(db, sql, &err));
    int rc = 0;
    for (int i = 0; i < 10000 && rc == 0; i++)
        rc = db_run(db, &err, "INSERT INTO settings VALUES (?, ?)", "is", (int64_t)i, "filler");
    assert_int_equal(rc, -ENOSPC);
    rc = 0;
    for (int i = 0; i < 10000 && rc == 0; i++)
        rc = write_key(db, &err);
    assert_int_equal(rc, -ENOSPC);
    static const size_t which[] = { 0, 1, 3, 5 };
    for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++)
        assert_refused(db, &writers[which[i]]);
    assert_sound(db);
    OK(db_script(db, "PRAGMA max_page_count = 100000", &err));
    for (size_t i = 0; i < sizeof(which) / sizeof(which[0]); i++)
        OK(writers[which[i]].write(db, &err));
    assert_sound(db);
}

static bool write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* A user namespace gives the right to mount to who does not have it. */
static bool become_root(void)
{
    char users[32], groups[32];
    snprintf(users, sizeof(users), "0 %u 1", (unsigned)geteuid());
    snprintf(groups, sizeof(groups), "0 %u 1", (unsigned)getegid());
    return geteuid() == 0 ||
           (unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/setgroups", "deny") &&
            write_text("/proc/self/uid_map", users) && write_text("/proc/self/gid_map", groups));
}

/* In a mount namespace of this process's own. */
static bool mount_small(const char *dir, const char *size)
{
    char options[32];
    snprintf(options, sizeof(options), "size=%s", size);
    return become_root() && unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", dir, "tmpfs", 0, options) == 0;
}

static void take_all_room(const struct place *p)
{
    static const char block[4096];
    char path[128];
    snprintf(path, sizeof(path), "%s/filler", p->root);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void give_room(const struct place *p)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/filler", p->root);
    assert_int_equal(unlink(path), 0);
}

static void write_on_a_full_disk(struct place *p)
{
    struct err err;
    fill(place_open(p));
    db_close(p->db); /* which empties the log */
    place_open(p);
    take_all_room(p);
    int64_t before = sum(p->db);
    for (size_t i = 0; i < sizeof(writers) / sizeof(writers[0]); i++)
        assert_refused(p->db, &writers[i]);
    assert_sound(p->db);
    /* Another process finds all of it, too. */
    db_close(p->db);
    give_room(p);
    place_open(p);
    assert_int_equal(sum(p->db), before);
    for (size_t i = 0; i + 1 < sizeof(writers) / sizeof(writers[0]); i++)
        OK(writers[i].write(p->db, &err));
    assert_sound(p->db);
}

static void open_on_a_full_disk(struct place *p)
{
    struct err err = { 0 };
    assert_int_equal(store_make_dir(p->dir, &err), 0);
    take_all_room(p);
    assert_int_equal(db_open(&p->db, p->dir, &err), -ENOSPC);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_null(p->db);
    give_room(p);
    fill(place_open(p));
    assert_sound(p->db);

    /* One that is there: SQLite's shared memory finds no room, which is no SQLITE_FULL. */
    int64_t before = sum(p->db);
    db_close(TAKE(p->db));
    take_all_room(p);
    err = (struct err){ 0 };
    assert_int_equal(db_open(&p->db, p->dir, &err), -ENOSPC);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    give_room(p);
    assert_int_equal(sum(place_open(p)), before);
    assert_sound(p->db);
}

static const char *const later_steps[DB_VERSION + 1] = {
    [DB_VERSION] = "CREATE TABLE extra (a INTEGER) STRICT;",
};
static const struct schema later = { .version = DB_VERSION + 1, .steps = later_steps };

static void migrate_on_a_full_disk(struct place *p)
{
    struct err err = { 0 };
    char path[128];
    snprintf(path, sizeof(path), "%s/sandpit.db", p->dir);
    fill(place_open(p));
    int64_t before = sum(p->db);
    take_all_room(p);
    assert_int_equal(schema_migrate(p->db, &later, path, &err), -ENOSPC);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_int_equal(number(p->db, "PRAGMA user_version"), DB_VERSION);
    assert_int_equal(sum(p->db), before);
    assert_sound(p->db);
    give_room(p);
    OK(schema_migrate(p->db, &later, path, &err));
    assert_int_equal(number(p->db, "PRAGMA user_version"), DB_VERSION + 1);
}

#define NO_MOUNT 77

/* An assertion that fails in the child ends it with a signal, or with its message and another
 * status. */
static void in_small_file_system(struct place *p, const char *size, void (*run)(struct place *p))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (!mount_small(p->root, size))
            _exit(NO_MOUNT);
        run(p);
        db_close(p->db);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MOUNT) {
        print_message("skipped: a file system cannot be mounted here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void test_write_on_a_full_disk(void **state)
{
    in_small_file_system(*state, "1m", write_on_a_full_disk);
}

static void test_open_on_a_full_disk(void **state)
{
    in_small_file_system(*state, "1m", open_on_a_full_disk);
}

static void test_migrate_on_a_full_disk(void **state)
{
    in_small_file_system(*state, "1m", migrate_on_a_full_disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_no_page_more),
        PLACE_TEST(test_write_on_a_full_disk),
        PLACE_TEST(test_open_on_a_full_disk),
        PLACE_TEST(test_migrate_on_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
