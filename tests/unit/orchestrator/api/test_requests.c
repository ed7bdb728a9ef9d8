#include "world.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <string.h>

static void test_health_needs_no_key(void **state)
{
    struct reply r;
    ask_with(*state, &r, NULL, "GET", "/health", NULL);
    assert_int_equal(r.status, 204);
    assert_int_equal(r.body_n, 0);
    reply_free(&r);
}

/* A stranger cannot hold a connection with a body that nobody wants. */
static void test_a_body_that_nobody_wants_is_not_waited_for(void **state)
{
    static const char text[] = "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    struct world *w = *state;
    struct reply r;
    int fd = world_connect(w);
    world_send(w, fd, text, sizeof(text) - 1);
    world_receive(w, fd, &r);
    assert_int_equal(r.status, 204);
    reply_free(&r);
    close(fd);
}

/* Every error is JSON with the code, unknown paths and methods too. */
static void test_unknown_paths_and_methods_are_json_errors(void **state)
{
    struct world *w = *state;
    expect_error(w, 404, "there is nothing at this path", "GET", "/", NULL);
    expect_error(w, 404, "there is nothing", "GET", "/nothing/here?a=b", NULL);
    expect_error(w, 404, "there is nothing", "POST", "/v9/sandboxes", "{}");
    expect_error(w, 404, "there is nothing", "GET", "/sandboxes/", NULL);
    expect_error(w, 405, "this path takes only GET, DELETE", "PUT", "/sandboxes/iabc", "{}");
    expect_error(w, 405, "this path takes only GET", "DELETE", "/health", NULL);
    expect_error(w, 400, "the path has a malformed escape", "GET", "/sandboxes/%zz", NULL);
    expect_error(w, 400, "the path has a malformed escape", "GET", "/sandboxes/i%00", NULL);
}

static void test_what_is_not_there_yet_says_so(void **state)
{
    struct world *w = *state;
    static const char *const asked[][3] = {
        { "PUT", "/sandboxes/iabc/network",
          "updating the network is not supported by this version of sandpit" },
        { "GET", "/sandboxes/iabc/metrics", "reading metrics is not supported" },
        { "GET", "/sandboxes/metrics", "reading metrics is not supported" },
        { "GET", "/sandboxes/iabc/logs", "reading logs is not supported" },
        { "POST", "/v3/templates", "building or changing templates is not supported" },
        { "GET", "/templates/t/builds/b/status", "building templates is not supported" },
        { "GET", "/volumes", "volume is not supported" },
        { "GET", "/secrets", "secret is not supported" },
        { "POST", "/admin/teams/x/sandboxes/kill", "administration over the API" },
    };
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        expect_error(w, 501, asked[i][2], asked[i][0], asked[i][1], NULL);
}

static void expect_401(struct world *w, const char *key, const char *message)
{
    struct reply r;
    ask_with(w, &r, key, "GET", "/sandboxes", NULL);
    assert_int_equal(r.status, 401);
    assert_int_equal(json_integer_value(json_object_get(r.json, "code")), 401);
    assert_string_equal(json_string_value(json_object_get(r.json, "message")), message);
    reply_free(&r);
}

static void test_keys_are_checked(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect_401(w, NULL, "the X-API-KEY header is missing");
    expect_401(w, "", "invalid API key");
    expect_401(w, "secret", "invalid API key");
    expect_401(w, "e2b_0000000000000000000000000000000000000000", "invalid API key");
    expect_401(w, "e2b_00000000000000000000000000000000000000", "invalid API key");
    char wrong[KEY_SIZE];
    memcpy(wrong, w->key, sizeof(wrong));
    wrong[KEY_SIZE - 2] = wrong[KEY_SIZE - 2] == '0' ? '1' : '0';
    expect_401(w, wrong, "invalid API key");
    expect(w, &r, 200, "GET", "/sandboxes", NULL);
    reply_free(&r);
    /* A path that needs a key tells nothing without one, whether it is served or not. */
    ask_with(w, &r, NULL, "POST", "/sandboxes/iabc/pause", NULL);
    assert_int_equal(r.status, 401);
    reply_free(&r);
}

