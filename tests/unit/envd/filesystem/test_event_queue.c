#include "envd/filesystem/event_queue.h"

#include "tests/support/test.h"

#include <string.h>

#define NAME_BYTES 4000 /* the event with kind and end of name */

static char name[NAME_BYTES - 1];
static struct event_queues queues;

static int setup(void **state)
{
    (void)state;
    memset(name, 'n', NAME_BYTES - 2);
    event_queues_init(&queues);
    return 0;
}

static void fill(struct event_queue *q, size_t bytes)
{
    for (size_t n = 0; n + NAME_BYTES <= bytes; n += NAME_BYTES)
        event_queue_add(q, WATCH_CREATE, name);
}

static void take_one(struct event_queue *q, const char *want)
{
    struct arena arena = { 0 };
    const Filesystem__FilesystemEvent *e = event_queue_take(q, &arena, "/", false);
    assert_non_null(e);
    assert_string_equal(e->name, want);
    arena_deinit(&arena);
}

static void test_add_over_the_limit_of_one(void **state)
{
    (void)state;
    struct event_queue a, b;
    event_queue_init(&a, &queues);
    event_queue_init(&b, &queues);
    event_queue_add(&b, WATCH_REMOVE, "kept");
    fill(&a, EVENT_QUEUE_MAX);
    assert_int_equal(a.lost.code, ERR_OK);
    event_queue_add(&a, WATCH_CREATE, name);
    assert_int_equal(a.lost.code, ERR_EXHAUSTED);
    assert_true(event_queue_empty(&a));
    assert_int_equal(b.lost.code, ERR_OK);
    take_one(&b, "kept");
    assert_int_equal(queues.used, 0);
    event_queue_deinit(&a);
    event_queue_deinit(&b);
}

/* The longest loses its events, not the one that comes last. */
static void test_add_over_the_limit_of_all(void **state)
{
    (void)state;
    struct event_queue q[4];
    for (size_t i = 0; i < 4; i++)
        event_queue_init(&q[i], &queues);
    fill(&q[0], EVENT_QUEUES_MAX / 4);
    fill(&q[1], EVENT_QUEUES_MAX / 2);
    fill(&q[2], EVENT_QUEUES_MAX / 4 - NAME_BYTES);
    event_queue_add(&q[3], WATCH_CREATE, "small");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(q[i].lost.code, ERR_OK);
    assert_in_range(queues.used, EVENT_QUEUES_MAX - 4 * NAME_BYTES, EVENT_QUEUES_MAX);
    for (size_t i = 0; i < 4; i++)
        event_queue_add(&q[3], WATCH_CREATE, name);
    assert_int_equal(q[0].lost.code, ERR_OK);
    assert_int_equal(q[1].lost.code, ERR_EXHAUSTED);
    assert_int_equal(q[2].lost.code, ERR_OK);
    assert_int_equal(q[3].lost.code, ERR_OK);
    assert_true(event_queue_empty(&q[1]));
    take_one(&q[3], "small");
    take_one(&q[3], name);
    assert_in_range(queues.used, EVENT_QUEUES_MAX / 2 - 4 * NAME_BYTES,
                    EVENT_QUEUES_MAX / 2 + 4 * NAME_BYTES);
    for (size_t i = 0; i < 4; i++)
        event_queue_deinit(&q[i]);
    assert_int_equal(queues.used, 0);
    assert_true(list_empty(&queues.all));
}

static void test_take_gives_memory_back(void **state)
{
    (void)state;
    struct event_queue a;
    event_queue_init(&a, &queues);
    fill(&a, 10 * NAME_BYTES);
    for (int i = 0; i < 10; i++)
        take_one(&a, name);
    assert_int_equal(queues.used, 0);
    assert_null(a.bytes.data);
    event_queue_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_add_over_the_limit_of_one, setup),
        cmocka_unit_test_setup(test_add_over_the_limit_of_all, setup),
        cmocka_unit_test_setup(test_take_gives_memory_back, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
