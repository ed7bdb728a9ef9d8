#include "records.h"

#define TEAM_B "bbbbbbbb-0000-4000-8000-000000000000"

static char team[ID_UUID_SIZE];

static struct db *open_with_image(void **state, struct store_build *image)
{
    struct db *db = place_open(*state);
    struct err err;
    OK(db_script(db, "INSERT INTO teams VALUES ('" TEAM_B "', 'B', 'beta', 1)", &err));
    default_team(db, team);
    add_image(db, "base", "/templates/base", image);
    return db;
}

static void test_publish_then_resolve(void **state)
{
    struct store_build image, made, found;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct db *db = open_with_image(state, &image);
    OK(db_layer_add(db, "a", NULL, &err));
    OK(db_layer_add(db, "b", "a", &err));
    OK(add_snapshot(db, "Work:v1.2", &image, "b", &made, &s, &err));
    assert_string_equal(s.id, "default/work:v1.2");
    assert_string_equal(s.name, "default/work");
    assert_string_equal(s.build_id, made.id);
    assert_string_equal(made.kind, "snapshot");
    assert_string_equal(made.status, "ready");

    OK(db_template_resolve(db, team, s.id, &t, &found, &err));
    assert_true(t.is_snapshot);
    assert_string_equal(found.id, made.id);
    assert_string_equal(found.kind, "snapshot");
    assert_string_equal(found.dir, made.dir);
    assert_string_equal(found.base_build_id, image.id);
    assert_string_equal(found.base_dir, "/templates/base");
    assert_string_equal(found.memory_base, "build");
    assert_string_equal(found.source_sandbox_id, "isource");
    assert_string_equal(found.layer_id, "b");
    assert_int_equal(found.nlayers, 2);
    assert_string_equal(found.layers[0], "a");
    assert_string_equal(found.layers[1], "b");
    assert_false(found.filesystem_only);
    OK(db_template_resolve(db, team, "work:v1.2", &t, &found, &err));
    assert_int_equal(db_template_resolve(db, team, "work", &t, &found, &err), -ENOENT);
    assert_string_equal(err.msg, "tag 'default' does not exist for template 'work'");
    assert_int_equal(db_template_resolve(db, TEAM_B, s.id, &t, &found, &err), -EACCES);

    OK(db_template_resolve(db, team, "base", &t, &found, &err));
    assert_false(t.is_snapshot);
    assert_string_equal(found.kind, "image");
    assert_string_equal(found.base_build_id, image.id);
    assert_string_equal(found.base_dir, "/templates/base");
    assert_string_equal(found.memory_base, "zeros");
    assert_int_equal(found.nlayers, 0);
}

static void test_publish_without_a_name_makes_a_template(void **state)
{
    struct store_build image, made, found;
    struct store_template t;
    struct store_snapshot one, two;
    struct err err;
    char expected[64];
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, NULL, &image, NULL, &made, &one, &err));
    OK(add_snapshot(db, NULL, &image, NULL, &made, &two, &err));
    assert_string_not_equal(one.template_id, two.template_id);
    snprintf(expected, sizeof(expected), "%s:default", two.template_id);
    assert_string_equal(two.id, expected);
    assert_string_equal(two.name, "");
    OK(db_template_resolve(db, team, two.id, &t, &found, &err));
    assert_string_equal(found.id, made.id);
    OK(db_template_resolve(db, team, two.template_id, &t, &found, &err));
    assert_string_equal(found.id, made.id);
}

static void test_publish_again_moves_the_tag(void **state)
{
    struct store_build image, first, second, found;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "work", &image, NULL, &first, &s, &err));
    char template[ID_TEMPLATE_SIZE];
    memcpy(template, s.template_id, sizeof(template));
    OK(add_snapshot(db, "default/work", &image, NULL, &second, &s, &err));
    assert_string_equal(s.template_id, template);
    assert_string_equal(s.id, "default/work:default");
    OK(db_template_resolve(db, team, "work", &t, &found, &err));
    assert_string_equal(found.id, second.id);
    assert_int_equal(t.build_count, 2);
}

static void test_publish_refuses(void **state)
{
    struct store_build image, b, own;
    struct store_template t;
    struct store_snapshot s;
    struct err err;
    char longest[TEMPLATE_NAME_SIZE + TEMPLATE_NAME_SIZE];
    struct db *db = open_with_image(state, &image);
    b = (struct store_build){ .vcpus = 1 };
    OK(db_template_publish(db, team, "mine", &b, &t, &err));
    assert_int_equal(add_snapshot(db, "mine", &image, NULL, &b, &s, &err), -EEXIST);
    assert_int_equal(err.code, ERR_EXISTS);
    assert_int_equal(add_snapshot(db, "beta/x", &image, NULL, &b, &s, &err), -EINVAL);
    assert_int_equal(add_snapshot(db, "a b", &image, NULL, &b, &s, &err), -EINVAL);
    assert_int_equal(add_snapshot(db, "a:" TEAM_B, &image, NULL, &b, &s, &err), -EINVAL);
    memset(longest, 'a', sizeof(longest));
    longest[TEMPLATE_NAME_SIZE - 1] = ':';
    longest[sizeof(longest) - 10] = '\0';
    assert_int_equal(add_snapshot(db, longest, &image, NULL, &b, &s, &err), -EINVAL);
    own = (struct store_build){ .id = "none" };
    assert_int_equal(add_snapshot(db, "x", &own, NULL, &b, &s, &err), -ENOENT);
    OK(add_snapshot(db, "x", &image, NULL, &own, &s, &err));
    /* A snapshot stands on an image, not on a snapshot. */
    assert_int_equal(add_snapshot(db, "y", &own, NULL, &b, &s, &err), -ENOENT);
    assert_int_equal(add_snapshot(db, "y", &image, "no-layer", &b, &s, &err), -EEXIST);
    /* And the other way round: an image under a snapshot's name. */
    assert_int_equal(db_template_publish(db, team, "x", &b, &t, &err), -EEXIST);
    assert_string_equal(err.msg, "'x' is the name of a snapshot");
    assert_int_equal(number(db, "SELECT count(*) FROM builds"), 3);
    assert_int_equal(number(db, "SELECT count(*) FROM templates"), 3);
}

