#include "world.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <string.h>

#define SECOND INT64_C(1000000000)

static struct sandbox *add(struct world *w, const char *id)
{
    return fake_host_add(&w->host, id, w->team_id, clock_wall_ns(), NULL);
}

static void test_get_has_every_field(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct sandbox *sb = add(w, "iabc");
    sb->started_ns = INT64_C(1767323045123000000); /* 2026-01-02T03:04:05.123Z */
    sb->end_ns = sb->started_ns + 60 * SECOND;
    json_object_set_new(sb->metadata, "k", json_string("v"));
    expect(w, &r, 200, "GET", "/sandboxes/iabc", NULL);
    json_t *expected = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:{s:s}, s:s, s:s,"
        " s:{s:b, s:s}}",
        "templateID", "tttttttttttttttttttt", "sandboxID", "iabc", "clientID", "6532622b",
        "envdVersion", "0.6.13", "alias", "base", "startedAt", "2026-01-02T03:04:05.123Z", "endAt",
        "2026-01-02T03:05:05.123Z", "cpuCount", 1, "memoryMB", 512, "diskSizeMB", 4096, "state",
        "running", "metadata", "k", "v", "envdAccessToken", "token-of-iabc", "domain",
        "localhost:3002", "lifecycle", "autoResume", 0, "onTimeout", "kill");
    if (!json_equal(r.json, expected))
        fail_msg("got %s", r.body);
    json_decref(expected);
    reply_free(&r);
}

static void test_ids_are_checked(void **state)
{
    struct world *w = *state;
    struct reply r;
    add(w, "iabc");
    static const char *const bad[] = { "iabc-6532622b-x", "IABC",      "i%2e%2e", "i_abc", "-iabc",
                                       "i%20abc",         "%2e%2e%2f", "i'abc",   "i;--" };
    static const char *const targets[][2] = { { "GET", "" },           { "DELETE", "" },
                                              { "POST", "/timeout" },  { "POST", "/refreshes" },
                                              { "POST", "/connect" },  { "POST", "/resume" },
                                              { "POST", "/pause" },    { "POST", "/fork" },
                                              { "POST", "/snapshots" } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        for (size_t t = 0; t < ARRAY_LEN(targets); t++) {
            char path[128];
            snprintf(path, sizeof(path), "/sandboxes/%s%s", bad[i], targets[t][1]);
            expect_error(w, 400, "Invalid sandbox ID", targets[t][0], path,
                         targets[t][1][0] ? "{\"timeout\":10}" : NULL);
        }
    }
    expect(w, &r, 200, "GET", "/sandboxes/iabc-6532622b", NULL); /* the legacy form */
    reply_free(&r);
    expect(w, &r, 204, "DELETE", "/sandboxes/iabc-6532622b", NULL);
    reply_free(&r);
}

