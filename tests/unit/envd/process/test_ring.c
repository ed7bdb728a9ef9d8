#include "envd/process/ring.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

static struct ring_budget budget;

static void setup(size_t max)
{
    budget = (struct ring_budget){ .max = max };
}

static bool put(struct ring *r, enum ring_stream stream, const void *data, size_t n,
                uint64_t droppable)
{
    const uint8_t *p = data;
    while (n > 0) {
        size_t room;
        uint8_t *to = ring_reserve(r, stream, droppable, &room);
        if (!to)
            return false;
        if (room > n)
            room = n;
        memcpy(to, p, room);
        ring_commit(r, room);
        p += room;
        n -= room;
    }
    return true;
}

/* The byte at an offset, for streams of known content. */
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 2654435761U >> 13);
}

static bool put_pattern(struct ring *r, enum ring_stream stream, size_t n, uint64_t droppable)
{
    uint8_t piece[700];
    while (n > 0) {
        size_t now = n < sizeof(piece) ? n : sizeof(piece);
        for (size_t i = 0; i < now; i++)
            piece[i] = byte_at(r->end + i);
        if (!put(r, stream, piece, now, droppable))
            return false;
        n -= now;
    }
    return true;
}

/* Read everything from pos on and check every byte. */
static void check_pattern(const struct ring *r, struct ring_pos *pos)
{
    struct ring_view v;
    while (ring_read(r, pos, 999, &v)) {
        assert_in_range(v.n, 1, 999);
        for (size_t i = 0; i < v.n; i++)
            assert_int_equal(v.data[i], byte_at(pos->offset + i));
        ring_advance(pos, v.n);
    }
    assert_true(pos->offset == r->end);
}

static void ring_keeps_order_of_streams(void **state)
{
    (void)state;
    struct ring r;
    struct ring_view v;
    struct ring_pos pos = { 0 };
    setup(1 << 20);
    ring_init(&r, &budget, 1 << 20);
    assert_false(ring_read(&r, &pos, 100, &v));
    assert_true(put(&r, RING_STDOUT, "ab", 2, 0));
    assert_true(put(&r, RING_STDOUT, "cd", 2, 0));
    assert_true(put(&r, RING_STDERR, "EF", 2, 0));
    assert_true(ring_read(&r, &pos, 3, &v));
    assert_int_equal(v.stream, RING_STDOUT);
    assert_str(((struct str){ (const char *)v.data, v.n }), "abc");
    ring_advance(&pos, 3);
    assert_true(ring_read(&r, &pos, 3, &v));
    assert_str(((struct str){ (const char *)v.data, v.n }), "d");
    ring_advance(&pos, 1);
    assert_true(ring_read(&r, &pos, 3, &v));
    assert_int_equal(v.stream, RING_STDERR);
    ring_advance(&pos, 2);
    assert_false(ring_read(&r, &pos, 3, &v));
    /* A record that a reader has finished grows under it. */
    assert_true(put(&r, RING_STDERR, "G", 1, 0));
    assert_true(ring_read(&r, &pos, 3, &v));
    assert_str(((struct str){ (const char *)v.data, v.n }), "G");
    assert_true(r.end == 7);
    ring_deinit(&r);
    assert_int_equal(budget.used, 0);
}

static void ring_takes_memory_as_used(void **state)
{
    (void)state;
    struct ring r;
    setup(1 << 20);
    ring_init(&r, &budget, 1 << 20);
    assert_int_equal(budget.used, 0);
    assert_true(put(&r, RING_STDOUT, "x", 1, 0));
    assert_in_range(budget.used, 1, 2 * RING_CHUNK_MIN);
    ring_trim(&r);
    assert_in_range(budget.used, 1, 100);
    struct ring_pos pos = { 0 };
    struct ring_view v;
    assert_true(ring_read(&r, &pos, 10, &v));
    assert_int_equal(v.data[0], 'x');
    ring_deinit(&r);
}

static void ring_is_full_when_nothing_may_be_dropped(void **state)
{
    (void)state;
    struct ring r;
    setup(1 << 30);
    ring_init(&r, &budget, 65536);
    while (put_pattern(&r, RING_STDOUT, 100, 0)) {
    }
    assert_in_range(budget.used, 50000, 65536);
    assert_in_range(r.end, 50000, 65536);
    assert_true(ring_begin(&r) == 0);
    /* The reader comes on by half: room again, and nothing that it needs is dropped. */
    struct ring_pos pos = ring_seek(&r, r.end / 2);
    assert_true(put_pattern(&r, RING_STDOUT, 10000, pos.offset));
    assert_true(ring_begin(&r) > 0);
    assert_true(ring_begin(&r) <= pos.offset);
    assert_true(ring_catch_up(&r, &pos) == 0);
    check_pattern(&r, &pos);
    ring_deinit(&r);
    assert_int_equal(budget.used, 0);
}

