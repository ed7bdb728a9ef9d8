#include "common/link/link_marker.h"

#include "common/base/buf.h"
#include "common/link/link_limits.h"
#include "tests/support/test.h"

#include <stdlib.h>

static uint8_t secret[LINK_SECRET_SIZE];

/* A generator with a seed, so that a failure can be repeated. */
static uint64_t seed;

static uint32_t next(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static void keep(void *user, const uint8_t *p, size_t n)
{
    buf_append(user, p, n);
}

struct outcome {
    struct buf passed, rest;
    uint8_t nonce[LINK_NONCE_SIZE];
    size_t found;
};

static void outcome_deinit(struct outcome *o)
{
    buf_deinit(&o->passed);
    buf_deinit(&o->rest);
}

/* Feed data in pieces of the lengths that cut() gives. After a marker the rest is kept apart. */
static void feed(struct link_scanner *s, const uint8_t *data, size_t n, uint32_t most,
                 struct outcome *o)
{
    while (n > 0) {
        size_t piece = 1 + next(most);
        piece = piece < n ? piece : n;
        size_t at = 0;
        while (at < piece) {
            size_t used;
            if (o->found) {
                buf_append(&o->rest, data + at, piece - at);
                break;
            }
            o->found +=
                link_scanner_feed(s, data + at, piece - at, keep, &o->passed, o->nonce, &used);
            at += used;
        }
        data += piece;
        n -= piece;
    }
}

static void test_feed_finds_marker_at_every_cut(void **state)
{
    (void)state;
    uint8_t data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i + 1);
    memcpy(data + 70, secret, sizeof(secret));
    for (size_t cut = 0; cut <= sizeof(data); cut++) {
        struct link_scanner s;
        struct buf passed = { 0 };
        uint8_t nonce[LINK_NONCE_SIZE];
        size_t used, total = 0;
        link_scanner_init(&s, secret);
        bool found = link_scanner_feed(&s, data, cut, keep, &passed, nonce, &used);
        total = used;
        if (!found) {
            assert_int_equal(used, cut);
            found =
                link_scanner_feed(&s, data + cut, sizeof(data) - cut, keep, &passed, nonce, &used);
            total += used;
        }
        assert_true(found);
        assert_int_equal(total, 70 + LINK_SECRET_SIZE + LINK_NONCE_SIZE);
        assert_memory_equal(nonce, data + 70 + LINK_SECRET_SIZE, LINK_NONCE_SIZE);
        assert_int_equal(buf_len(&passed), 70);
        assert_memory_equal(buf_head(&passed), data, 70);
        assert_int_equal(s.nheld, 0);
        buf_deinit(&passed);
    }
}

static void test_feed_holds_back_only_a_possible_beginning(void **state)
{
    (void)state;
    struct link_scanner s;
    struct buf passed = { 0 };
    uint8_t nonce[LINK_NONCE_SIZE];
    size_t used;
    link_scanner_init(&s, secret);
    assert_false(link_scanner_feed(&s, (const uint8_t *)"hello", 5, keep, &passed, nonce, &used));
    assert_int_equal(buf_len(&passed), 5);
    assert_int_equal(s.nheld, 0);
    assert_false(link_scanner_feed(&s, secret, 10, keep, &passed, nonce, &used));
    assert_int_equal(buf_len(&passed), 5);
    assert_int_equal(s.nheld, 10);
    /* Not it after all: everything comes out. */
    assert_false(link_scanner_feed(&s, (const uint8_t *)"x", 1, keep, &passed, nonce, &used));
    assert_int_equal(buf_len(&passed), 16);
    assert_int_equal(s.nheld, 0);
    assert_memory_equal(buf_head(&passed) + 5, secret, 10);
    buf_deinit(&passed);
}

/* Random data with many partial beginnings in it, a marker at a random place or none, random cuts,
 * secrets that repeat themselves: what is passed on is always exactly what came before. */