/* What another team has does not exist, wherever one asks. */
static void test_unknown_and_foreign_are_not_found(void **state)
{
    struct world *w = *state;
    fake_host_add(&w->host, "iforeign", OTHER_TEAM, clock_wall_ns(), NULL);
    static const char *const ids[] = { "iforeign", "inone", "i00000000000000000000000000000000" };
    static const char *const targets[][3] = {
        { "GET", "", "" },          { "DELETE", "", "" },
        { "POST", "/timeout", "" }, { "POST", "/refreshes", "" },
        { "POST", "/connect", "" }, { "POST", "/connect", "/v2" },
        { "POST", "/resume", "" },  { "POST", "/pause", "" },
        { "POST", "/fork", "" },    { "POST", "/snapshots", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        for (size_t t = 0; t < ARRAY_LEN(targets); t++) {
            char path[128], message[128];
            snprintf(path, sizeof(path), "%s/sandboxes/%s%s", targets[t][2], ids[i], targets[t][1]);
            snprintf(message, sizeof(message),
                     "Sandbox \"%s\" doesn't exist or you don't have access to it", ids[i]);
            expect_error(w, 404, message, targets[t][0], path,
                         targets[t][1][0] ? "{\"timeout\":10}" : NULL);
        }
    }
    assert_int_equal(w->host.count, 1);
}

static void test_kill_then_not_found(void **state)
{
    struct world *w = *state;
    struct reply r;
    add(w, "iabc");
    expect(w, &r, 204, "DELETE", "/sandboxes/iabc", NULL);
    assert_int_equal(r.body_n, 0);
    reply_free(&r);
    expect_error(w, 404, "Sandbox \"iabc\" doesn't exist", "DELETE", "/sandboxes/iabc", NULL);
    expect_error(w, 404, "Sandbox \"iabc\" doesn't exist", "POST", "/v2/sandboxes/iabc/connect",
                 "{}");
}

/* How long the sandbox has still to live, with some seconds for a slow machine. */
static void assert_lives_for(const struct sandbox *sb, int64_t seconds)
{
    int64_t left = (sb->end_ns - clock_wall_ns()) / SECOND;
    assert_in_range(left + 30, seconds + 30 - 25, seconds + 30);
}

static void post(struct world *w, int status, const char *path, const char *body)
{
    struct reply r;
    expect(w, &r, status, "POST", path, body);
    reply_free(&r);
}

static void test_timeout_shortens_and_extends(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    post(w, 204, "/sandboxes/iabc/timeout", "{\"timeout\":1000}");
    assert_lives_for(sb, 1000);
    post(w, 204, "/sandboxes/iabc/timeout", "{\"timeout\":60}");
    assert_lives_for(sb, 60);
    post(w, 204, "/sandboxes/iabc/timeout", "{\"timeout\":-5}");
    assert_lives_for(sb, 0);
    expect_error(w, 400, "Max instance length exceeded", "POST", "/sandboxes/iabc/timeout",
                 "{\"timeout\":86400000}");
    expect_error(w, 400, "validation error: field 'timeout' is required", "POST",
                 "/sandboxes/iabc/timeout", "{}");
    expect_error(w, 400, "validation error: field 'timeout' must be an integer", "POST",
                 "/sandboxes/iabc/timeout", "{\"timeout\":\"60\"}");
    expect_error(w, 400, "validation error: the body", "POST", "/sandboxes/iabc/timeout", "");
}

static void test_refresh_only_extends(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":3600}");
    assert_lives_for(sb, 3600);
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":60}");
    assert_lives_for(sb, 3600);
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":0}");
    assert_lives_for(sb, 15);
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 204, "/sandboxes/iabc/refreshes", NULL);
    assert_lives_for(sb, 15);
    expect_error(w, 400, "validation error: field 'duration'", "POST", "/sandboxes/iabc/refreshes",
                 "{\"duration\":3601}");
    expect_error(w, 400, "validation error: field 'duration'", "POST", "/sandboxes/iabc/refreshes",
                 "{\"duration\":-1}");
}

static void test_connect_never_shortens(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct sandbox *sb = add(w, "iabc");
    sb->end_ns = clock_wall_ns() + 1000 * SECOND;
    expect(w, &r, 200, "POST", "/v2/sandboxes/iabc/connect", "{\"timeout\":77}");
    assert_string_equal(json_string_value(json_object_get(r.json, "sandboxID")), "iabc");
    assert_string_equal(json_string_value(json_object_get(r.json, "envdAccessToken")),
                        "token-of-iabc");
    assert_string_equal(json_string_value(json_object_get(r.json, "domain")), "localhost:3002");
    reply_free(&r);
    assert_lives_for(sb, 1000);
    post(w, 200, "/v2/sandboxes/iabc/connect", "{\"timeout\":2000}");
    assert_lives_for(sb, 2000);
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 200, "/v2/sandboxes/iabc/connect", "{}");
    assert_lives_for(sb, 300);
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 200, "/v2/sandboxes/iabc/connect", NULL);
    assert_lives_for(sb, 300);
    post(w, 200, "/sandboxes/iabc/connect", "{\"timeout\":500}");
    assert_lives_for(sb, 500);
    expect_error(w, 400, "validation error: field 'timeout' is required", "POST",
                 "/sandboxes/iabc/connect", "{}");
    expect_error(w, 400, "Timeout cannot be greater than 24 hours", "POST",
                 "/v2/sandboxes/iabc/connect", "{\"timeout\":86401}");
    expect_error(w, 400, "validation error: field 'memory'", "POST", "/v2/sandboxes/iabc/connect",
                 "{\"memory\":0}");
}

