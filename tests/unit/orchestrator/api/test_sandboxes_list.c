#include "world.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <string.h>

#define SECOND INT64_C(1000000000)
#define BASE   INT64_C(1767323045000000000) /* 2026-01-02T03:04:05Z */

static json_t *meta(const char *name, const char *value)
{
    return json_pack("{s:s}", name, value);
}

/* The ids of a page, each with a space behind it. */
static void ids_of(const struct reply *r, char *out, size_t size)
{
    size_t i;
    json_t *entry;
    out[0] = '\0';
    json_array_foreach (r->json, i, entry) {
        size_t n = strlen(out);
        snprintf(out + n, size - n, "%s ", json_string_value(json_object_get(entry, "sandboxID")));
    }
}

static void expect_ids(struct world *w, const char *target, const char *ids)
{
    struct reply r;
    char got[4096];
    expect(w, &r, 200, "GET", target, NULL);
    ids_of(&r, got, sizeof(got));
    if (strcmp(got, ids) != 0)
        fail_msg("%s: got \"%s\" instead of \"%s\"", target, got, ids);
    reply_free(&r);
}

static void test_list_is_of_the_team_newest_first(void **state)
{
    struct world *w = *state;
    expect_ids(w, "/v2/sandboxes", "");
    fake_host_add(&w->host, "ia", w->team_id, BASE, NULL);
    fake_host_add(&w->host, "ic", w->team_id, BASE + 2 * SECOND, NULL);
    fake_host_add(&w->host, "ib", w->team_id, BASE + SECOND, NULL);
    fake_host_add(&w->host, "ix", OTHER_TEAM, BASE, NULL);
    expect_ids(w, "/v2/sandboxes", "ic ib ia ");
    expect_ids(w, "/sandboxes", "ic ib ia ");
    expect_ids(w, "/v2/sandboxes?order=asc", "ia ib ic ");
    expect_ids(w, "/v2/sandboxes?order=desc", "ic ib ia ");
    expect_ids(w, "/v2/sandboxes?state=running", "ic ib ia ");
    expect_ids(w, "/v2/sandboxes?state=running,paused", "ic ib ia ");
    expect_ids(w, "/v2/sandboxes?state=running%2Cpaused", "ic ib ia ");
    expect_ids(w, "/v2/sandboxes?state=paused", "");
    expect_ids(w, "/v2/sandboxes?startedAfter=2026-01-02T03%3A04%3A06Z", "ic ib ");
    expect_ids(w, "/v2/sandboxes?startedAfter=2026-01-02T04%3A04%3A06%2B01%3A00", "ic ib ");
    expect_ids(w, "/v2/sandboxes?startedAfter=9999-12-31T23%3A59%3A59Z", "");
    expect_ids(w, "/v2/sandboxes?startedAfter=0001-01-01T00%3A00%3A00Z", "ic ib ia ");
}

/* Running and paused ones are one list in one order, and a page may begin anywhere in it. */
static void test_list_joins_running_and_paused(void **state)
{
    struct world *w = *state;
    struct reply r;
    static const enum sandbox_state states[] = { SANDBOX_RUNNING, SANDBOX_PAUSED, SANDBOX_PAUSING,
                                                 SANDBOX_RUNNING, SANDBOX_RESUMING };
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        char id[] = { 'i', (char)('a' + i), '\0' };
        struct sandbox *sb =
            fake_host_add(&w->host, id, w->team_id, BASE + (int64_t)i * SECOND, NULL);
        fake_host_move(sb, states[i]);
    }
    fake_host_move(fake_host_add(&w->host, "ix", OTHER_TEAM, BASE, NULL), SANDBOX_PAUSED);
    expect_ids(w, "/v2/sandboxes", "ie id ic ib ia ");
    expect_ids(w, "/v2/sandboxes?order=asc", "ia ib ic id ie ");
    expect_ids(w, "/v2/sandboxes?state=running", "id ia ");
    expect_ids(w, "/v2/sandboxes?state=paused", "ie ic ib ");
    expect_ids(w, "/v2/sandboxes?state=paused&limit=2", "ie ic ");
    expect_ids(w, "/sandboxes", "id ia ");

    char target[512] = "/v2/sandboxes?limit=1", ids[64] = "", page[16];
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        expect(w, &r, 200, "GET", target, NULL);
        assert_string_equal(reply_header(&r, "x-total-running"), "2");
        ids_of(&r, page, sizeof(page));
        strcat(ids, page);
        const char *next = reply_header(&r, "x-next-token");
        assert_int_equal(next != NULL, i + 1 < ARRAY_LEN(states));
        snprintf(target, sizeof(target), "/v2/sandboxes?limit=1&nextToken=%s", next ? next : "");
        reply_free(&r);
    }
    assert_string_equal(ids, "ie id ic ib ia ");

    expect(w, &r, 200, "GET", "/v2/sandboxes?state=paused", NULL);
    for (size_t i = 0; i < json_array_size(r.json); i++)
        assert_string_equal(json_string_value(json_object_get(json_array_get(r.json, i), "state")),
                            "paused");
    reply_free(&r);
}

