/* Snapshots that the store has: listed, in pages, and deleted as the templates that they are. */
#include "world.h"

#include "common/base/cleanup.h"

#include <string.h>

#define SECOND INT64_C(1000000000)
#define BASE   INT64_C(1767323045000000000)

/* What a checkpoint of a sandbox leaves in the database. Gives its id. */
static void publish(struct world *w, const char *team_id, const char *name, const char *sandbox_id,
                    int64_t created_ns, char id[TEMPLATE_REF_MAX + 1])
{
    struct err err;
    struct db *db;
    struct store_template base;
    struct store_build image, b = { .vcpus = 1, .memory_mb = 512, .disk_mb = 4096 };
    struct store_snapshot s;
    assert_int_equal(db_open(&db, w->dir, &err), 0);
    assert_int_equal(db_template_resolve(db, team_id, "base", &base, &image, &err), 0);
    snprintf(b.dir, sizeof(b.dir), "/nowhere");
    snprintf(b.envd_version, sizeof(b.envd_version), "0.6.13");
    snprintf(b.base_build_id, sizeof(b.base_build_id), "%s", image.id);
    snprintf(b.source_sandbox_id, sizeof(b.source_sandbox_id), "%s", sandbox_id);
    b.created_ns = created_ns;
    if (db_snapshot_publish(db, team_id, name, &b, &s, &err))
        fail_msg("publish: %s", err.msg);
    snprintf(id, TEMPLATE_REF_MAX + 1, "%s", s.id);
    db_close(db);
}

struct ids {
    char a[TEMPLATE_REF_MAX + 1], b[TEMPLATE_REF_MAX + 1], c[TEMPLATE_REF_MAX + 1],
        other[TEMPLATE_REF_MAX + 1];
};

static void publish_some(struct world *w, struct ids *ids)
{
    publish(w, w->team_id, "work", "iabc", BASE, ids->a);
    publish(w, w->team_id, "work:v__2", "iabc", BASE + SECOND, ids->b);
    publish(w, w->team_id, NULL, "iother", BASE + SECOND + 1, ids->c);
    publish(w, OTHER_TEAM, "work", "iforeign", BASE, ids->other);
}

static void expect_list(struct world *w, const char *query, const char *const *ids, size_t n)
{
    struct reply r;
    char target[1024];
    snprintf(target, sizeof(target), "/snapshots%s", query);
    expect(w, &r, 200, "GET", target, NULL);
    if (json_array_size(r.json) != n)
        fail_msg("%s: got %s", query, r.body);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(r.json, i), "snapshotID")), ids[i]);
    reply_free(&r);
}

static void test_list_filters(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct ids ids;
    expect_list(w, "", NULL, 0);
    publish_some(w, &ids);
    expect_list(w, "", (const char *[]){ ids.c, ids.b, ids.a }, 3);
    expect_list(w, "?sandboxID=iabc", (const char *[]){ ids.b, ids.a }, 2);
    expect_list(w, "?sandboxID=iabc-6532622b", (const char *[]){ ids.b, ids.a }, 2);
    expect_list(w, "?sandboxID=iforeign", NULL, 0);
    expect_list(w, "?name=work", (const char *[]){ ids.b, ids.a }, 2);
    expect_list(w, "?name=default%2Fwork", (const char *[]){ ids.b, ids.a }, 2);
    expect_list(w, "?name=work%3Av__2", (const char *[]){ ids.b }, 1);
    expect_list(w, "?name=work%3Adefault", (const char *[]){ ids.a }, 1);
    expect_list(w, "?name=none", NULL, 0);
    expect_error(w, 400, "invalid template reference", "GET", "/snapshots?name=a%20b", NULL);
    expect_error(w, 400, "Invalid sandbox ID", "GET", "/snapshots?sandboxID=i_b", NULL);
    expect_error(w, 400, "validation error: query parameter 'limit'", "GET", "/snapshots?limit=0",
                 NULL);

    expect(w, &r, 200, "GET", "/snapshots?name=work:v__2", NULL);
    assert_string_equal(r.body,
                        "[{\"snapshotID\":\"default/work:v__2\",\"names\":[\"default/work\"]}]");
    reply_free(&r);
    expect(w, &r, 200, "GET", "/snapshots?sandboxID=iother", NULL);
    assert_int_equal(json_array_size(json_object_get(json_array_get(r.json, 0), "names")), 0);
    reply_free(&r);
}

static void test_list_pages(void **state)
{
    struct world *w = *state;
    struct ids ids;
    publish_some(w, &ids);
    const char *const expected[] = { ids.c, ids.b, ids.a };
    char target[1024] = "/snapshots?limit=1";
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        struct reply r;
        expect(w, &r, 200, "GET", target, NULL);
        assert_int_equal(json_array_size(r.json), 1);
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(r.json, 0), "snapshotID")),
            expected[i]);
        const char *next = reply_header(&r, "x-next-token");
        assert_int_equal(next != NULL, i + 1 < ARRAY_LEN(expected));
        snprintf(target, sizeof(target), "/snapshots?limit=1&nextToken=%s", next ? next : "");
        reply_free(&r);
    }
    /* Nothing, no text, no time, no template, no tag. */
    static const char *const bad[] = {
        "%21",
        "AAAA",
        "eF9feV9feg",
        "MjAyNi0wMS0wMlQwMzowNDowNVpfX19feA",
        "MjAyNi0wMS0wMlQwMzowNDowNVpfX3hfXw",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(target, sizeof(target), "/snapshots?nextToken=%s", bad[i]);
        expect_error(w, 400, "Invalid next token", "GET", target, NULL);
    }
}

static void test_delete(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct ids ids;
    publish_some(w, &ids);
    expect_error(w, 403, "you don't have access", "DELETE", "/templates/other%2Fwork%3Adefault",
                 NULL);
    expect(w, &r, 204, "DELETE", "/templates/default%2Fwork%3Adefault", NULL);
    reply_free(&r);
    expect_list(w, "", (const char *[]){ ids.c, ids.b }, 2);
    expect_error(w, 404, "*default", "DELETE", "/templates/default%2Fwork%3Adefault", NULL);
    expect(w, &r, 204, "DELETE", "/templates/work", NULL);
    reply_free(&r);
    expect_list(w, "", (const char *[]){ ids.c }, 1);
    expect_error(w, 400, "invalid template reference", "DELETE", "/templates/a%20b", NULL);
    expect_error(w, 404, "*not found", "DELETE", "/templates/work", NULL);
    expect_error(w, 403, "template 'base' is not your team's", "DELETE", "/templates/base", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_list_filters),
        WORLD_TEST(test_list_pages),
        WORLD_TEST(test_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
