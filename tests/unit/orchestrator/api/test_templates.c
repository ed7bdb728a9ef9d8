#include "world.h"

#include "common/base/cleanup.h"

#include <string.h>

static void test_list_shows_what_the_team_may_use(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect(w, &r, 200, "GET", "/templates", NULL);
    assert_int_equal(json_array_size(r.json), 1);
    const json_t *t = json_array_get(r.json, 0);
    static const char *const required[] = {
        "templateID", "buildID",    "cpuCount",    "memoryMB",    "diskSizeMB", "public",
        "aliases",    "names",      "createdAt",   "updatedAt",   "createdBy",  "lastSpawnedAt",
        "spawnCount", "buildCount", "envdVersion", "buildStatus",
    };
    for (size_t i = 0; i < ARRAY_LEN(required); i++)
        if (!json_object_get(t, required[i]))
            fail_msg("%s is missing", required[i]);
    assert_string_equal(json_string_value(json_object_get(t, "templateID")), w->template_id);
    assert_true(json_is_true(json_object_get(t, "public")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(t, "aliases"), 0)),
                        "base");
    assert_string_equal(json_string_value(json_array_get(json_object_get(t, "names"), 0)), "base");
    assert_string_equal(json_string_value(json_object_get(t, "buildStatus")), "ready");
    assert_true(json_is_null(json_object_get(t, "lastSpawnedAt")));
    assert_true(json_is_null(json_object_get(t, "createdBy")));
    assert_int_equal(json_integer_value(json_object_get(t, "cpuCount")), 1);
    assert_int_equal(json_integer_value(json_object_get(t, "memoryMB")), 512);
    assert_int_equal(json_integer_value(json_object_get(t, "buildCount")), 1);
    reply_free(&r);

    ask_with(w, &r, w->other_key, "GET", "/templates", NULL);
    assert_int_equal(json_array_size(r.json), 2);
    t = json_array_get(r.json, 1);
    assert_string_equal(json_string_value(json_array_get(json_object_get(t, "names"), 0)),
                        "other/private");
    reply_free(&r);
}

static void test_list_checks_the_team(void **state)
{
    struct world *w = *state;
    struct reply r;
    char target[128];
    snprintf(target, sizeof(target), "/templates?teamID=%s", w->team_id);
    expect(w, &r, 200, "GET", target, NULL);
    reply_free(&r);
    expect_error(w, 400, "the API key is not of the team", "GET", "/templates?teamID=" OTHER_TEAM,
                 NULL);
}

static void test_alias_tells_free_from_taken(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect(w, &r, 200, "GET", "/templates/aliases/base", NULL);
    assert_string_equal(json_string_value(json_object_get(r.json, "templateID")), w->template_id);
    assert_true(json_is_true(json_object_get(r.json, "public")));
    reply_free(&r);
    expect_error(w, 404, "template 'does-not-exist' not found", "GET",
                 "/templates/aliases/does-not-exist", NULL);
    expect_error(w, 403, "you don't have access", "GET", "/templates/aliases/other%2Fprivate",
                 NULL);
    expect_error(w, 400, "invalid template reference", "GET", "/templates/aliases/a%20b", NULL);
    char longest[512] = "/templates/aliases/";
    memset(longest + strlen(longest), 'a', 400);
    longest[450] = '\0';
    expect_error(w, 400, "*the alias is too long", "GET", longest, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_list_shows_what_the_team_may_use),
        WORLD_TEST(test_list_checks_the_team),
        WORLD_TEST(test_alias_tells_free_from_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