static void test_list_entry_has_every_field(void **state)
{
    struct world *w = *state;
    struct reply r;
    fake_host_add(&w->host, "ia", w->team_id, BASE, meta("k", "v"));
    expect(w, &r, 200, "GET", "/v2/sandboxes", NULL);
    json_t *expected =
        json_pack("[{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:{s:s}}]",
                  "templateID", "tttttttttttttttttttt", "sandboxID", "ia", "clientID", "6532622b",
                  "envdVersion", "0.6.13", "alias", "base", "startedAt", "2026-01-02T03:04:05Z",
                  "endAt", "2026-01-02T03:09:05Z", "cpuCount", 1, "memoryMB", 512, "diskSizeMB",
                  4096, "state", "running", "metadata", "k", "v");
    if (!json_equal(r.json, expected))
        fail_msg("got %s", r.body);
    json_decref(expected);
    assert_string_equal(reply_header(&r, "x-total-running"), "1");
    assert_null(reply_header(&r, "x-next-token"));
    reply_free(&r);
    expect(w, &r, 200, "GET", "/v2/sandboxes?state=paused", NULL);
    assert_null(reply_header(&r, "x-total-running"));
    reply_free(&r);
}

/* The first target is the one seen on the wire of the JS client. */
static void test_list_by_metadata(void **state)
{
    struct world *w = *state;
    fake_host_add(&w->host, "ia", w->team_id, BASE, meta("a b", "c&d"));
    fake_host_add(&w->host, "ib", w->team_id, BASE, meta("a b", "c"));
    fake_host_add(&w->host, "ic", w->team_id, BASE, json_pack("{s:s, s:s}", "x", "1", "y", "2"));
    expect_ids(w,
               "/v2/sandboxes?metadata=a%252520b%3Dc%252526d&state=running,paused"
               "&startedAfter=1970-01-01T00%3A00%3A00.000Z&order=asc&limit=5",
               "ia ");
    expect_ids(w, "/sandboxes?metadata=a%252520b%3Dc%252526d", "ia ");
    expect_ids(w, "/v2/sandboxes?metadata=x%3D1", "ic ");
    expect_ids(w, "/v2/sandboxes?metadata=x%3D1%26y%3D2", "ic ");
    expect_ids(w, "/v2/sandboxes?metadata=x%3D1%26y%3D3", "");
    expect_ids(w, "/v2/sandboxes?metadata=x%3D2", "");
    expect_ids(w, "/v2/sandboxes?metadata=", "ic ib ia ");
    static const char *const bad[] = { "x", "x%3D1%3D2", "x%3D1%26", "%25zz%3D1", "x%3D1%2500" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/v2/sandboxes?metadata=%s", bad[i]);
        expect_error(w, 400, "validation error: query parameter 'metadata'", "GET", target, NULL);
        snprintf(target, sizeof(target), "/sandboxes?metadata=%s", bad[i]);
        expect_error(w, 400, "validation error: query parameter 'metadata'", "GET", target, NULL);
    }
}

static void test_list_by_template(void **state)
{
    struct world *w = *state;
    struct sandbox *sb = fake_host_add(&w->host, "ia", w->team_id, BASE, NULL);
    fake_host_add(&w->host, "ib", w->team_id, BASE, NULL);
    memcpy(sb->template_id, w->template_id, sizeof(sb->template_id));
    char target[128];
    expect_ids(w, "/v2/sandboxes?template=base", "ia ");
    snprintf(target, sizeof(target), "/v2/sandboxes?template=%s", w->template_id);
    expect_ids(w, target, "ia ");
    expect_ids(w, "/v2/sandboxes?template=unknown", "");
    expect_ids(w, "/v2/sandboxes?template=other%2Fprivate", "");
    expect_error(w, 400, "validation error: query parameter 'template' takes no tag", "GET",
                 "/v2/sandboxes?template=base%3Av1", NULL);
}

