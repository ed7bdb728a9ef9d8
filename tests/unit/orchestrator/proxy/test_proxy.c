/* Requests to sandboxes that run, are paused, are gone, or stop under the request. The sandboxes
 * and the guest link are doubles; client streams are in memory. */
#include "common/auth/signature.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "orchestrator/proxy/proxy.h"
#include "tests/support/fake_stream.h"
#include "tests/support/test.h"
#include "tests/unit/orchestrator/api/fake_host.h"

#include "fake_link.h"

#include <errno.h>
#include <string.h>

#define TEAM "aaaaaaaa-0000-4000-8000-000000000000"

#define NOT_FOUND "{\"sandboxId\":\"iabc\",\"message\":\"The sandbox was not found\",\"code\":502}"
#define DENIED                                                                                     \
    "{\"sandboxId\":\"iabc\",\"message\":\"This sandbox can't be resumed with the credentials "    \
    "provided. Check your access token and try again.\",\"code\":403}"
#define TRANSITION                                                                                 \
    "{\"sandboxId\":\"iabc\",\"message\":\"The sandbox is still transitioning. Try again in a "    \
    "moment.\",\"code\":409}"

struct world {
    uv_loop_t loop;
    struct defer_queue defer;
    struct config config;
    struct sandbox_host host;
    struct guest_link link;
    struct proxy *proxy;
    struct sandbox *sb; /* "iabc", running */
    struct fake_stream client;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    config_defaults(&w->config);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    defer_queue_init(&w->defer, &w->loop);
    fake_host_init(&w->host, &w->config, NULL, &w->defer);
    struct proxy_options options = {
        .loop = &w->loop, .defer = &w->defer, .config = &w->config, .sandboxes = &w->host
    };
    w->proxy = proxy_new(&options);
    assert_non_null(w->proxy);
    w->link.up = true;
    w->sb = fake_host_add(&w->host, "iabc", TEAM, clock_wall_ns(), NULL);
    w->sb->link = &w->link;
    *state = w;
    return 0;
}