static void test_feed_passes_everything_else_unchanged(void **state)
{
    (void)state;
    for (seed = 1; seed < 20000;) {
        uint64_t began = seed;
        struct link_scanner s;
        struct outcome o = { 0 };
        uint8_t pattern[LINK_SECRET_SIZE], data[600], marker[LINK_SECRET_SIZE + LINK_NONCE_SIZE];
        uint32_t letters = 1 + next(4) * next(60); /* few letters: it overlaps with itself */
        for (size_t i = 0; i < sizeof(pattern); i++)
            pattern[i] = (uint8_t)next(letters + 1);
        pattern[next(LINK_SECRET_SIZE)] = 0xff; /* in the marker, and rarely elsewhere */
        size_t n = 0, before = 1 + next(400);
        while (n < before) {
            size_t k = next(LINK_SECRET_SIZE);
            if (next(2) && n + k < sizeof(data) - sizeof(marker))
                memcpy(data + n, pattern, k);
            else
                k = 0;
            n += k;
            data[n++] = (uint8_t)next(letters + 1);
        }
        for (size_t i = 0; i < n; i++) /* no whole marker by accident */
            if (i + LINK_SECRET_SIZE <= n && memcmp(data + i, pattern, LINK_SECRET_SIZE) == 0)
                data[i + LINK_SECRET_SIZE - 1] ^= 0x55;
        bool with = next(4) > 0;
        memcpy(marker, pattern, LINK_SECRET_SIZE);
        for (size_t i = 0; i < LINK_NONCE_SIZE; i++) /* a nonce may look like the secret */
            marker[LINK_SECRET_SIZE + i] = next(2) ? pattern[i] : (uint8_t)next(256);
        struct buf all = { 0 };
        buf_append(&all, data, n);
        if (with) {
            buf_append(&all, marker, sizeof(marker));
            buf_append(&all, "the rest", 8);
        }
        const uint8_t *at = memmem(buf_head(&all), buf_len(&all), pattern, sizeof(pattern));
        size_t first = at ? (size_t)(at - buf_head(&all)) : buf_len(&all);
        bool complete = at && first + sizeof(marker) <= buf_len(&all);

        link_scanner_init(&s, pattern);
        feed(&s, buf_head(&all), buf_len(&all), 1 + next(80), &o);
        if (o.found != complete)
            fail_msg("seed %llu: found %zu", (unsigned long long)began, o.found);
        size_t passed = buf_len(&o.passed);
        if (passed > first || (complete && passed != first) ||
            (!at && passed + s.nheld != buf_len(&all)))
            fail_msg("seed %llu: %zu passed of %zu", (unsigned long long)began, passed, first);
        if (passed > 0 && memcmp(buf_head(&o.passed), buf_head(&all), passed) != 0)
            fail_msg("seed %llu: changed", (unsigned long long)began);
        if (complete) {
            assert_memory_equal(o.nonce, at + LINK_SECRET_SIZE, LINK_NONCE_SIZE);
            assert_int_equal(passed + sizeof(marker) + buf_len(&o.rest), buf_len(&all));
        }
        buf_deinit(&all);
        outcome_deinit(&o);
        seed = began + 1;
    }
}

static void test_change_passes_on_what_was_held(void **state)
{
    (void)state;
    struct link_scanner s;
    struct buf passed = { 0 };
    uint8_t other[LINK_SECRET_SIZE] = { 9, 9, 9 }, nonce[LINK_NONCE_SIZE];
    size_t used;
    link_scanner_init(&s, secret);
    assert_false(link_scanner_feed(&s, secret, 20, keep, &passed, nonce, &used));
    link_scanner_change(&s, other, keep, &passed);
    assert_int_equal(buf_len(&passed), 20);
    assert_false(link_scanner_feed(&s, secret, sizeof(secret), keep, &passed, nonce, &used));
    assert_int_equal(buf_len(&passed), 52);
    assert_false(link_scanner_feed(&s, other, sizeof(other), keep, &passed, nonce, &used));
    assert_true(link_scanner_feed(&s, secret, LINK_NONCE_SIZE, keep, &passed, nonce, &used));
    assert_memory_equal(nonce, secret, LINK_NONCE_SIZE);
    buf_deinit(&passed);
}

static void test_release_gives_a_beginning_but_no_whole_secret(void **state)
{
    (void)state;
    struct link_scanner s;
    struct buf passed = { 0 };
    uint8_t nonce[LINK_NONCE_SIZE];
    size_t used;
    link_scanner_init(&s, secret);
    assert_false(link_scanner_feed(&s, secret, 1, keep, &passed, nonce, &used));
    assert_int_equal(buf_len(&passed), 0);
    link_scanner_release(&s, keep, &passed);
    assert_int_equal(buf_len(&passed), 1);
    assert_false(link_scanner_feed(&s, secret, sizeof(secret), keep, &passed, nonce, &used));
    link_scanner_release(&s, keep, &passed);
    assert_int_equal(buf_len(&passed), 1);
    assert_true(link_scanner_feed(&s, secret, LINK_NONCE_SIZE, keep, &passed, nonce, &used));
    buf_deinit(&passed);
}

static void test_constants_differ(void **state)
{
    (void)state;
    assert_memory_not_equal(LINK_SECRET_INITIAL, LINK_ACK, LINK_SECRET_SIZE);
    assert_int_equal(LINK_LIMITS_GUEST.window, 65536);
    assert_int_equal(LINK_LIMITS_HOST.window, 262144);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)(i < 8 ? 0xa0 : 0x40 + i);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_feed_finds_marker_at_every_cut),
        cmocka_unit_test(test_feed_holds_back_only_a_possible_beginning),
        cmocka_unit_test(test_feed_passes_everything_else_unchanged),
        cmocka_unit_test(test_change_passes_on_what_was_held),
        cmocka_unit_test(test_release_gives_a_beginning_but_no_whole_secret),
        cmocka_unit_test(test_constants_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
