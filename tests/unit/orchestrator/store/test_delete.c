/* Templates and snapshots that are deleted, and pruned. */
#include "records.h"

static char team[ID_UUID_SIZE];

struct gone {
    int n;
    char dirs[1024];
};

static void note(void *user, const char *build_id, const char *dir)
{
    struct gone *g = user;
    size_t n = strlen(g->dirs);
    assert_int_equal(strlen(build_id), ID_UUID_SIZE - 1);
    g->n++;
    snprintf(g->dirs + n, sizeof(g->dirs) - n, "%s ", dir);
}

static bool remove_dir(void *user, const char *dir)
{
    note(user, "00000000-0000-4000-8000-000000000000", dir);
    return true;
}

static struct db *open_with_image(void **state, struct store_build *image)
{
    struct db *db = place_open(*state);
    default_team(db, team);
    add_image(db, "base", "/templates/base", image);
    return db;
}

static void end(struct db *db, const char *id)
{
    struct err err;
    OK(db_sandbox_end(
        db, &(struct store_death){ .sandbox_id = id, .team_id = team, .reason = "api" }, &err));
}

static void test_delete_takes_a_snapshot(void **state)
{
    struct store_build image, b, found;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, NULL, &image, NULL, &b, &s, &err));
    OK(db_template_delete(db, team, s.id, note, &g, &err));
    assert_int_equal(g.n, 1);
    assert_memory_equal(g.dirs, b.dir, strlen(b.dir));
    assert_int_equal(db_template_resolve(db, team, s.id, &t, &found, &err), -ENOENT);
    g = (struct gone){ 0 };
    assert_int_equal(db_template_delete(db, team, s.id, note, &g, &err), -ENOENT);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(g.n, 0);
    assert_int_equal(number(db, "SELECT count(*) FROM templates"), 1);
    assert_int_equal(number(db, "SELECT count(*) FROM builds"), 1);
}

static void test_delete_of_a_tag_takes_its_build_only(void **state)
{
    struct store_build image, one, two, found;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "work", &image, NULL, &one, &s, &err));
    OK(add_snapshot(db, "work:v2", &image, NULL, &two, &s, &err));
    OK(db_script(db,
                 "INSERT INTO template_tags SELECT template_id, 'also', build_id, 1"
                 " FROM template_tags WHERE tag = 'v2'",
                 &err));
    assert_int_equal(db_template_delete(db, team, "work:v3", note, &g, &err), -ENOENT);
    assert_string_equal(err.msg, "tag 'v3' does not exist for template 'work'");

    /* Another tag still stands for its build. */
    OK(db_template_delete(db, team, "default/work:v2", note, &g, &err));
    assert_int_equal(g.n, 0);
    OK(db_template_delete(db, team, "work:default", note, &g, &err));
    assert_int_equal(g.n, 1);
    assert_memory_equal(g.dirs, one.dir, strlen(one.dir));
    OK(db_template_resolve(db, team, "work:also", &t, &found, &err));
    assert_string_equal(found.id, two.id);
    /* The template goes with the last one, and its name is free. */
    OK(db_template_delete(db, team, "work:also", note, &g, &err));
    assert_int_equal(g.n, 2);
    assert_int_equal(db_template_find(db, team, "work", &t, &err), -ENOENT);
    OK(db_template_publish(db, team, "work", &(struct store_build){ .vcpus = 1 }, &t, &err));
}

static void test_delete_without_a_tag_takes_all(void **state)
{
    struct store_build image, b;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "work", &image, NULL, &b, &s, &err));
    OK(add_snapshot(db, "work", &image, NULL, &b, &s, &err)); /* one has no tag any more */
    OK(add_snapshot(db, "work:v2", &image, NULL, &b, &s, &err));
    OK(db_template_delete(db, team, "work", note, &g, &err));
    assert_int_equal(g.n, 3);
    assert_int_equal(number(db, "SELECT count(*) FROM templates"), 1);
    assert_int_equal(number(db, "SELECT count(*) FROM template_names"), 1);
}

static void test_delete_spares_what_sandboxes_stand_on(void **state)
{
    static const char *const states[] = { "running", "paused" };
    struct store_build image, b, found;
    struct store_template t;
    struct store_snapshot s;
    struct store_sandbox sb;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(db_layer_add(db, "a", NULL, &err));
    for (size_t i = 0; i < 2; i++) {
        OK(add_snapshot(db, "work", &image, "a", &b, &s, &err));
        make_sandbox(db, "i1", &b, &sb);
        snprintf(sb.state, sizeof(sb.state), "%s", states[i]);
        OK(db_sandbox_put(db, &sb, &err));
        assert_int_equal(db_template_delete(db, team, "work", note, &g, &err), -EBUSY);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.msg, "template 'work' cannot be deleted: 1 sandboxes, running or"
                                     " paused, and 0 snapshots stand on it");
        assert_int_equal(db_template_delete(db, team, s.id, note, &g, &err), -EBUSY);
        assert_int_equal(g.n, 0);
        OK(db_template_resolve(db, team, "work", &t, &found, &err)); /* the tag is still there */
        assert_string_equal(found.id, b.id);
        assert_kept(db, "builds", b.id);
        assert_kept(db, "templates", t.id);
        end(db, "i1");
    }
    OK(db_template_delete(db, team, "work", note, &g, &err));
    assert_int_equal(g.n, 2);
}