struct listing {
    char ids[512];
    struct store_snapshot last;
};

static void add_listed(void *user, const struct store_snapshot *s)
{
    struct listing *l = user;
    size_t n = strlen(l->ids);
    snprintf(l->ids + n, sizeof(l->ids) - n, "%s ", s->id);
    l->last = *s;
}

static const char *list(struct db *db, const char *of, struct snapshot_filter filter)
{
    static struct listing l;
    struct err err;
    l = (struct listing){ "" };
    OK(db_snapshot_list(db, of, &filter, add_listed, &l, &err));
    return l.ids;
}

static void test_list_filters_and_pages(void **state)
{
    struct store_build image, b;
    struct store_snapshot s;
    struct err err;
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "one", &image, NULL, &b, &s, &err));
    OK(add_snapshot(db, "one:v2", &image, NULL, &b, &s, &err));
    OK(add_snapshot(db, "two", &image, NULL, &b, &s, &err));
    /* Two of the same time, whose order is still the same each time. */
    OK(db_script(db,
                 "UPDATE builds SET created_ns = 7 WHERE kind = 'snapshot';"
                 "UPDATE builds SET created_ns = 9, source_sandbox_id = 'iother'"
                 " WHERE id IN (SELECT build_id FROM template_tags WHERE tag = 'v2')",
                 &err));
    const char *all = list(db, team, (struct snapshot_filter){ 0 });
    assert_memory_equal(all, "default/one:v2 ", 15);
    assert_non_null(strstr(all, " default/one:default "));
    assert_non_null(strstr(all, " default/two:default "));
    assert_string_equal(list(db, TEAM_B, (struct snapshot_filter){ 0 }), "");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .sandbox_id = "iother" }),
                        "default/one:v2 ");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "one" }),
                        "default/one:v2 default/one:default ");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "one:default" }),
                        "default/one:default ");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "default/one:v2" }),
                        "default/one:v2 ");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = s.template_id }),
                        "default/two:default ");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "beta/one" }), "");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "none" }), "");
    assert_string_equal(list(db, team, (struct snapshot_filter){ .name = "base" }), "");

    char paged[512] = "";
    struct listing l = { "" };
    struct snapshot_filter page = { .limit = 1 };
    for (int i = 0; i < 4; i++) {
        l.ids[0] = '\0';
        OK(db_snapshot_list(db, team, &page, add_listed, &l, &err));
        assert_int_equal(l.ids[0] != '\0', i < 3);
        strcat(paged, l.ids);
        page.after_ns = l.last.created_ns;
        page.after_template = l.last.template_id;
        page.after_tag = l.last.tag;
    }
    assert_string_equal(paged, list(db, team, (struct snapshot_filter){ 0 }));
    page = (struct snapshot_filter){ .name = "a b" };
    assert_int_equal(db_snapshot_list(db, team, &page, add_listed, &l, &err), -EINVAL);
}

static void no_template(void *user, const struct store_template *t, const struct store_build *b)
{
    (void)b;
    strcat(user, t->name);
}

static void test_templates_are_listed_without_snapshots(void **state)
{
    struct store_build image, b;
    struct store_snapshot s;
    struct err err;
    struct db *db = open_with_image(state, &image);
    OK(add_snapshot(db, "work", &image, NULL, &b, &s, &err));
    char names[64] = "";
    OK(db_template_list(db, team, no_template, names, &err));
    assert_string_equal(names, "base");
}

static int64_t kept(struct db *db, const char *team_id)
{
    struct err err;
    int64_t n = -1;
    OK(db_team_kept(db, team_id, &n, &err));
    return n;
}

static void test_what_a_team_keeps_is_counted(void **state)
{
    struct store_build image, made;
    struct store_sandbox sb;
    struct store_snapshot s;
    struct err err;
    struct db *db = open_with_image(state, &image);
    make_sandbox(db, "i1", &image, &sb);
    OK(db_sandbox_put(db, &sb, &err));
    assert_int_equal(kept(db, team), 0);
    snprintf(sb.state, sizeof(sb.state), "paused");
    OK(db_sandbox_put(db, &sb, &err));
    assert_int_equal(kept(db, team), 1);
    /* One that another has replaced is on the disk until it is pruned. */
    for (int i = 0; i < 2; i++)
        OK(add_snapshot(db, "work", &image, NULL, &made, &s, &err));
    assert_int_equal(kept(db, team), 3);
    assert_int_equal(kept(db, TEAM_B), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_publish_then_resolve),
        PLACE_TEST(test_publish_without_a_name_makes_a_template),
        PLACE_TEST(test_publish_again_moves_the_tag),
        PLACE_TEST(test_publish_refuses),
        PLACE_TEST(test_what_a_team_keeps_is_counted),
        PLACE_TEST(test_list_filters_and_pages),
        PLACE_TEST(test_templates_are_listed_without_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
