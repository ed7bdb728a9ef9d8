/* Pause, snapshot and fork: what is asked of the sandbox, and what its answers become. */
#include "world.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <string.h>

static struct sandbox *add(struct world *w, const char *id)
{
    return fake_host_add(&w->host, id, w->team_id, clock_wall_ns(), NULL);
}

static void test_pause_then_conflict(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct sandbox *sb = add(w, "iabc");
    w->host.timings.us[SANDBOX_PHASE_SAVE] = 20500;
    expect(w, &r, 204, "POST", "/sandboxes/iabc/pause", "{}");
    assert_int_equal(r.body_n, 0);
    assert_string_equal(reply_header(&r, "server-timing"), "save;dur=20.500");
    reply_free(&r);
    assert_int_equal(sm_state(&sb->sm), SANDBOX_PAUSED);
    assert_true(w->host.transition.memory);
    assert_false(w->host.transition.require_healthy);
    assert_memory_equal(w->host.asked.actor, "key e2b_", 8);
    expect_error(w, 409, "Sandbox \"iabc\" is not running", "POST", "/sandboxes/iabc/pause", NULL);
}

/* Pause and snapshot read the same options. */
static void test_what_is_kept(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    static const struct {
        const char *body;
        bool memory, healthy;
    } good[] = {
        { "{\"memory\":true}", true, false },
        { "{\"memory\":false}", false, false },
        { "{\"mode\":\"full\",\"requireHealthyGuest\":true}", true, true },
        { "{\"mode\":\"filesystem\"}", false, false },
        { "{\"mode\":\"filesystem\",\"memory\":false}", false, false },
        { "{\"mode\":\"full\",\"memory\":null}", true, false },
    };
    static const char *const bad[][2] = {
        { "{\"mode\":\"full\",\"memory\":false}", "mode: full contradicts memory: false" },
        { "{\"mode\":\"filesystem\",\"memory\":true}",
          "mode: filesystem contradicts memory: true" },
        { "{\"mode\":\"disk\"}", "validation error: field 'mode' must be full or filesystem" },
        { "{\"mode\":1}", "validation error: field 'mode' must be a string" },
        { "{\"memory\":\"no\"}", "validation error: field 'memory' must be true or false" },
        { "{\"requireHealthyGuest\":1}", "validation error: field 'requireHealthyGuest'" },
    };
    static const char *const targets[] = { "/sandboxes/iabc/pause", "/sandboxes/iabc/snapshots" };
    for (size_t t = 0; t < ARRAY_LEN(targets); t++) {
        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
            expect_error(w, 400, bad[i][1], "POST", targets[t], bad[i][0]);
        assert_int_equal(sm_state(&sb->sm), SANDBOX_RUNNING);
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
            struct reply r;
            expect(w, &r, t == 0 ? 204 : 201, "POST", targets[t], good[i].body);
            reply_free(&r);
            assert_int_equal(w->host.transition.memory, good[i].memory);
            assert_int_equal(w->host.transition.require_healthy,
                             good[i].healthy || (t == 0 && !good[i].memory));
            fake_host_move(sb, SANDBOX_RUNNING);
        }
    }
}

static void test_errors_of_a_pause(void **state)
{
    struct world *w = *state;
    static const struct {
        enum err_code code;
        const char *reason;
        int status;
    } cases[] = {
        { ERR_ABORTED, SANDBOX_REASON_UNRESPONSIVE, 503 }, /* as clients expect it */
        { ERR_ABORTED, NULL, 409 },
        { ERR_EXHAUSTED, NULL, 503 }, /* the disk is full: the client is not asking too often */
        { ERR_UNAVAILABLE, NULL, 503 },
        { ERR_INTERNAL, NULL, 500 },
    };
    static const char *const targets[] = { "/sandboxes/iabc/pause", "/sandboxes/iabc/snapshots" };
    add(w, "iabc");
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(targets); i++) {
        size_t n = i / ARRAY_LEN(targets);
        struct reply r;
        err_fill(&w->host.fail, cases[n].code, "what went wrong");
        w->host.fail.reason = cases[n].reason;
        expect(w, &r, cases[n].status, "POST", targets[i % ARRAY_LEN(targets)], "{}");
        assert_int_equal(json_integer_value(json_object_get(r.json, "code")), cases[n].status);
        assert_string_equal(json_string_value(json_object_get(r.json, "message")),
                            "what went wrong");
        const char *code = json_string_value(json_object_get(r.json, "error_code"));
        if (cases[n].reason)
            assert_string_equal(code, cases[n].reason);
        else
            assert_null(code);
        reply_free(&r);
    }
}