static void turn(struct world *w)
{
    for (int i = 0; i < 4; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
}

static int teardown(void **state)
{
    struct world *w = *state;
    proxy_free(w->proxy);
    fake_host_deinit(&w->host);
    defer_queue_close(&w->defer);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

/* A client's request; tokens NULL: none. */
static void ask(struct world *w, const char *port, const char *access, const char *traffic)
{
    static char authority[64];
    snprintf(authority, sizeof(authority), "%s-iabc.localhost", port);
    fake_stream_init(&w->client, "POST", "/process.Process/Start");
    w->client.request.authority = str_of(authority);
    if (access)
        fake_stream_add(&w->client, "x-access-token", access);
    if (traffic)
        fake_stream_add(&w->client, "e2b-traffic-access-token", traffic);
    struct http_acceptor *a = proxy_acceptor(w->proxy);
    a->on_request(a, &w->client.s, &w->client.request);
}

static void leave(struct world *w)
{
    bool whole = w->client.ended;
    fake_stream_close(&w->client, whole ? 0 : ECONNRESET);
    fake_stream_deinit(&w->client);
    if (w->link.upstream)
        fake_upstream_close(TAKE(w->link.upstream), ECANCELED);
}

static void expect_body(struct world *w, int status, const char *body)
{
    turn(w);
    assert_int_equal(w->client.status, status);
    assert_str(buf_str(&w->client.body), body);
    assert_true(w->client.ended);
    leave(w);
}

static void test_gone_tells_why(void **state)
{
    struct world *w = *state;
    fake_host_clear(&w->host);
    ask(w, "49983", NULL, NULL);
    expect_body(w, 502, NOT_FOUND);
    w->host.death =
        (struct store_death){ .sandbox_id = "iabc", .team_id = TEAM, .reason = "deadline" };
    ask(w, "49983", NULL, NULL);
    expect_body(w, 502,
                "{\"sandboxId\":\"iabc\",\"message\":\"The sandbox was not found\",\"code\":502,"
                "\"reason\":\"deadline\"}");
}

static void test_paused_without_auto_resume_is_not_found(void **state)
{
    struct world *w = *state;
    static const enum sandbox_state states[] = { SANDBOX_PAUSING, SANDBOX_PAUSED };
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        fake_host_move(w->sb, states[i]);
        ask(w, "49983", "token-of-iabc", NULL);
        expect_body(w, 502, NOT_FOUND);
        assert_int_equal(sm_state(&w->sb->sm), states[i]);
    }
    w->sb->auto_resume = w->sb->filesystem_only = true;
    ask(w, "49983", "token-of-iabc", NULL);
    expect_body(w, 502, NOT_FOUND);
    assert_int_equal(sm_state(&w->sb->sm), SANDBOX_PAUSED);
}

static void test_credentials_come_before_a_resume(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *port, *access, *traffic;
        bool secure, private;
        bool wakes;
    } cases[] = {
        { "49983", NULL, NULL, true, false, false },
        { "49983", "token-of-iab", NULL, true, true, false },
        { "49983", NULL, "traffic", true, true, false },
        { "49983", "token-of-iabc", NULL, true, true, true },
        { "49983", NULL, NULL, false, false, true },
        { "8000", "token-of-iabc", NULL, true, true, false },
        { "8000", NULL, "traffi", true, true, false },
        { "8000", NULL, "traffic", true, true, true },
        { "8000", NULL, NULL, true, false, true },
    };
    w->sb->auto_resume = true;
    w->link.up = false; /* what happens behind it is not looked at here */
    w->sb->link = NULL;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fake_host_move(w->sb, SANDBOX_PAUSED);
        w->host.asked.actor[0] = '\0';
        snprintf(w->sb->envd_token, sizeof(w->sb->envd_token), "%s",
                 cases[i].secure ? "token-of-iabc" : "");
        snprintf(w->sb->traffic_token, sizeof(w->sb->traffic_token), "%s",
                 cases[i].private ? "traffic" : "");
        ask(w, cases[i].port, cases[i].access, cases[i].traffic);
        turn(w);
        assert_int_equal(sm_state(&w->sb->sm), cases[i].wakes ? SANDBOX_RUNNING : SANDBOX_PAUSED);
        assert_string_equal(w->host.asked.actor, cases[i].wakes ? "traffic" : "");
        if (!cases[i].wakes)
            expect_body(w, 403, DENIED);
        else
            leave(w);
    }
}

/* The request waits, with what of its body has come, and goes on when the sandbox runs. */
static void test_request_waits_for_the_resume(void **state)
{
    struct world *w = *state;
    static const enum sandbox_state states[] = { SANDBOX_PAUSED, SANDBOX_PAUSING,
                                                 SANDBOX_RESUMING };
    w->sb->auto_resume = true;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        fake_host_move(w->sb, states[i]);
        ask(w, "49983", "token-of-iabc", NULL);
        fake_stream_data(&w->client, "body", 4);
        fake_stream_end(&w->client);
        assert_null(w->link.upstream);
        turn(w);
        assert_int_equal(sm_state(&w->sb->sm), SANDBOX_RUNNING);
        assert_non_null(w->link.upstream);
        assert_string_equal(w->link.upstream->target, "/process.Process/Start");
        assert_true(w->link.upstream->is_public);
        assert_str(buf_str(&w->link.upstream->body), "body");
        assert_true(w->link.upstream->ended);
        leave(w);
    }
}

static void test_time_of_a_woken_one(void **state)
{
    struct world *w = *state;
    static const unsigned times[][2] = {
        { 0, 300 }, { 10, 300 }, { 300, 300 }, { 1000, 1000 }, { 86400, 86400 }, { 90000, 86400 },
    };
    w->sb->auto_resume = true;
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        fake_host_move(w->sb, SANDBOX_PAUSED);
        w->sb->create_timeout_s = times[i][0];
        ask(w, "49983", "token-of-iabc", NULL);
        turn(w);
        assert_int_equal(w->host.transition.timeout_s, times[i][1]);
        assert_false(w->host.transition.must_be_paused);
        assert_false(w->host.transition.only_wait);
        assert_false(w->host.transition.reboot);
        leave(w);
    }
}

/* To wait for somebody else's resume causes nothing, so it takes no credentials and gives no time;
 * the port then asks for its own. */