static void ring_tells_what_a_slow_reader_missed(void **state)
{
    (void)state;
    struct ring r;
    setup(1 << 30);
    ring_init(&r, &budget, 65536);
    struct ring_pos pos = { 0 };
    assert_true(put_pattern(&r, RING_STDOUT, 1000, UINT64_MAX));
    struct ring_view v;
    assert_true(ring_read(&r, &pos, 10, &v));
    ring_advance(&pos, 10);
    assert_true(put_pattern(&r, RING_STDERR, 1000000, UINT64_MAX));
    assert_in_range(budget.used, 50000, 65536);
    /* The newest bytes are there. */
    assert_true(r.end - ring_begin(&r) >= 50000);
    uint64_t missed = ring_catch_up(&r, &pos);
    assert_true(missed == ring_begin(&r) - 10);
    assert_true(ring_catch_up(&r, &pos) == 0);
    check_pattern(&r, &pos);
    ring_deinit(&r);
}

static void ring_seek_finds_every_offset(void **state)
{
    (void)state;
    struct ring r;
    struct ring_view v;
    setup(1 << 30);
    ring_init(&r, &budget, 65536);
    for (int i = 0; i < 400; i++)
        assert_true(
            put_pattern(&r, i % 3 ? RING_STDOUT : RING_STDERR, 1 + (size_t)i % 500, UINT64_MAX));
    for (uint64_t at = ring_begin(&r); at < r.end; at++) {
        struct ring_pos pos = ring_seek(&r, at);
        assert_true(pos.offset == at);
        assert_true(ring_read(&r, &pos, 1, &v));
        assert_int_equal(v.data[0], byte_at(at));
    }
    struct ring_pos end = ring_seek(&r, UINT64_MAX), begin = ring_seek(&r, 0);
    assert_true(end.offset == r.end);
    assert_false(ring_read(&r, &end, 1, &v));
    assert_true(begin.offset == ring_begin(&r));
    assert_true(put_pattern(&r, RING_PTY, 5000, UINT64_MAX));
    check_pattern(&r, &end);
    ring_deinit(&r);
}

static void ring_budget_is_shared(void **state)
{
    (void)state;
    struct ring a, b;
    setup(65536);
    ring_init(&a, &budget, 1 << 20);
    ring_init(&b, &budget, 1 << 20);
    while (put_pattern(&a, RING_STDOUT, 100, 0)) {
    }
    assert_in_range(budget.used, 50000, 65536);
    assert_true(budget.starved);
    /* Another still gets its first chunk, and goes on in it as its reader does. */
    assert_true(put_pattern(&b, RING_STDOUT, 100, 0));
    assert_true(put_pattern(&b, RING_STDOUT, 20000, UINT64_MAX));
    assert_in_range(budget.used, 50000, 65536 + RING_CHUNK_MIN + 64);
    struct ring_pos pos = { 0 };
    assert_true(ring_catch_up(&b, &pos) > 0);
    check_pattern(&b, &pos);
    ring_deinit(&a);
    ring_deinit(&b);
    assert_int_equal(budget.used, 0);
}

/* Random writes, readers at random places, against a plain array. */
static void ring_agrees_with_a_model(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 60; round++) {
        struct ring r;
        struct ring_pos pos[3] = { { 0 } };
        setup(1 << 20);
        ring_init(&r, &budget, 16384U << (round % 4));
        for (int step = 0; step < 400; step++) {
            struct ring_pos *p = &pos[rand() % 3];
            uint64_t far = 0;
            for (size_t i = 0; i < 3; i++)
                far = pos[i].offset > far ? pos[i].offset : far;
            if (rand() % 2) {
                put_pattern(&r, (enum ring_stream)(rand() % 3), (size_t)(rand() % 3000), far);
            } else {
                uint64_t before = p->offset, missed = ring_catch_up(&r, p);
                assert_true(p->offset == before + missed);
                struct ring_view v;
                for (int n = rand() % 20; n > 0 && ring_read(&r, p, 256, &v); n--) {
                    for (size_t i = 0; i < v.n; i++)
                        assert_int_equal(v.data[i], byte_at(p->offset + i));
                    ring_advance(p, v.n);
                }
            }
            assert_true(ring_begin(&r) <= far || far == 0);
            assert_true(r.held <= r.max);
        }
        ring_trim(&r);
        for (size_t i = 0; i < 3; i++) {
            ring_catch_up(&r, &pos[i]);
            check_pattern(&r, &pos[i]);
        }
        ring_deinit(&r);
        assert_int_equal(budget.used, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_keeps_order_of_streams),
        cmocka_unit_test(ring_takes_memory_as_used),
        cmocka_unit_test(ring_is_full_when_nothing_may_be_dropped),
        cmocka_unit_test(ring_tells_what_a_slow_reader_missed),
        cmocka_unit_test(ring_seek_finds_every_offset),
        cmocka_unit_test(ring_budget_is_shared),
        cmocka_unit_test(ring_agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
