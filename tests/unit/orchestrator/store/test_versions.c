/* Databases of earlier versions, made by the steps that made them then, opened by this one. */
#include "records.h"

#include "orchestrator/store/schema.h"

/* A row in every table of version 1, two where one may be empty. */
static const char version_1[] =
    "INSERT INTO teams VALUES ('t1', 'Research', 'research', 11);"
    "INSERT INTO keys VALUES ('k1', 't1', 'laptop', '$sha256$x', 'e2b_', 40, 'ab', 'cdef', 12,"
    " NULL, NULL);"
    "INSERT INTO templates VALUES ('base0', NULL, 1, 13, 14, 15, 16);"
    "INSERT INTO templates VALUES ('own0', 't1', 0, 17, 18, NULL, 0);"
    "INSERT INTO template_names VALUES ('', 'base', 'base0');"
    "INSERT INTO template_names VALUES ('t1', 'own', 'own0');"
    "INSERT INTO builds VALUES ('b1', 'base0', 'ready', '/templates/b1', 2, 512, 4096, '0.6.13',"
    " 19, 20);"
    "INSERT INTO builds VALUES ('b0', 'base0', 'ready', '/templates/b0', 1, 256, 2048, '0.6.12',"
    " 17, 18);"
    "INSERT INTO template_tags VALUES ('base0', 'default', 'b1', 21);"
    "INSERT INTO sandboxes VALUES ('i1', 't1', 'base0', 'b0', 'base', '0.6.12', 'running', 22, 23,"
    " 1, 256, 2048, 1, 1, '{\"a\":\"b\"}', '{\"autoPause\":true}', 77, 78, zeroblob(32), 1001,"
    " '/run/i1');"
    "INSERT INTO deaths VALUES ('i0', 't1', 24, 'timeout', 'its time was over');"
    "INSERT INTO settings VALUES ('colour', 'red');";

static void make_version_1(struct place *p)
{
    const struct schema schema = { .version = 1, .steps = schema_current.steps };
    struct err err;
    char path[128];
    snprintf(path, sizeof(path), "%s/sandpit.db", p->dir);
    assert_int_equal(store_make_dir(p->dir, &err), 0);
    struct db old = { 0 };
    assert_int_equal(sqlite3_open(path, &old.sqlite), SQLITE_OK);
    OK(schema_migrate(&old, &schema, path, &err));
    assert_int_equal(number(&old, "PRAGMA user_version"), 1);
    OK(db_script(&old, version_1, &err));
    sqlite3_close(old.sqlite);
}

static void check_sandbox(void *user, const struct store_sandbox *sb)
{
    ++*(int *)user;
    assert_string_equal(sb->id, "i1");
    assert_string_equal(sb->team_id, "t1");
    assert_string_equal(sb->template_id, "base0");
    assert_string_equal(sb->build_id, "b0");
    assert_string_equal(sb->alias, "base");
    assert_string_equal(sb->envd_version, "0.6.12");
    assert_string_equal(sb->state, "running");
    assert_int_equal(sb->started_ns, 22);
    assert_int_equal(sb->end_ns, 23);
    assert_int_equal(sb->vcpus, 1);
    assert_int_equal(sb->memory_mb, 256);
    assert_int_equal(sb->disk_mb, 2048);
    assert_true(sb->secure && sb->private_traffic);
    assert_string_equal(sb->metadata, "{\"a\":\"b\"}");
    assert_string_equal(sb->config, "{\"autoPause\":true}");
    assert_int_equal(sb->vmm_pid, 77);
    assert_int_equal(sb->vmm_start_ticks, 78);
    assert_true(sb->run_began_ns >
                INT64_C(1700000000) * 1000000000); /* now, for want of a better */
    assert_int_equal(sb->uid, 1001);
    assert_string_equal(sb->run_dir, "/run/i1");
    /* What it had no word for. */
    assert_string_equal(sb->envs, "{}");
    assert_string_equal(sb->layer_id, "");
    assert_string_equal(sb->layer_parent_id, "");
    assert_string_equal(sb->base_build_id, "");
    assert_string_equal(sb->snapshot_id, "");
    assert_string_equal(sb->key_id, "");
    assert_int_equal(sb->paused_ns, 0);
    assert_int_equal(sb->create_timeout_s, 0);
    assert_false(sb->filesystem_only || sb->unresponsive);
}