static void test_list_refuses_bad_parameters(void **state)
{
    struct world *w = *state;
    static const char *const bad[][2] = {
        { "limit=0", "validation error: query parameter 'limit'" },
        { "limit=101", "validation error: query parameter 'limit'" },
        { "limit=-1", "validation error: query parameter 'limit'" },
        { "limit=ten", "validation error: query parameter 'limit'" },
        { "limit=%zz", "validation error: query parameter 'limit' has a malformed escape" },
        { "state=dead", "validation error: query parameter 'state'" },
        { "state=running,", "validation error: query parameter 'state'" },
        { "order=up", "validation error: query parameter 'order'" },
        { "startedAfter=yesterday", "validation error: query parameter 'startedAfter'" },
        { "nextToken=nonsense", "Invalid next token" },
        { "nextToken=%00", "validation error: query parameter 'nextToken'" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char target[128];
        snprintf(target, sizeof(target), "/v2/sandboxes?%s", bad[i][0]);
        expect_error(w, 400, bad[i][1], "GET", target, NULL);
    }
}

static void test_token_is_bound_to_its_order(void **state)
{
    struct world *w = *state;
    struct reply r;
    char target[512];
    fake_host_add(&w->host, "ia", w->team_id, BASE, NULL);
    fake_host_add(&w->host, "ib", w->team_id, BASE, NULL);
    expect(w, &r, 200, "GET", "/v2/sandboxes?limit=1&order=asc", NULL);
    assert_string_equal(reply_header(&r, "x-total-running"), "2");
    snprintf(target, sizeof(target), "/v2/sandboxes?limit=1&order=desc&nextToken=%s",
             reply_header(&r, "x-next-token"));
    reply_free(&r);
    expect_error(w, 400, "Invalid next token", "GET", target, NULL);
    snprintf(target, sizeof(target), "/v2/sandboxes?limit=1&order=desc");
    expect(w, &r, 200, "GET", target, NULL);
    snprintf(target, sizeof(target), "/v2/sandboxes?limit=1&order=asc&nextToken=%s",
             reply_header(&r, "x-next-token"));
    reply_free(&r);
    expect_error(w, 400, "Invalid next token", "GET", target, NULL);
}

/* --- paging over random sets --- */

static uint32_t random_state;

static uint32_t next_random(uint32_t bound)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % bound;
}

/* All pages of one listing, as one text of ids. */
static void walk(struct world *w, unsigned limit, bool asc, char *all, size_t size)
{
    char token[512] = "";
    all[0] = '\0';
    for (int page = 0; page < 100; page++) {
        struct reply r;
        char target[1024], ids[1024];
        snprintf(target, sizeof(target), "/v2/sandboxes?limit=%u&order=%s%s%s", limit,
                 asc ? "asc" : "desc", token[0] ? "&nextToken=" : "", token);
        expect(w, &r, 200, "GET", target, NULL);
        assert_true(json_array_size(r.json) <= limit);
        ids_of(&r, ids, sizeof(ids));
        size_t n = strlen(all);
        assert_true(n + strlen(ids) < size);
        strcpy(all + n, ids);
        const char *next = reply_header(&r, "x-next-token");
        snprintf(token, sizeof(token), "%s", next ? next : "");
        reply_free(&r);
        if (!token[0])
            return;
    }
    fail_msg("paging does not end");
}

/* Few distinct times, so that most are equal: no sandbox twice, none lost, whatever the page's
 * size, and one order the reverse of the other. */
static void test_pages_hold_each_once(void **state)
{
    struct world *w = *state;
    char whole[4096], pages[4096];
    for (uint32_t seed = 1; seed <= 12; seed++) {
        random_state = seed;
        unsigned n = next_random(9);
        for (unsigned i = 0; i < n; i++) {
            char id[SANDBOX_ID_SIZE];
            snprintf(id, sizeof(id), "i%u%u", next_random(100), i);
            fake_host_add(&w->host, id, w->team_id, BASE + next_random(3), NULL);
        }
        for (int asc = 0; asc < 2; asc++) {
            walk(w, 100, asc, whole, sizeof(whole));
            size_t spaces = 0;
            for (const char *p = whole; *p; p++)
                spaces += *p == ' ';
            assert_int_equal(spaces, n);
            for (unsigned limit = 1; limit <= 3; limit++) {
                walk(w, limit, asc, pages, sizeof(pages));
                assert_string_equal(pages, whole);
            }
        }
        fake_host_clear(&w->host);
    }
}

/* One that ends between two pages, the cursor's own too, moves nothing else. */
static void test_pages_go_on_when_the_last_one_ended(void **state)
{
    struct world *w = *state;
    struct reply r;
    char target[512];
    for (int i = 0; i < 4; i++) {
        char id[SANDBOX_ID_SIZE];
        snprintf(id, sizeof(id), "i%d", i);
        fake_host_add(&w->host, id, w->team_id, BASE, NULL);
    }
    expect(w, &r, 200, "GET", "/v2/sandboxes?limit=2&order=asc", NULL);
    snprintf(target, sizeof(target), "/v2/sandboxes?limit=2&order=asc&nextToken=%s",
             reply_header(&r, "x-next-token"));
    reply_free(&r);
    expect(w, &r, 204, "DELETE", "/sandboxes/i1", NULL);
    reply_free(&r);
    expect_ids(w, target, "i2 i3 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_list_is_of_the_team_newest_first),
        WORLD_TEST(test_list_joins_running_and_paused),
        WORLD_TEST(test_list_entry_has_every_field),
        WORLD_TEST(test_list_by_metadata),
        WORLD_TEST(test_list_by_template),
        WORLD_TEST(test_list_refuses_bad_parameters),
        WORLD_TEST(test_token_is_bound_to_its_order),
        WORLD_TEST(test_pages_hold_each_once),
        WORLD_TEST(test_pages_go_on_when_the_last_one_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