static void test_a_resume_under_way_is_waited_for(void **state)
{
    struct world *w = *state;
    fake_host_move(w->sb, SANDBOX_RESUMING);
    ask(w, "49983", NULL, NULL);
    turn(w);
    assert_int_equal(w->host.transition.timeout_s, 0);
    assert_true(w->host.transition.only_wait);
    assert_non_null(w->link.upstream);
    leave(w);
    fake_host_move(w->sb, SANDBOX_RESUMING);
    snprintf(w->sb->traffic_token, sizeof(w->sb->traffic_token), "traffic");
    ask(w, "8000", NULL, NULL);
    expect_body(w, 403,
                "{\"sandboxId\":\"iabc\",\"message\":\"Sandbox is secured with traffic access "
                "token. Token header 'e2b-traffic-access-token' is missing\",\"code\":403}");
}

static void test_a_resume_that_fails(void **state)
{
    struct world *w = *state;
    static const struct {
        enum err_code code;
        int status;
        const char *body;
    } cases[] = {
        { ERR_ABORTED, 409, TRANSITION },
        { ERR_EXHAUSTED, 429,
          "{\"sandboxId\":\"iabc\",\"message\":\"no \\\"room\\\" <here>\",\"code\":429}" },
        { ERR_UNAVAILABLE, 503,
          "{\"sandboxId\":\"iabc\",\"message\":\"no \\\"room\\\" <here>\",\"code\":503}" },
        { ERR_DATA_LOSS, 502,
          "{\"sandboxId\":\"iabc\",\"message\":\"The sandbox was not found\",\"code\":502,"
          "\"reason\":\"no \\\"room\\\" <here>\"}" },
        { ERR_NOT_FOUND, 502, NOT_FOUND },
    };
    w->sb->auto_resume = true;
    fake_host_move(w->sb, SANDBOX_PAUSED);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        err_fill(&w->host.fail, cases[i].code, "no \"room\" <here>");
        ask(w, "49983", "token-of-iabc", NULL);
        expect_body(w, cases[i].status, cases[i].body);
    }
    err_fill(&w->host.fail, ERR_EXHAUSTED, "no \"room\" <here>");
    ask(w, "49983", "token-of-iabc", NULL);
    /* The head is read once more when the answer is made. */
    fake_stream_add(&w->client, "user-agent", "Mozilla/5.0");
    turn(w);
    assert_int_equal(w->client.status, 429);
    static const char text[] = "no \"room\" &lt;here>";
    assert_non_null(
        memmem(buf_head(&w->client.body), buf_len(&w->client.body), text, sizeof(text) - 1));
    leave(w);
}

/* The resume goes on without the client; nothing is touched that is gone. */
static void test_client_leaves_while_it_waits(void **state)
{
    struct world *w = *state;
    w->sb->auto_resume = true;
    fake_host_move(w->sb, SANDBOX_PAUSED);
    ask(w, "49983", "token-of-iabc", NULL);
    leave(w);
    turn(w);
    assert_int_equal(sm_state(&w->sb->sm), SANDBOX_RUNNING);
    assert_null(w->link.upstream);
    fake_host_clear(&w->host);
    ask(w, "49983", NULL, NULL);
    leave(w);
    turn(w);
}

/* No response had begun when the sandbox stopped. */
static void test_paused_under_a_request(void **state)
{
    struct world *w = *state;
    for (int resumes = 0; resumes < 2; resumes++) {
        fake_host_move(w->sb, SANDBOX_RUNNING);
        w->sb->auto_resume = resumes;
        ask(w, "49983", "token-of-iabc", NULL);
        fake_host_move(w->sb, SANDBOX_PAUSED);
        fake_upstream_close(TAKE(w->link.upstream), ECONNRESET);
        expect_body(w, resumes ? 409 : 502, resumes ? TRANSITION : NOT_FOUND);
    }
}

enum fate { STAYS, PAUSES, ENDS };