static void test_header_name_has_no_case(void **state)
{
    struct world *w = *state;
    static const char *const names[] = { "x-api-key", "X-Api-Key", "X-API-KEY" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char text[256];
        struct reply r;
        int n = snprintf(text, sizeof(text), "GET /sandboxes HTTP/1.1\r\nHost: a\r\n%s: %s\r\n\r\n",
                         names[i], w->key);
        int fd = world_connect(w);
        world_send(w, fd, text, (size_t)n);
        world_receive(w, fd, &r);
        assert_int_equal(r.status, 200);
        reply_free(&r);
        close(fd);
    }
}

static void test_revoking_is_in_force_at_once(void **state)
{
    struct world *w = *state;
    struct reply r;
    struct err err;
    struct db *db;
    struct store_key key;
    expect(w, &r, 200, "GET", "/sandboxes", NULL);
    reply_free(&r);
    assert_int_equal(db_open(&db, w->dir, &err), 0);
    assert_int_equal(db_key_revoke(db, w->key_id, &key, &err), 0);
    db_close(db);
    expect_401(w, w->key, "invalid API key");
    ask_with(w, &r, w->other_key, "GET", "/sandboxes", NULL);
    assert_int_equal(r.status, 200);
    reply_free(&r);
}

static void test_bodies_that_are_no_json_objects(void **state)
{
    struct world *w = *state;
    static const char *const bad[] = {
        "", "{", "nonsense", "[]", "\"a\"", "1", "{\"a\"", "{} {}", "{\"a\":\"\\u0000\"}", "null"
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        expect_error(w, 400, "validation error: the body", "POST", "/v2/sandboxes", bad[i]);
        expect_error(w, 400, "validation error: the body", "POST", "/sandboxes", bad[i]);
    }
    expect_error(w, 400, "validation error: the body", "POST", "/sandboxes/iabc/timeout", "{");
    /* Deep nesting is refused, not followed. */
    struct buf deep = { 0 };
    for (int i = 0; i < 100000; i++)
        buf_puts(&deep, "[");
    AUTO_FREE char *text = buf_take_text(&deep);
    expect_error(w, 400, "validation error: the body", "POST", "/v2/sandboxes", text);
}

/* As the JS client sends: chunked, without a length. */
static void test_chunked_body_is_taken(void **state)
{
    struct world *w = *state;
    static const char chunks[] = "8\r\n{\"templa\r\n11\r\nteID\":\"no-such\"}x\r\n0\r\n\r\n";
    char text[512];
    struct reply r;
    int n = snprintf(text, sizeof(text),
                     "POST /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n",
                     w->key);
    int fd = world_connect(w);
    world_send(w, fd, text, (size_t)n);
    world_send(w, fd, chunks, sizeof(chunks) - 1);
    world_receive(w, fd, &r);
    assert_int_equal(r.status, 400); /* the stray x */
    reply_free(&r);

    static const char good[] = "8\r\n{\"templa\r\n10\r\nteID\":\"no-such\"}\r\n0\r\n\r\n";
    world_send(w, fd, text, (size_t)n); /* on the same connection */
    world_send(w, fd, good, sizeof(good) - 1);
    world_receive(w, fd, &r);
    assert_int_equal(r.status, 404);
    reply_free(&r);
    close(fd);
}