/* The build that lost its tag is still in use: it stays, until it is pruned. */
static void test_delete_of_a_tag_leaves_older_builds_in_use(void **state)
{
    struct store_build image, older, newer, found;
    struct store_template t;
    struct store_snapshot s;
    struct store_sandbox sb;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "work", &image, NULL, &older, &s, &err));
    make_sandbox(db, "i1", &older, &sb);
    OK(db_sandbox_put(db, &sb, &err));
    OK(add_snapshot(db, "work", &image, NULL, &newer, &s, &err));
    OK(db_template_delete(db, team, "work:default", note, &g, &err));
    assert_int_equal(g.n, 1);
    assert_memory_equal(g.dirs, newer.dir, strlen(newer.dir));
    assert_int_equal(db_template_resolve(db, team, "work", &t, &found, &err), -ENOENT);
    OK(db_template_find(db, team, "work", &t, &err));

    g = (struct gone){ 0 };
    OK(db_template_prune(db, NULL, INT64_MAX, remove_dir, &g, &err));
    assert_int_equal(g.n, 0);
    end(db, "i1");
    OK(db_template_prune(db, NULL, INT64_MAX, remove_dir, &g, &err));
    assert_int_equal(g.n, 1);
    assert_int_equal(db_template_find(db, team, "work", &t, &err), -ENOENT);
    OK(db_template_find(db, team, "base", &t, &err));
}

static void test_delete_is_for_the_owner(void **state)
{
    struct store_build image, b;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(db_team_create(db, NULL, "B", "beta", &err));
    struct store_team other;
    OK(db_team_find(db, "beta", &other, &err));
    OK(add_snapshot(db, "work", &image, NULL, &b, &s, &err));
    assert_int_equal(db_template_delete(db, other.id, "default/work", note, &g, &err), -EACCES);
    assert_int_equal(db_template_delete(db, other.id, s.template_id, note, &g, &err), -EACCES);
    assert_int_equal(db_template_delete(db, team, "base", note, &g, &err), -EACCES);
    assert_string_equal(err.msg, "template 'base' is not your team's");
    assert_int_equal(db_template_delete(db, team, "a b", note, &g, &err), -EINVAL);
    assert_int_equal(g.n, 0);
}

/* An image of the team's own, with a snapshot on it. */
static void test_delete_spares_an_image_under_a_snapshot(void **state)
{
    struct store_build image, own = { .vcpus = 1, .dir = "/own" }, b;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    OK(db_template_publish(db, team, "own", &own, &t, &err));
    OK(add_snapshot(db, "work", &own, NULL, &b, &s, &err));
    assert_int_equal(db_template_delete(db, team, "own", note, &g, &err), -EBUSY);
    assert_non_null(strstr(err.msg, "0 sandboxes, running or paused, and 1 snapshots"));
    assert_kept(db, "builds", own.id);
    OK(db_template_delete(db, team, "work", note, &g, &err));
    OK(db_template_delete(db, team, "own", note, &g, &err));
    assert_int_equal(g.n, 2);
}

static void test_prune_spares_what_memory_and_snapshots_stand_on(void **state)
{
    struct store_build first, second, third, b;
    struct store_snapshot s;
    struct store_sandbox sb;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &first);
    add_image(db, "base", "/templates/second", &second);
    add_image(db, "base", "/templates/third", &third);
    OK(add_snapshot(db, "work", &first, NULL, &b, &s, &err));
    make_sandbox(db, "i1", &b, &sb);
    snprintf(sb.state, sizeof(sb.state), "paused");
    memcpy(sb.base_build_id, second.id, sizeof(sb.base_build_id));
    OK(db_sandbox_put(db, &sb, &err));
    OK(db_template_prune(db, first.template_id, INT64_MAX, remove_dir, &g, &err));
    assert_int_equal(g.n, 0);
    assert_kept(db, "builds", first.id);
    assert_kept(db, "builds", second.id);
    end(db, "i1");
    OK(db_template_prune(db, first.template_id, INT64_MAX, remove_dir, &g, &err));
    assert_string_equal(g.dirs, "/templates/second ");
    OK(db_template_delete(db, team, "work", note, &g, &err));
    g = (struct gone){ 0 };
    OK(db_template_prune(db, first.template_id, INT64_MAX, remove_dir, &g, &err));
    assert_string_equal(g.dirs, "/templates/base ");
}

static void test_delete_that_is_not_committed_removes_nothing(void **state)
{
    struct store_build image, b, found;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct gone g = { 0 };
    struct db *db = open_with_image(state, &image);
    NEED_FAULT_POINTS();
    OK(add_snapshot(db, "work", &image, NULL, &b, &s, &err));
    setenv("SANDPIT_FAULTS", "store.commit", 1);
    int rc = db_template_delete(db, team, "work", note, &g, &err);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(rc, -ENOSPC);
    assert_int_equal(g.n, 0);
    OK(db_template_resolve(db, team, "work", &t, &found, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_delete_takes_a_snapshot),
        PLACE_TEST(test_delete_of_a_tag_takes_its_build_only),
        PLACE_TEST(test_delete_without_a_tag_takes_all),
        PLACE_TEST(test_delete_spares_what_sandboxes_stand_on),
        PLACE_TEST(test_delete_of_a_tag_leaves_older_builds_in_use),
        PLACE_TEST(test_delete_is_for_the_owner),
        PLACE_TEST(test_delete_spares_an_image_under_a_snapshot),
        PLACE_TEST(test_prune_spares_what_memory_and_snapshots_stand_on),
        PLACE_TEST(test_delete_that_is_not_committed_removes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