/* A response of this type and body, whose sandbox then meets its fate. */
static void cut(struct world *w, const char *type, const void *body, size_t n, enum fate fate)
{
    fake_host_clear(&w->host);
    w->sb = fake_host_add(&w->host, "iabc", TEAM, clock_wall_ns(), NULL);
    w->sb->link = &w->link;
    ask(w, "49983", "token-of-iabc", NULL);
    assert_non_null(w->link.upstream);
    fake_upstream_head(w->link.upstream, type);
    for (size_t i = 0; i < n; i++) /* in the smallest pieces */
        fake_upstream_data(w->link.upstream, (const uint8_t *)body + i, 1);
    if (fate == PAUSES)
        fake_host_move(w->sb, SANDBOX_PAUSING);
    else if (fate == ENDS)
        fake_host_clear(&w->host);
    fake_upstream_close(TAKE(w->link.upstream), ECONNRESET);
}

/* What the client has received behind the first n bytes. */
static struct str rest_of(struct world *w, size_t n)
{
    return str_from(buf_str(&w->client.body), n);
}

static void test_a_connect_stream_ends_with_what_happened(void **state)
{
    struct world *w = *state;
    static const char message[] = "\0\0\0\0\x02{}";
    static const char paused[] = "\x02\0\0\0\x43{\"error\":{\"code\":\"unavailable\",\"message\":"
                                 "\"the sandbox was paused\"}}";
    static const char ended[] = "\x02\0\0\0\x42{\"error\":{\"code\":\"unavailable\",\"message\":"
                                "\"the sandbox has ended\"}}";
    size_t n = sizeof(message) - 1;
    cut(w, "application/connect+json", message, n, PAUSES);
    assert_int_equal(rest_of(w, n).n, sizeof(paused) - 1);
    assert_memory_equal(rest_of(w, n).p, paused, sizeof(paused) - 1);
    assert_true(w->client.ended && !w->client.was_reset);
    leave(w);
    cut(w, "application/connect+proto", NULL, 0, ENDS);
    assert_int_equal(rest_of(w, 0).n, sizeof(ended) - 1);
    assert_memory_equal(rest_of(w, 0).p, ended, sizeof(ended) - 1);
    assert_true(w->client.ended && !w->client.was_reset);
    leave(w);
    /* The error went through by itself. */
    cut(w, "application/connect+json", "\x02\0\0\0\x02{}", n, PAUSES);
    assert_int_equal(rest_of(w, n).n, 0);
    assert_true(w->client.ended && !w->client.was_reset);
    leave(w);
}

/* A pause does not wait for streams: they are ended when it begins. Nothing that the guest says
 * afterwards reaches the client or counts as received; other requests go on. */
static void test_streams_end_when_a_pause_begins(void **state)
{
    struct world *w = *state;
    static const char message[] = "\0\0\0\0\x02{}";
    size_t n = sizeof(message) - 1;
    ask(w, "49983", "token-of-iabc", NULL);
    fake_upstream_head(w->link.upstream, "application/connect+json");
    fake_upstream_data(w->link.upstream, message, n);
    fake_host_move(w->sb, SANDBOX_PAUSING);
    w->host.watcher->on_leaving(w->host.watcher, w->sb);
    assert_true(w->client.ended && !w->client.was_reset);
    assert_memory_equal(rest_of(w, n).p, "\x02\0\0\0\x43{\"error\"", 13);
    size_t all = buf_len(&w->client.body);
    fake_upstream_data(w->link.upstream, message, n);
    assert_int_equal(buf_len(&w->client.body), all);
    fake_stream_close(&w->client, 0);
    assert_true(w->link.upstream->was_reset);
    leave(w);

    fake_host_move(w->sb, SANDBOX_RUNNING);
    ask(w, "49983", "token-of-iabc", NULL);
    fake_upstream_head(w->link.upstream, "application/json");
    w->host.watcher->on_leaving(w->host.watcher, w->sb);
    fake_upstream_data(w->link.upstream, message, n);
    assert_int_equal(buf_len(&w->client.body), n);
    assert_false(w->client.ended || w->client.was_reset || w->link.upstream->was_reset);
    leave(w);
}

