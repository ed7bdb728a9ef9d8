#include "test_store.h"

#include "orchestrator/store/statement.h"
#include "orchestrator/store/templates.h"

#include <errno.h>
#include <string.h>

static void test_ref_parse_accepts_and_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *space, *name, *tag;
    } good[] = {
        { "base", "", "base", "" },
        { "  Base ", "", "base", "" },
        { "base:v1.2", "", "base", "v1.2" },
        { "base:default", "", "base", "" },
        { "my-team/py_3:x", "my-team", "py_3", "x" },
    };
    static const char *const bad[] = { "",     " ",     ":",    "a:",    ":a",    "/a",
                                       "a/",   "a/b/c", "a b",  "a:b:c", "a.b",   "../x",
                                       "a/b/", "ä",     "a;--", "a\nb",  "base:?" };
    struct template_ref ref;
    struct err err;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(template_ref_parse(good[i].text, &ref, &err), 0);
        assert_string_equal(ref.space, good[i].space);
        assert_string_equal(ref.name, good[i].name);
        assert_string_equal(ref.tag, good[i].tag);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (template_ref_parse(bad[i], &ref, &err) != -EINVAL)
            fail_msg("accepted '%s'", bad[i]);
    char longest[TEMPLATE_NAME_SIZE + 1];
    memset(longest, 'a', TEMPLATE_NAME_SIZE);
    longest[TEMPLATE_NAME_SIZE] = '\0';
    assert_int_equal(template_ref_parse(longest, &ref, &err), -EINVAL);
    longest[TEMPLATE_NAME_SIZE - 1] = '\0';
    assert_int_equal(template_ref_parse(longest, &ref, &err), 0);
}

#define TEAM_A "aaaaaaaa-0000-4000-8000-000000000000"
#define TEAM_B "bbbbbbbb-0000-4000-8000-000000000000"

static struct db *open_with_teams(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    assert_int_equal(db_script(db,
                               "INSERT INTO teams VALUES ('" TEAM_A "', 'A', 'alpha', 1);"
                               "INSERT INTO teams VALUES ('" TEAM_B "', 'B', 'beta', 1);",
                               &err),
                     0);
    return db;
}

static void publish(struct db *db, const char *team, const char *name, const char *dir,
                    struct store_template *t, struct store_build *b)
{
    struct err err;
    *b = (struct store_build){ .vcpus = 1, .memory_mb = 512, .disk_mb = 4096 };
    snprintf(b->dir, sizeof(b->dir), "%s", dir);
    snprintf(b->envd_version, sizeof(b->envd_version), "0.6.13");
    if (db_template_publish(db, team, name, b, t, &err))
        fail_msg("publish: %s", err.msg);
}

static void test_publish_again_moves_the_tag_and_keeps_the_template(void **state)
{
    struct db *db = open_with_teams(state);
    struct store_template first, second, found;
    struct store_build one, two, build;
    struct err err;
    publish(db, NULL, "Base", "/images/1", &first, &one);
    assert_string_equal(first.name, "base");
    assert_true(first.is_public);
    assert_int_equal(first.build_count, 1);
    publish(db, NULL, "base", "/images/2", &second, &two);
    assert_string_equal(first.id, second.id);
    assert_int_equal(second.build_count, 2);

    assert_int_equal(db_template_resolve(db, TEAM_A, "base", &found, &build, &err), 0);
    assert_string_equal(build.id, two.id);
    assert_string_equal(build.dir, "/images/2");
    assert_string_equal(build.status, "ready");
    assert_string_equal(build.alias, "base");
    assert_string_equal(build.envd_version, "0.6.13");
    assert_int_equal(build.disk_mb, 4096);
    assert_true(build.finished_ns >= build.created_ns);

    /* By its id too, and not by a tag that nobody made. */
    assert_int_equal(db_template_resolve(db, TEAM_A, first.id, &found, &build, &err), 0);
    assert_int_equal(db_template_resolve(db, TEAM_A, "base:v9", &found, &build, &err), -ENOENT);
    assert_string_equal(err.msg, "tag 'v9' does not exist for template 'base'");
    assert_int_equal(db_template_resolve(db, TEAM_A, "nothing", &found, &build, &err), -ENOENT);
    assert_string_equal(err.msg, "template 'nothing' not found");
}

static void test_find_prefers_own_and_guards_foreign(void **state)
{
    struct db *db = open_with_teams(state);
    struct store_template open, own, found;
    struct store_build build;
    struct err err;
    publish(db, NULL, "base", "/public", &open, &build);
    publish(db, TEAM_A, "base", "/own", &own, &build);

    assert_int_equal(db_template_find(db, TEAM_A, "base", &found, &err), 0);
    assert_string_equal(found.id, own.id);
    assert_string_equal(found.team_slug, "alpha");
    assert_int_equal(db_template_find(db, TEAM_B, "base", &found, &err), 0);
    assert_string_equal(found.id, open.id);

    assert_int_equal(db_template_find(db, TEAM_B, own.id, &found, &err), -EACCES);
    char expected[80];
    snprintf(expected, sizeof(expected), "you don't have access to template '%s'", own.id);
    assert_string_equal(err.msg, expected);
    assert_int_equal(err.code, ERR_DENIED);
    assert_int_equal(db_template_find(db, TEAM_B, "alpha/base", &found, &err), -EACCES);
    assert_int_equal(db_template_find(db, TEAM_A, "alpha/base", &found, &err), 0);
    assert_int_equal(db_script(db, "UPDATE templates SET public = 1", &err), 0);
    assert_int_equal(db_template_find(db, TEAM_B, "alpha/base", &found, &err), 0);
    assert_string_equal(found.id, own.id);
}