static void send_large(struct world *w, const char *key, bool chunked, size_t n, struct reply *r)
{
    char text[512];
    int fd = world_connect(w);
    int len = snprintf(text, sizeof(text),
                       "POST /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\n", key);
    if (chunked)
        len += snprintf(text + len, sizeof(text) - (size_t)len,
                        "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", n);
    else
        len += snprintf(text + len, sizeof(text) - (size_t)len, "Content-Length: %zu\r\n\r\n", n);
    world_send(w, fd, text, (size_t)len);
    AUTO_FREE char *body = malloc(n);
    assert_non_null(body);
    memset(body, ' ', n);
    world_send(w, fd, body, n);
    if (chunked)
        world_send(w, fd, "\r\n0\r\n\r\n", 7);
    world_receive(w, fd, r);
    close(fd);
}

static void test_large_bodies_are_refused_and_the_daemon_goes_on(void **state)
{
    struct world *w = *state;
    struct reply r;
    for (int chunked = 0; chunked < 2; chunked++) {
        send_large(w, w->key, chunked, (16u << 20) + 1, &r);
        assert_int_equal(r.status, 413);
        assert_int_equal(json_integer_value(json_object_get(r.json, "code")), 413);
        reply_free(&r);
        /* The largest that is taken: all spaces, so no JSON. */
        send_large(w, w->key, chunked, 16u << 20, &r);
        assert_int_equal(r.status, 400);
        reply_free(&r);
    }
    send_large(w, "e2b_0000000000000000000000000000000000000000", true, 4u << 20, &r);
    assert_int_equal(r.status, 401);
    reply_free(&r);
    expect(w, &r, 200, "GET", "/sandboxes", NULL);
    reply_free(&r);
}

static void test_browsers_are_let_in(void **state)
{
    struct world *w = *state;
    struct reply r;
    ask_with(w, &r, NULL, "OPTIONS", "/v2/sandboxes", NULL);
    assert_int_equal(r.status, 204);
    assert_string_equal(reply_header(&r, "access-control-allow-origin"), "*");
    static const char *const needed[] = { "Authorization", "X-API-KEY",    "X-Team-ID",
                                          "Content-Type",  "lang_version", "sdk_runtime",
                                          "release" };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++)
        assert_non_null(strstr(reply_header(&r, "access-control-allow-headers"), needed[i]));
    assert_non_null(strstr(reply_header(&r, "access-control-allow-methods"), "DELETE"));
    reply_free(&r);
    /* Errors too, so that a script can read them. */
    ask_with(w, &r, NULL, "GET", "/v2/sandboxes", NULL);
    assert_int_equal(r.status, 401);
    assert_string_equal(reply_header(&r, "access-control-allow-origin"), "*");
    assert_non_null(strstr(reply_header(&r, "access-control-expose-headers"), "X-Next-Token"));
    reply_free(&r);
}

static bool no_calls(struct world *w)
{
    return api_calls(w->api) == 0;
}

static bool one_call(struct world *w)
{
    return api_calls(w->api) == 1;
}

static void test_client_that_leaves_in_the_middle_leaks_nothing(void **state)
{
    struct world *w = *state;
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "POST /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\n"
                     "Content-Length: 100\r\n\r\n{\"templateID\":",
                     w->key);
    int fd = world_connect(w);
    world_send(w, fd, text, (size_t)n);
    world_until(w, one_call);
    close(fd);
    world_until(w, no_calls);
    assert_int_equal(w->host.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_health_needs_no_key),
        WORLD_TEST(test_a_body_that_nobody_wants_is_not_waited_for),
        WORLD_TEST(test_unknown_paths_and_methods_are_json_errors),
        WORLD_TEST(test_what_is_not_there_yet_says_so),
        WORLD_TEST(test_keys_are_checked),
        WORLD_TEST(test_header_name_has_no_case),
        WORLD_TEST(test_revoking_is_in_force_at_once),
        WORLD_TEST(test_bodies_that_are_no_json_objects),
        WORLD_TEST(test_chunked_body_is_taken),
        WORLD_TEST(test_large_bodies_are_refused_and_the_daemon_goes_on),
        WORLD_TEST(test_browsers_are_let_in),
        WORLD_TEST(test_client_that_leaves_in_the_middle_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
