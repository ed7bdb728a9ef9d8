#include "world.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/sha256.h"
#include "common/http/listener.h"

#include <string.h>

static const char *text_of(const struct reply *r, const char *name)
{
    const char *text = json_string_value(json_object_get(r->json, name));
    return text ? text : "(none)";
}

/* The bodies are those that the published clients were seen to send. */
static void test_create_answers_as_the_clients_expect(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect(w, &r, 201, "POST", "/v2/sandboxes",
           "{\"templateID\":\"base\",\"metadata\":{\"a b\":\"c&d\"},\"envVars\":{\"X\":\"1\"}}");
    assert_string_equal(text_of(&r, "templateID"), w->template_id);
    assert_string_equal(text_of(&r, "sandboxID"), "i00000000000000000000");
    assert_string_equal(text_of(&r, "clientID"), "6532622b");
    assert_string_equal(text_of(&r, "envdVersion"), "0.6.13");
    assert_string_equal(text_of(&r, "alias"), "base");
    assert_string_equal(text_of(&r, "domain"), "localhost:3002");
    assert_string_equal(text_of(&r, "envdAccessToken"), "token-of-i00000000000000000000");
    assert_null(json_object_get(r.json, "trafficAccessToken"));
    reply_free(&r);
    assert_int_equal(w->host.asked.timeout_s, 300);
    assert_true(w->host.asked.secure);
    assert_true(w->host.asked.public_traffic);
    assert_string_equal(w->host.asked.team_id, w->team_id);
    assert_string_equal(json_string_value(json_object_get(w->host.asked.envs, "X")), "1");
    assert_string_equal(json_string_value(json_object_get(w->host.asked.metadata, "a b")), "c&d");

    expect(w, &r, 201, "POST", "/v2/sandboxes",
           "{\"templateID\":\"base\",\"metadata\":{},\"envVars\":{},\"timeout\":62,"
           "\"somethingNew\":{\"x\":[1]}}");
    reply_free(&r);
    assert_int_equal(w->host.asked.timeout_s, 62);
}

static void test_create_v1_has_its_own_defaults(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect(w, &r, 201, "POST", "/sandboxes", "{\"templateID\":\"base\"}");
    assert_null(json_object_get(r.json, "envdAccessToken"));
    reply_free(&r);
    assert_int_equal(w->host.asked.timeout_s, 15);
    assert_false(w->host.asked.secure);
    expect(w, &r, 201, "POST", "/sandboxes", "{\"templateID\":\"base\",\"secure\":true}");
    assert_non_null(json_object_get(r.json, "envdAccessToken"));
    reply_free(&r);
    expect_error(w, 400, "validation error: field 'secure'", "POST", "/sandboxes",
                 "{\"templateID\":\"base\",\"secure\":\"yes\"}");
}

static void test_domain_none_is_null(void **state)
{
    struct world *w = *state;
    struct reply r;
    snprintf(w->config.domain, sizeof(w->config.domain), "none");
    expect(w, &r, 201, "POST", "/v2/sandboxes", "{\"templateID\":\"base\"}");
    assert_true(json_is_null(json_object_get(r.json, "domain")));
    reply_free(&r);
}