static void test_connect_resumes_a_paused_one(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct sandbox *sb = add(w, "iabc");
    sb->end_ns = clock_wall_ns() + 5000 * SECOND;
    fake_host_move(sb, SANDBOX_PAUSED);
    w->host.timings.us[SANDBOX_PHASE_RESTORE] = 12345;
    expect_error(w, 400, "Timeout must be greater than 0", "POST", "/v2/sandboxes/iabc/connect",
                 "{\"timeout\":0}");
    expect(w, &r, 201, "POST", "/v2/sandboxes/iabc/connect", "{\"memory\":false}");
    assert_string_equal(json_string_value(json_object_get(r.json, "envdAccessToken")),
                        "token-of-iabc");
    assert_string_equal(reply_header(&r, "server-timing"), "restore;dur=12.345");
    reply_free(&r);
    assert_true(w->host.transition.reboot);
    assert_int_equal(w->host.transition.timeout_s, 300);
    assert_lives_for(sb, 300);
    post(w, 200, "/v2/sandboxes/iabc/connect", "{\"timeout\":0}");

    fake_host_move(sb, SANDBOX_PAUSED);
    post(w, 201, "/sandboxes/iabc/connect", "{\"timeout\":77}");
    assert_false(w->host.transition.reboot);
    assert_lives_for(sb, 77);
    fake_host_move(sb, SANDBOX_PAUSED);
    post(w, 201, "/sandboxes/iabc/resume", NULL);
    assert_int_equal(w->host.transition.timeout_s, 15);
    assert_true(w->host.transition.must_be_paused);

    fake_host_move(sb, SANDBOX_PAUSED);
    err_fill(&w->host.fail, ERR_ABORTED, "its guest did not answer");
    w->host.fail.reason = SANDBOX_REASON_UNRESPONSIVE;
    expect(w, &r, 409, "POST", "/v2/sandboxes/iabc/connect", "{}");
    assert_string_equal(json_string_value(json_object_get(r.json, "error_code")),
                        SANDBOX_REASON_UNRESPONSIVE);
    assert_int_equal(json_integer_value(json_object_get(r.json, "code")), 409);
    reply_free(&r);
    err_fill(&w->host.fail, ERR_UNAVAILABLE, "the host is busy");
    expect_error(w, 503, "the host is busy", "POST", "/v2/sandboxes/iabc/connect", "{}");
    err_fill(&w->host.fail, ERR_EXHAUSTED, "you have reached the maximum");
    expect_error(w, 429, "you have reached the maximum", "POST", "/v2/sandboxes/iabc/connect",
                 "{}");
}

/* Only a running sandbox has an end that can be moved. */
static void test_time_of_one_that_does_not_run(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    static const struct {
        enum sandbox_state state;
        int status;
        const char *message;
    } cases[] = {
        { SANDBOX_PAUSING, 409, "Sandbox \"iabc\" is being paused" },
        { SANDBOX_PAUSED, 404, "Sandbox \"iabc\" is paused" },
        { SANDBOX_RESUMING, 409, "Sandbox \"iabc\" is being resumed" },
    };
    int64_t end_ns = sb->end_ns;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fake_host_move(sb, cases[i].state);
        expect_error(w, cases[i].status, cases[i].message, "POST", "/sandboxes/iabc/timeout",
                     "{\"timeout\":1000}");
        expect_error(w, cases[i].status, cases[i].message, "POST", "/sandboxes/iabc/refreshes",
                     NULL);
    }
    assert_int_equal(sb->end_ns, end_ns);
}

static void test_get_and_kill_a_paused_one(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct sandbox *sb = add(w, "iabc");
    fake_host_move(sb, SANDBOX_PAUSING);
    expect(w, &r, 200, "GET", "/sandboxes/iabc", NULL);
    assert_string_equal(json_string_value(json_object_get(r.json, "state")), "paused");
    assert_null(json_object_get(r.json, "pauseMode"));
    assert_null(json_object_get(r.json, "envdUnresponsiveAtPause"));
    reply_free(&r);
    fake_host_move(sb, SANDBOX_PAUSED);
    sb->filesystem_only = true;
    sb->unresponsive_at_pause = true;
    expect(w, &r, 200, "GET", "/sandboxes/iabc", NULL);
    assert_string_equal(json_string_value(json_object_get(r.json, "pauseMode")), "filesystem");
    assert_true(json_is_true(json_object_get(r.json, "envdUnresponsiveAtPause")));
    reply_free(&r);
    sb->filesystem_only = sb->unresponsive_at_pause = false;
    expect(w, &r, 200, "GET", "/sandboxes/iabc", NULL);
    assert_string_equal(json_string_value(json_object_get(r.json, "pauseMode")), "full");
    assert_null(json_object_get(r.json, "envdUnresponsiveAtPause"));
    reply_free(&r);
    expect(w, &r, 204, "DELETE", "/sandboxes/iabc", NULL);
    reply_free(&r);
    expect_error(w, 404, "Sandbox \"iabc\" doesn't exist", "DELETE", "/sandboxes/iabc", NULL);
}