static void check_key(void *user, const struct store_key *key)
{
    ++*(int *)user;
    assert_string_equal(key->id, "k1");
    assert_string_equal(key->team_slug, "research");
    assert_string_equal(key->name, "laptop");
    assert_string_equal(key->mask_last, "cdef");
}

static void check_templates(struct db *db)
{
    struct store_template t;
    struct store_build b;
    struct err err;
    OK(db_template_resolve(db, "t1", "base", &t, &b, &err));
    assert_string_equal(t.id, "base0");
    assert_true(t.is_public && !t.is_snapshot);
    assert_int_equal(t.last_spawned_ns, 15);
    assert_int_equal(t.spawn_count, 16);
    assert_int_equal(t.build_count, 2);
    assert_string_equal(b.id, "b1");
    assert_string_equal(b.kind, "image");
    assert_string_equal(b.dir, "/templates/b1");
    assert_string_equal(b.base_build_id, "b1");
    assert_string_equal(b.base_dir, "/templates/b1");
    assert_string_equal(b.memory_base, "zeros");
    assert_int_equal(b.vcpus, 2);
    assert_int_equal(b.finished_ns, 20);
    assert_int_equal(b.nlayers, 0);
    OK(db_template_find(db, "t1", "own", &t, &err));
    assert_string_equal(t.team_slug, "research");
}

static void test_version_1_is_taken_over(void **state)
{
    struct place *p = *state;
    struct err err;
    int sandboxes = 0, keys = 0;
    make_version_1(p);
    struct db *db = place_open(p);
    assert_int_equal(number(db, "PRAGMA user_version"), DB_VERSION);
    OK(db_sandbox_load(db, check_sandbox, &sandboxes, &err));
    assert_int_equal(sandboxes, 1);
    OK(db_key_list(db, check_key, &keys, &err));
    assert_int_equal(keys, 1);
    check_templates(db);

    struct store_death d;
    OK(db_death_find(db, "i0", "t1", &d, &err));
    assert_int_equal(d.when_ns, 24);
    assert_string_equal(d.reason, "timeout");
    assert_string_equal(d.detail, "its time was over");
    assert_string_equal(d.actor, "");
    assert_string_equal(d.console, "");
    assert_string_equal(d.facts, "");
    store_death_deinit(&d);
    assert_int_equal(
        number(db, "SELECT count(*) FROM settings WHERE key = 'colour' AND value = 'red'"), 1);
    assert_int_equal(number(db, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_kept(db, "builds", "b0"); /* the running sandbox's */
}

/* And the copy made before it is of version 1 and complete. */
static void test_version_1_is_copied_first(void **state)
{
    struct place *p = *state;
    char copy[160];
    make_version_1(p);
    place_open(p);
    snprintf(copy, sizeof(copy), "%s/sandpit.db.v1", p->dir);
    struct db old = { 0 };
    assert_int_equal(sqlite3_open(copy, &old.sqlite), SQLITE_OK);
    assert_int_equal(number(&old, "PRAGMA user_version"), 1);
    static const char *const tables[] = { "keys", "template_tags", "sandboxes", "deaths",
                                          "settings" };
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", tables[i]);
        assert_int_equal(number(&old, sql), 1);
    }
    assert_int_equal(
        number(&old, "SELECT count(*) FROM pragma_table_info('sandboxes') WHERE name = 'envs'"), 0);
    sqlite3_close(old.sqlite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_version_1_is_taken_over),
        PLACE_TEST(test_version_1_is_copied_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