static void test_create_refuses_bad_timeouts(void **state)
{
    struct world *w = *state;
    static const char *const bad[][2] = {
        { "0", "Timeout must be greater than 0" },
        { "-1", "Timeout must be greater than 0" },
        { "-2147483648", "Timeout must be greater than 0" },
        { "86401", "Timeout cannot be greater than 24 hours" },
        { "2147483647", "Timeout cannot be greater than 24 hours" },
        { "2147483648", "validation error: field 'timeout'" },
        { "99999999999999999999", "validation error: the body" },
        { "1.5", "validation error: field 'timeout' must be an integer" },
        { "\"60\"", "validation error: field 'timeout' must be an integer" },
        { "true", "validation error: field 'timeout' must be an integer" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char body[128];
        snprintf(body, sizeof(body), "{\"templateID\":\"base\",\"timeout\":%s}", bad[i][0]);
        expect_error(w, 400, bad[i][1], "POST", "/v2/sandboxes", body);
        expect_error(w, 400, bad[i][1], "POST", "/sandboxes", body);
    }
    assert_int_equal(w->host.count, 0);
    struct reply r;
    expect(w, &r, 201, "POST", "/v2/sandboxes", "{\"templateID\":\"base\",\"timeout\":86400}");
    reply_free(&r);
    w->config.max_lifetime_s = 5400;
    expect_error(w, 400, "Timeout cannot be greater than 1.5 hours", "POST", "/v2/sandboxes",
                 "{\"templateID\":\"base\",\"timeout\":5401}");
}

static void test_create_refuses_templates_that_cannot_be(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect_error(w, 404, "template 'no-such' not found", "POST", "/v2/sandboxes",
                 "{\"templateID\":\"no-such\"}");
    expect_error(w, 404, "tag 'v1' does not exist for template 'base'", "POST", "/v2/sandboxes",
                 "{\"templateID\":\"base:v1\"}");
    expect_error(w, 403, "you don't have access to template 'other/private'", "POST",
                 "/v2/sandboxes", "{\"templateID\":\"other/private\"}");
    expect_error(w, 400, "validation error: field 'templateID' is required", "POST",
                 "/v2/sandboxes", "{}");
    expect_error(w, 400, "validation error: field 'templateID' is required", "POST",
                 "/v2/sandboxes", "{\"templateID\":null}");
    expect_error(w, 400, "validation error: field 'templateID' must be a string", "POST",
                 "/v2/sandboxes", "{\"templateID\":7}");
    expect_error(w, 400, "invalid template reference", "POST", "/v2/sandboxes",
                 "{\"templateID\":\"../../etc\"}");
    assert_int_equal(w->host.count, 0);
    ask_with(w, &r, w->other_key, "POST", "/v2/sandboxes", "{\"templateID\":\"private\"}");
    assert_int_equal(r.status, 201);
    reply_free(&r);
}

/* Wrong types, and what this version does not do: each is refused by name. */
static void test_create_refuses_bad_and_unkept_options(void **state)
{
    struct world *w = *state;
    static const char *const bad[][2] = {
        { "\"metadata\":[]", "validation error: field 'metadata' must be an object" },
        { "\"metadata\":{\"a\":1}", "validation error: field 'metadata' must hold strings" },
        { "\"envVars\":{\"a\":null}", "validation error: field 'envVars' must hold strings" },
        { "\"envVars\":{\"\":\"x\"}", "validation error: '' is no name" },
        { "\"envVars\":{\"A=B\":\"x\"}", "validation error: 'A=B' is no name" },
        { "\"autoPause\":\"no\"", "validation error: field 'autoPause' must be true or false" },
        { "\"autoPauseMemory\":false", "autoPauseMemory: false needs autoPause: true" },
        { "\"autoResume\":{}", "validation error: field 'enabled' is required" },
        { "\"autoPause\":true,\"autoPauseMemory\":false,\"autoResume\":{\"enabled\":true}",
          "autoPauseMemory: false cannot be combined with autoResume" },
        { "\"autoResume\":true", "validation error: field 'autoResume' must be an object" },
        { "\"allow_internet_access\":0", "validation error: field 'allow_internet_access'" },
        { "\"network\":[]", "validation error: field 'network' must be an object" },
        { "\"network\":{\"allowOut\":[\"1.1.1.1\"]}", "network.allowOut is not supported" },
        { "\"network\":{\"denyOut\":[\"0.0.0.0/0\"]}", "network.denyOut is not supported" },
        { "\"network\":{\"allowOut\":\"x\"}", "validation error: field 'network.allowOut'" },
        { "\"network\":{\"rules\":{\"a.b\":[]}}", "network.rules is not supported" },
        { "\"network\":{\"egressProxy\":{\"address\":\"a:1\"}}", "network.egressProxy is not" },
        { "\"network\":{\"maskRequestHost\":\"a\"}", "network.maskRequestHost is not supported" },
        { "\"network\":{\"dnsServers\":[\"1.1.1.1\"]}", "network.dnsServers is not supported" },
        { "\"network\":{\"httpsPorts\":[443]}", "network.httpsPorts is not supported" },
        { "\"network\":{\"allowPublicTraffic\":1}",
          "validation error: field 'allowPublicTraffic' must be true or false" },
        { "\"volumeMounts\":[{\"name\":\"v\",\"path\":\"/v\"}]", "volumeMounts is not supported" },
        { "\"mcp\":{\"x\":{}}", "mcp is not supported" },
        { "\"iam\":{\"tokens\":{}}", "iam is not supported" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char body[256];
        snprintf(body, sizeof(body), "{\"templateID\":\"base\",%s}", bad[i][0]);
        expect_error(w, 400, bad[i][1], "POST", "/v2/sandboxes", body);
    }
    assert_int_equal(w->host.count, 0);
}

static void test_create_accepts_what_promises_nothing_untrue(void **state)
{
    struct world *w = *state;
    struct reply r;
    expect(w, &r, 201, "POST", "/v2/sandboxes",
           "{\"templateID\":\"base\",\"autoPause\":false,\"autoPauseMemory\":true,"
           "\"autoResume\":{\"enabled\":false},\"allow_internet_access\":false,\"mcp\":null,"
           "\"volumeMounts\":[],\"network\":{\"allowOut\":[],\"denyOut\":null,\"rules\":{},"
           "\"egressProxy\":null,\"allowPublicTraffic\":null},\"secure\":false}");
    const char *id = text_of(&r, "sandboxID");
    char path[64];
    snprintf(path, sizeof(path), "/sandboxes/%s", id);
    assert_non_null(json_object_get(r.json, "envdAccessToken")); /* v2 knows no `secure` */
    reply_free(&r);

    expect(w, &r, 200, "GET", path, NULL);
    assert_true(json_is_false(json_object_get(r.json, "allowInternetAccess")));
    const json_t *lifecycle = json_object_get(r.json, "lifecycle");
    assert_true(json_is_false(json_object_get(lifecycle, "autoResume")));
    assert_string_equal(json_string_value(json_object_get(lifecycle, "onTimeout")), "kill");
    assert_true(
        json_is_true(json_object_get(json_object_get(r.json, "network"), "allowPublicTraffic")));
    reply_free(&r);
}

/* What a create says of its end and of being woken reaches the sandbox and is echoed. */
static void test_create_keeps_the_lifecycle(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *options;
        bool pause, memory, resume;
    } cases[] = {
        { "\"timeout\":60", false, true, false },
        { "\"autoPause\":true", true, true, false },
        { "\"autoPause\":true,\"autoPauseMemory\":false", true, false, false },
        { "\"autoPause\":true,\"autoResume\":{\"enabled\":true}", true, true, true },
        { "\"autoResume\":{\"enabled\":true}", false, true, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply r;
        char text[256];
        snprintf(text, sizeof(text), "{\"templateID\":\"base\",%s}", cases[i].options);
        expect(w, &r, 201, "POST", "/v2/sandboxes", text);
        snprintf(text, sizeof(text), "/sandboxes/%s", text_of(&r, "sandboxID"));
        reply_free(&r);
        assert_int_equal(w->host.asked.auto_pause, cases[i].pause);
        assert_int_equal(w->host.asked.auto_pause_memory, cases[i].memory);
        assert_int_equal(w->host.asked.auto_resume, cases[i].resume);
        expect(w, &r, 200, "GET", text, NULL);
        const json_t *lifecycle = json_object_get(r.json, "lifecycle");
        assert_int_equal(json_is_true(json_object_get(lifecycle, "autoResume")), cases[i].resume);
        assert_string_equal(json_string_value(json_object_get(lifecycle, "onTimeout")),
                            cases[i].pause ? "pause" : "kill");
        reply_free(&r);
    }
}

static void test_create_tells_who_and_how_long(void **state)
{
    struct world *w = *state;
    struct reply r;
    w->host.timings.us[SANDBOX_PHASE_VMM] = 31042;
    w->host.timings.us[SANDBOX_PHASE_INIT] = 900;
    expect(w, &r, 201, "POST", "/v2/sandboxes", "{\"templateID\":\"base\"}");
    assert_string_equal(reply_header(&r, "server-timing"), "vmm;dur=31.042, init;dur=0.900");
    reply_free(&r);
    char actor[64];
    snprintf(actor, sizeof(actor), "key %.6s...%s", w->key, w->key + strlen(w->key) - 4);
    assert_string_equal(w->host.asked.actor, actor);
}

static void test_private_traffic_needs_a_secure_sandbox(void **state)
{
    struct world *w = *state;
    struct reply r;
    static const char body[] =
        "{\"templateID\":\"base\",\"network\":{\"allowPublicTraffic\":false}}";
    expect_error(w, 400, "network.allowPublicTraffic: false needs a secure sandbox", "POST",
                 "/sandboxes", body);
    expect(w, &r, 201, "POST", "/v2/sandboxes", body);
    assert_string_equal(text_of(&r, "trafficAccessToken"), "traffic-of-i00000000000000000000");
    reply_free(&r);
}

static void test_create_passes_failures_on(void **state)
{
    struct world *w = *state;
    static const struct {
        enum err_code code;
        int status;
    } cases[] = { { ERR_EXHAUSTED, 429 },
                  { ERR_UNAVAILABLE, 503 },
                  { ERR_DEADLINE, 504 },
                  { ERR_INTERNAL, 500 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err_fill(&w->host.fail, cases[i].code, "it went wrong (%zu)", i);
        char message[64];
        snprintf(message, sizeof(message), "it went wrong (%zu)", i);
        expect_error(w, cases[i].status, message, "POST", "/v2/sandboxes",
                     "{\"templateID\":\"base\"}");
    }
}

static bool is_held(struct world *w)
{
    return w->host.held != NULL;
}

static bool no_connections(struct world *w)
{
    return http_listener_connections(w->listener) == 0;
}

static bool no_calls(struct world *w)
{
    return api_calls(w->api) == 0;
}

/* Send a create, which is held. */
static int send_create(struct world *w, const char *body)
{
    char text[512];
    int n = snprintf(text, sizeof(text),
                     "POST /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     w->key, strlen(body), body);
    int fd = world_connect(w);
    w->host.hold = true;
    world_send(w, fd, text, (size_t)n);
    return fd;
}

/* The create goes on, its sandbox lives until its timeout, and the call ends when it is done. */
static void test_create_goes_on_when_the_client_leaves(void **state)
{
    struct world *w = *state;
    struct reply r;
    int fd = send_create(w, "{\"templateID\":\"base\",\"timeout\":77}");
    world_until(w, is_held);
    close(fd);
    world_until(w, no_connections);
    assert_int_equal(api_calls(w->api), 1);
    assert_int_equal(w->host.count, 0);
    fake_host_release(&w->host);
    world_until(w, no_calls);
    assert_int_equal(w->host.count, 1);
    expect(w, &r, 200, "GET", "/sandboxes/i00000000000000000000", NULL);
    reply_free(&r);
}

/* What a create waits for may take its time, and a body of 16 MiB can be a tree of many times that.
 */
static void test_the_body_is_not_kept_while_a_create_goes_on(void **state)
{
    struct world *w = *state;
    struct reply r;
    int fd = send_create(w, "{\"templateID\":\"base\",\"metadata\":{\"a\":\"b\"}}");
    world_until(w, is_held);
    assert_int_equal(w->host.asked.metadata->refcount, 2); /* both are the double's */
    fake_host_release(&w->host);
    world_receive(w, fd, &r);
    assert_int_equal(r.status, 201);
    reply_free(&r);
    close(fd);
}

#define BODY "{\"templateID\":\"base\",\"timeout\":77}"

/* Send a create with an Idempotency-Key; its answer is received later. */
static int send_keyed(struct world *w, const char *api_key, const char *key, const char *body)
{
    char text[2048];
    int n = snprintf(text, sizeof(text),
                     "POST /v2/sandboxes HTTP/1.1\r\nHost: a\r\nX-API-KEY: %s\r\n"
                     "Idempotency-Key: %s\r\nContent-Length: %zu\r\n\r\n%s",
                     api_key, key, strlen(body), body);
    int fd = world_connect(w);
    world_send(w, fd, text, (size_t)n);
    return fd;
}

static int receive(struct world *w, int fd, char id[static 64])
{
    struct reply r;
    world_receive(w, fd, &r);
    close(fd);
    int status = r.status;
    snprintf(id, 64, "%s", text_of(&r, "sandboxID"));
    if (status == 422)
        assert_string_equal(text_of(&r, "error_code"), "idempotency_request_mismatch");
    reply_free(&r);
    return status;
}

static int ask_keyed(struct world *w, const char *api_key, const char *key, const char *body,
                     char id[static 64])
{
    return receive(w, send_keyed(w, api_key, key, body), id);
}

static void test_a_key_makes_one_sandbox(void **state)
{
    struct world *w = *state;
    char first[64], again[64];
    assert_int_equal(ask_keyed(w, w->key, "a-key-1", BODY, first), 201);
    assert_int_equal(ask_keyed(w, w->key, "a-key-1", BODY, again), 201);
    assert_string_equal(first, again);
    assert_int_equal(
        ask_keyed(w, w->key, "a-key-1", "{ \"timeout\": 77, \"templateID\": \"base\" }", again),
        201);
    assert_string_equal(first, again);
    assert_int_equal(w->host.count, 1);
    assert_int_equal(ask_keyed(w, w->key, "a-key-1", "{\"templateID\":\"base\"}", again), 422);
    assert_int_equal(w->host.count, 1);
    assert_int_equal(ask_keyed(w, w->key, "a-key-2", BODY, again), 201);
    assert_string_not_equal(first, again);
    assert_int_equal(ask_keyed(w, w->other_key, "a-key-1", BODY, again), 201);
    assert_string_not_equal(first, again);
    assert_int_equal(w->host.count, 3);
}

static void test_a_key_that_cannot_be_is_refused(void **state)
{
    struct world *w = *state;
    char id[64], longest[257];
    memset(longest, 'a', 256);
    longest[256] = '\0';
    static const char *const bad[] = { "", "A", "a_b", "a b", "\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(ask_keyed(w, w->key, bad[i], BODY, id), 400);
    assert_int_equal(ask_keyed(w, w->key, longest, BODY, id), 400);
    longest[255] = '\0';
    assert_int_equal(w->host.count, 0);
    assert_int_equal(ask_keyed(w, w->key, longest, BODY, id), 201);
}

static bool two_calls(struct world *w)
{
    return api_calls(w->api) == 2;
}

static void test_one_with_the_same_key_waits(void **state)
{
    struct world *w = *state;
    char first[64], again[64];
    w->host.hold = true;
    int a = send_keyed(w, w->key, "a", BODY);
    world_until(w, is_held);
    int b = send_keyed(w, w->key, "a", BODY);
    world_until(w, two_calls);
    assert_int_equal(ask_keyed(w, w->key, "a", "{\"templateID\":\"base\"}", again), 422);
    close(a); /* its client tries again because it saw no answer */
    w->host.hold = false;
    fake_host_release(&w->host);
    assert_int_equal(receive(w, b, first), 201);
    assert_int_equal(ask_keyed(w, w->key, "a", BODY, again), 201);
    assert_string_equal(first, again);
    assert_int_equal(w->host.count, 1);
}

/* The record that the daemon wrote with a sandbox which BODY asked for. */
static void write_key(struct world *w, const char *key, const char *sandbox_id)
{
    static const char asked[] = "/v2/sandboxes\n{\"templateID\":\"base\",\"timeout\":77}";
    struct err err;
    struct store_template t;
    struct store_build build;
    struct db *db;
    struct store_create_key row = { .when_ns = clock_wall_ns() };
    memcpy(row.team_id, w->team_id, sizeof(row.team_id));
    snprintf(row.key, sizeof(row.key), "%s", key);
    sha256(asked, strlen(asked), row.request);
    assert_int_equal(db_open(&db, w->dir, &err), 0);
    assert_int_equal(db_template_resolve(db, w->team_id, "base", &t, &build, &err), 0);
    struct store_sandbox sb = { .state = "running", .create_key = &row };
    snprintf(sb.id, sizeof(sb.id), "%s", sandbox_id);
    memcpy(sb.team_id, w->team_id, sizeof(sb.team_id));
    memcpy(sb.template_id, t.id, sizeof(sb.template_id));
    memcpy(sb.build_id, build.id, sizeof(sb.build_id));
    if (db_sandbox_put(db, &sb, &err))
        fail_msg("%s", err.msg);
    db_close(db);
}

static void test_a_key_of_an_earlier_daemon_makes_nothing(void **state)
{
    struct world *w = *state;
    struct err err;
    struct reply r;
    char first[64], again[64];
    assert_int_equal(ask_keyed(w, w->key, "another", BODY, first), 201);
    write_key(w, "of-one-that-lives", first);
    write_key(w, "of-one-that-ended", "ithathasended");
    assert_int_equal(api_load(w->api, &err), 0);
    assert_int_equal(ask_keyed(w, w->key, "of-one-that-lives", BODY, again), 201);
    assert_string_equal(first, again);
    assert_int_equal(ask_keyed(w, w->key, "of-one-that-lives", "{\"templateID\":\"base\"}", again),
                     422);
    int fd = send_keyed(w, w->key, "of-one-that-ended", BODY);
    world_receive(w, fd, &r);
    close(fd);
    assert_int_equal(r.status, 409);
    assert_string_equal(text_of(&r, "error_code"), "idempotency_outcome_unknown");
    assert_non_null(strstr(text_of(&r, "message"), "ithathasended"));
    reply_free(&r);
    assert_int_equal(w->host.count, 1);
    assert_int_equal(ask_keyed(w, w->other_key, "of-one-that-lives", BODY, again), 201);
    assert_int_equal(w->host.count, 2);
}

/* What the daemon writes is what it asks for later. */
static void test_the_record_of_a_key_is_the_requests(void **state)
{
    struct world *w = *state;
    char id[64];
    assert_int_equal(ask_keyed(w, w->key, "a-key", BODY, id), 201);
    const struct store_create_key *key = &w->host.asked.create_key;
    assert_string_equal(key->key, "a-key");
    assert_string_equal(key->team_id, w->team_id);
    uint8_t request[SHA256_SIZE];
    static const char asked[] = "/v2/sandboxes\n{\"templateID\":\"base\",\"timeout\":77}";
    sha256(asked, strlen(asked), request);
    assert_memory_equal(key->request, request, sizeof(request));
}

static void test_a_failure_may_be_tried_again_with_its_key(void **state)
{
    struct world *w = *state;
    char id[64];
    err_fill(&w->host.fail, ERR_UNAVAILABLE, "not now");
    assert_int_equal(ask_keyed(w, w->key, "a", BODY, id), 503);
    assert_int_equal(ask_keyed(w, w->key, "a", BODY, id), 201);
    assert_int_equal(w->host.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_create_answers_as_the_clients_expect),
        WORLD_TEST(test_create_v1_has_its_own_defaults),
        WORLD_TEST(test_domain_none_is_null),
        WORLD_TEST(test_create_refuses_bad_timeouts),
        WORLD_TEST(test_create_refuses_templates_that_cannot_be),
        WORLD_TEST(test_create_refuses_bad_and_unkept_options),
        WORLD_TEST(test_create_accepts_what_promises_nothing_untrue),
        WORLD_TEST(test_create_keeps_the_lifecycle),
        WORLD_TEST(test_create_tells_who_and_how_long),
        WORLD_TEST(test_private_traffic_needs_a_secure_sandbox),
        WORLD_TEST(test_create_passes_failures_on),
        WORLD_TEST(test_create_goes_on_when_the_client_leaves),
        WORLD_TEST(test_the_body_is_not_kept_while_a_create_goes_on),
        WORLD_TEST(test_a_key_makes_one_sandbox),
        WORLD_TEST(test_a_key_that_cannot_be_is_refused),
        WORLD_TEST(test_one_with_the_same_key_waits),
        WORLD_TEST(test_a_key_of_an_earlier_daemon_makes_nothing),
        WORLD_TEST(test_the_record_of_a_key_is_the_requests),
        WORLD_TEST(test_a_failure_may_be_tried_again_with_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