static void test_publish_refuses_names_with_parts(void **state)
{
    struct db *db = open_with_teams(state);
    struct store_template t;
    struct store_build b = { 0 };
    struct err err;
    assert_int_equal(db_template_publish(db, NULL, "a:b", &b, &t, &err), -EINVAL);
    assert_int_equal(db_template_publish(db, NULL, "a/b", &b, &t, &err), -EINVAL);
    assert_int_equal(db_template_publish(db, NULL, "", &b, &t, &err), -EINVAL);
}

struct names {
    char text[256];
};

static void add_name(void *user, const struct store_template *t, const struct store_build *b)
{
    struct names *n = user;
    size_t at = strlen(n->text);
    snprintf(n->text + at, sizeof(n->text) - at, "%s=%s ", t->name, b ? b->dir : "none");
}

static void test_list_shows_own_and_the_operators(void **state)
{
    struct db *db = open_with_teams(state);
    struct store_template t;
    struct store_build b;
    struct err err;
    publish(db, TEAM_B, "secret", "/b", &t, &b);
    publish(db, TEAM_A, "mine", "/a", &t, &b);
    publish(db, NULL, "base", "/0", &t, &b);
    struct names a = { "" }, all = { "" };
    assert_int_equal(db_template_list(db, TEAM_A, add_name, &a, &err), 0);
    assert_string_equal(a.text, "base=/0 mine=/a ");
    assert_int_equal(db_template_list(db, NULL, add_name, &all, &err), 0);
    assert_string_equal(all.text, "base=/0 mine=/a secret=/b ");
}

struct removed {
    char dirs[256];
    const char *stays; /* a folder that cannot be removed */
};

static bool note_removed(void *user, const char *dir)
{
    struct removed *r = user;
    size_t n = strlen(r->dirs);
    if (r->stays && strcmp(dir, r->stays) == 0)
        return false;
    snprintf(r->dirs + n, sizeof(r->dirs) - n, "%s ", dir);
    return true;
}

static void test_prune_forgets_what_nothing_needs(void **state)
{
    struct db *db = open_with_teams(state);
    struct store_template t, other;
    struct store_build b;
    struct removed r = { "", NULL };
    struct err err;
    char sql[512];
    publish(db, NULL, "other", "/o1", &other, &b);
    publish(db, NULL, "other", "/o2", &other, &b);
    publish(db, NULL, "base", "/b1", &t, &b);
    publish(db, NULL, "base", "/b2", &t, &b);
    /* A sandbox runs from the second one. */
    snprintf(
        sql, sizeof(sql),
        "INSERT INTO sandboxes (id, team_id, template_id, build_id, alias, envd_version, state,"
        " started_ns, end_ns, vcpus, memory_mb, disk_mb, secure, private_traffic, metadata,"
        " config, vmm_pid, vmm_start_ticks, link_secret, uid, run_dir) VALUES ('i1', '" TEAM_A
        "', '%s', '%s', 'base', '1', 'running',"
        " 1, 2, 1, 512, 4096, 0, 0, '{}', '{}', 0, 0, x'00', 0, '/r')",
        t.id, b.id);
    assert_int_equal(db_script(db, sql, &err), 0);
    publish(db, NULL, "base", "/b3", &t, &b);
    publish(db, NULL, "base", "/b4", &t, &b);

    /* Too young, all of them. */
    assert_int_equal(db_template_prune(db, t.id, 1, note_removed, &r, &err), 0);
    assert_string_equal(r.dirs, "");
    r.stays = "/b1";
    assert_int_equal(db_template_prune(db, t.id, INT64_MAX, note_removed, &r, &err), 0);
    assert_string_equal(r.dirs, "/b3 ");
    r = (struct removed){ "", NULL };
    assert_int_equal(db_template_prune(db, t.id, INT64_MAX, note_removed, &r, &err), 0);
    assert_string_equal(r.dirs, "/b1 "); /* was still on record; /b3 is not any more */
    r = (struct removed){ "", NULL };
    assert_int_equal(db_template_prune(db, other.id, INT64_MAX, note_removed, &r, &err), 0);
    assert_string_equal(r.dirs, "/o1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_parse_accepts_and_refuses),
        PLACE_TEST(test_publish_again_moves_the_tag_and_keeps_the_template),
        PLACE_TEST(test_find_prefers_own_and_guards_foreign),
        PLACE_TEST(test_publish_refuses_names_with_parts),
        PLACE_TEST(test_list_shows_own_and_the_operators),
        PLACE_TEST(test_prune_forgets_what_nothing_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