/* A cut response must not look whole. */
static void test_what_cannot_tell_is_reset(void **state)
{
    struct world *w = *state;
    static const char message[] = "\0\0\0\0\x02{}";
    static const struct {
        const char *type;
        size_t n;
        enum fate fate;
    } cases[] = {
        { "application/connect+json", 3, PAUSES }, /* in a prefix */
        { "application/connect+json", 6, PAUSES }, /* in a message */
        { "application/connect+json", 7, STAYS },  /* the link alone was lost */
        { "application/json", 7, PAUSES },         { "application/octet-stream", 7, ENDS },
        { "application/grpc-web-text", 7, ENDS },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cut(w, cases[i].type, message, cases[i].n, cases[i].fate);
        assert_int_equal(buf_len(&w->client.body), cases[i].n);
        assert_true(w->client.was_reset && !w->client.ended);
        leave(w);
    }
}

static void test_grpc_ends_with_a_status(void **state)
{
    struct world *w = *state;
    static const char message[] = "\0\0\0\0\x02{}";
    static const char web[] =
        "\x80\0\0\0\x37grpc-status: 14\r\ngrpc-message: the sandbox was paused\r\n";
    size_t n = sizeof(message) - 1;
    cut(w, "application/grpc+proto", message, n, PAUSES);
    assert_int_equal(rest_of(w, n).n, 0);
    assert_string_equal(fake_stream_trailer(&w->client, "grpc-status"), "14");
    assert_string_equal(fake_stream_trailer(&w->client, "grpc-message"), "the sandbox was paused");
    assert_true(w->client.ended && !w->client.was_reset);
    leave(w);
    cut(w, "application/grpc-web+proto", message, n, PAUSES);
    assert_int_equal(rest_of(w, n).n, sizeof(web) - 1);
    assert_memory_equal(rest_of(w, n).p, web, sizeof(web) - 1);
    assert_true(w->client.ended && !w->client.was_reset);
    leave(w);
}

#define PROXY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* GET /files on the plain address, signed with the sandbox's token for `path`. */
static void ask_signed(struct world *w, const char *query, const char *path)
{
    struct buf signature = { 0 }, target = { 0 };
    assert_int_equal(signature_make(str_of(path), STR("read"), STR(""), str_of(w->sb->envd_token),
                                    STR(""), &signature),
                     0);
    buf_printf(&target, "/files?%s&signature=", query);
    assert_true(percent_encode(&target, buf_str(&signature)));
    static char text[512];
    assert_true(str_copy(buf_str(&target), text, sizeof(text)));
    fake_stream_init(&w->client, "GET", text);
    w->client.request.authority = STR("127.0.0.1:3002");
    struct http_acceptor *a = proxy_acceptor(w->proxy);
    a->on_request(a, &w->client.s, &w->client.request);
    buf_deinit(&signature);
    buf_deinit(&target);
}

#define BAD_SIGNATURE "{\"message\":\"invalid signature\",\"code\":401}"

static void test_a_signed_url_finds_its_sandbox(void **state)
{
    struct world *w = *state;
    ask_signed(w, "path=a%2fb", "a/b");
    turn(w);
    assert_non_null(w->link.upstream);
    leave(w);
    ask_signed(w, "path=a%2fc", "a/b");
    expect_body(w, 401, BAD_SIGNATURE);
    /* What cannot be read is not taken for nothing. */
    ask_signed(w, "path=%zz", "");
    expect_body(w, 401, BAD_SIGNATURE);
    ask_signed(w, "path=a&signature_expiration=%zz", "a");
    expect_body(w, 401, BAD_SIGNATURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PROXY_TEST(test_gone_tells_why),
        PROXY_TEST(test_paused_without_auto_resume_is_not_found),
        PROXY_TEST(test_credentials_come_before_a_resume),
        PROXY_TEST(test_request_waits_for_the_resume),
        PROXY_TEST(test_time_of_a_woken_one),
        PROXY_TEST(test_a_resume_under_way_is_waited_for),
        PROXY_TEST(test_a_resume_that_fails),
        PROXY_TEST(test_client_leaves_while_it_waits),
        PROXY_TEST(test_paused_under_a_request),
        PROXY_TEST(test_a_connect_stream_ends_with_what_happened),
        PROXY_TEST(test_streams_end_when_a_pause_begins),
        PROXY_TEST(test_what_cannot_tell_is_reset),
        PROXY_TEST(test_grpc_ends_with_a_status),
        PROXY_TEST(test_a_signed_url_finds_its_sandbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