/* The record of an end comes with the 404, to the team that the sandbox was of. */
static void test_get_of_an_ended_one_tells_why(void **state)
{
    struct world *w = *state;
    struct reply r;
    w->host.death = (struct store_death){ .sandbox_id = "iabc",
                                          .team_id = w->team_id,
                                          .when_ns = INT64_C(1767323045000000000),
                                          .reason = "deadline",
                                          .detail = "endAt was reached",
                                          .actor = "deadline" };
    expect(w, &r, 404, "GET", "/sandboxes/iabc-6532622b", NULL);
    json_t *expected =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "code", 404, "message",
                  "Sandbox \"iabc\" doesn't exist or you don't have access to it", "error_code",
                  "sandbox_ended", "reason", "deadline", "detail", "endAt was reached", "actor",
                  "deadline", "endedAt", "2026-01-02T03:04:05Z");
    if (!json_equal(r.json, expected))
        fail_msg("got %s", r.body);
    json_decref(expected);
    reply_free(&r);
    ask_with(w, &r, w->other_key, "GET", "/sandboxes/iabc", NULL);
    assert_int_equal(r.status, 404);
    assert_null(json_object_get(r.json, "reason"));
    reply_free(&r);
}

/* Near the end of the longest life, what only extends gives what is left and is no error. */
static void test_extending_stops_at_the_longest_life(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    sb->started_ns = clock_wall_ns() - (86400 - 100) * SECOND;
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 200, "/v2/sandboxes/iabc/connect", "{\"timeout\":300}");
    assert_lives_for(sb, 100);
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":3600}");
    assert_lives_for(sb, 100);
    sb->started_ns = clock_wall_ns() - 86400 * SECOND;
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 200, "/v2/sandboxes/iabc/connect", "{\"timeout\":300}");
    assert_lives_for(sb, 1);
}

/* Each run may be as long as any: an old sandbox that was resumed is not at its end. */
static void test_a_refresh_counts_from_the_resume(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    sb->started_ns = clock_wall_ns() - 3 * 86400 * SECOND;
    w->host.run_began_ns = clock_wall_ns();
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":3600}");
    assert_lives_for(sb, 3600);
    w->config.max_lifetime_s = 600;
    sb->end_ns = clock_wall_ns() + SECOND;
    post(w, 204, "/sandboxes/iabc/refreshes", "{\"duration\":3600}");
    assert_lives_for(sb, 600);
}

static void test_resume_of_a_running_one_is_a_conflict(void **state)
{
    struct world *w = *state;
    add(w, "iabc");
    expect_error(w, 409, "Sandbox \"iabc\" is already running", "POST", "/sandboxes/iabc/resume",
                 "{\"timeout\":10}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_get_has_every_field),
        WORLD_TEST(test_ids_are_checked),
        WORLD_TEST(test_unknown_and_foreign_are_not_found),
        WORLD_TEST(test_kill_then_not_found),
        WORLD_TEST(test_timeout_shortens_and_extends),
        WORLD_TEST(test_refresh_only_extends),
        WORLD_TEST(test_connect_never_shortens),
        WORLD_TEST(test_connect_resumes_a_paused_one),
        WORLD_TEST(test_time_of_one_that_does_not_run),
        WORLD_TEST(test_get_and_kill_a_paused_one),
        WORLD_TEST(test_get_of_an_ended_one_tells_why),
        WORLD_TEST(test_extending_stops_at_the_longest_life),
        WORLD_TEST(test_a_refresh_counts_from_the_resume),
        WORLD_TEST(test_resume_of_a_running_one_is_a_conflict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