static void test_snapshot_names(void **state)
{
    struct world *w = *state;
    struct reply r;
    add(w, "iabc");
    w->host.timings.us[SANDBOX_PHASE_SAVE] = 1;
    expect(w, &r, 201, "POST", "/sandboxes/iabc/snapshots", "{\"name\":\" Name \"}");
    assert_string_equal(r.body, "{\"snapshotID\":\"test/name:default\",\"names\":[\"test/name\"]}");
    assert_string_equal(reply_header(&r, "server-timing"), "save;dur=0.001");
    reply_free(&r);
    assert_string_equal(w->host.transition.name, "name");
    expect(w, &r, 201, "POST", "/sandboxes/iabc/snapshots", NULL);
    assert_string_equal(r.body, "{\"snapshotID\":\"ttt:default\",\"names\":[]}");
    reply_free(&r);
    assert_string_equal(w->host.transition.name, "");
    expect(w, &r, 201, "POST", "/sandboxes/iabc/snapshots", "{\"name\":\"default/name:v1\"}");
    reply_free(&r);
    assert_string_equal(w->host.transition.name, "name:v1");
    expect_error(w, 400, "'other' is not the name of your team", "POST",
                 "/sandboxes/iabc/snapshots", "{\"name\":\"other/name\"}");
    expect_error(w, 400, "invalid template reference", "POST", "/sandboxes/iabc/snapshots",
                 "{\"name\":\"a b\"}");
    expect_error(w, 400, "validation error: field 'name' must be a string", "POST",
                 "/sandboxes/iabc/snapshots", "{\"name\":5}");
}

static void test_fork_gives_one_entry_each(void **state)
{
    struct world *w = *state;
    struct reply r;
    add(w, "iabc");
    w->host.timings.us[SANDBOX_PHASE_QUEUE] = 400;
    expect(w, &r, 201, "POST", "/sandboxes/iabc/fork", NULL);
    assert_int_equal(json_array_size(r.json), 1);
    const json_t *sandbox = json_object_get(json_array_get(r.json, 0), "sandbox");
    assert_string_equal(json_string_value(json_object_get(sandbox, "sandboxID")),
                        "f00000000000000000000");
    assert_string_equal(json_string_value(json_object_get(sandbox, "clientID")), "6532622b");
    assert_string_equal(json_string_value(json_object_get(sandbox, "domain")), "localhost:3002");
    assert_string_equal(reply_header(&r, "server-timing"), "queue;dur=0.400");
    reply_free(&r);
    assert_int_equal(w->host.transition.timeout_s, 15);

    expect(w, &r, 201, "POST", "/sandboxes/iabc/fork", "{\"count\":100,\"timeout\":60}");
    assert_int_equal(w->host.transition.timeout_s, 60);
    assert_int_equal(json_array_size(r.json), 100);
    assert_non_null(json_object_get(json_array_get(r.json, FAKE_MAX - 3), "sandbox"));
    const json_t *error = json_object_get(json_array_get(r.json, FAKE_MAX - 2), "error");
    assert_int_equal(json_integer_value(json_object_get(error, "code")), 429);
    assert_string_equal(json_string_value(json_object_get(error, "message")),
                        "no room for another one");
    reply_free(&r);
}

static void test_fork_refuses(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = add(w, "iabc");
    static const char *const bad[][2] = {
        { "{\"count\":0}", "validation error: field 'count' must be from 1 to 100" },
        { "{\"count\":101}", "validation error: field 'count' must be from 1 to 100" },
        { "{\"count\":\"2\"}", "validation error: field 'count' must be an integer" },
        { "{\"timeout\":0}", "Timeout must be greater than 0" },
        { "{\"timeout\":86401}", "Timeout cannot be greater than 24 hours" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect_error(w, 400, bad[i][1], "POST", "/sandboxes/iabc/fork", bad[i][0]);
    fake_host_move(sb, SANDBOX_PAUSED);
    expect_error(w, 409, "Sandbox \"iabc\" is not running", "POST", "/sandboxes/iabc/fork", "{}");
    fake_host_move(sb, SANDBOX_RUNNING);
    err_fill(&w->host.fail, ERR_EXHAUSTED, "you have reached the maximum number");
    expect_error(w, 429, "you have reached the maximum number", "POST", "/sandboxes/iabc/fork",
                 "{}");
    assert_int_equal(w->host.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_pause_then_conflict),       WORLD_TEST(test_what_is_kept),
        WORLD_TEST(test_errors_of_a_pause),         WORLD_TEST(test_snapshot_names),
        WORLD_TEST(test_fork_gives_one_entry_each), WORLD_TEST(test_fork_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
