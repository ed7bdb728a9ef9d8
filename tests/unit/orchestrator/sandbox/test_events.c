#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "orchestrator/sandbox/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct event_log log_;

static int setup(void **state)
{
    (void)state;
    return event_log_init(&log_) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    event_log_deinit(&log_);
    return 0;
}

static void append(unsigned n)
{
    struct sandbox_event e = { .kind = SANDBOX_EVENT_RUNNING };
    for (unsigned i = 0; i < n; i++) {
        snprintf(e.sandbox_id, sizeof(e.sandbox_id), "i%u", (unsigned)log_.newest + 1);
        event_log_append(&log_, &e);
    }
}

static void test_events_are_read_in_order(void **state)
{
    (void)state;
    const struct sandbox_event *e;
    struct err err;
    assert_int_equal(event_log_read(&log_, 0, &e, &err), -ENOENT);
    append(2);
    assert_int_equal(event_log_read(&log_, 0, &e, &err), 0);
    assert_string_equal(e->sandbox_id, "i1");
    assert_int_equal(e->seq, 1);
    assert_int_equal(event_log_read(&log_, 1, &e, &err), 0);
    assert_string_equal(e->sandbox_id, "i2");
    assert_int_equal(event_log_read(&log_, 2, &e, &err), -ENOENT);
}

static void test_the_oldest_make_room_and_readers_are_told(void **state)
{
    (void)state;
    const struct sandbox_event *e;
    struct err err;
    append(EVENT_LOG_SIZE);
    assert_int_equal(event_log_before_oldest(&log_), 0);
    assert_int_equal(event_log_read(&log_, 0, &e, &err), 0);
    append(1);
    assert_int_equal(event_log_before_oldest(&log_), 1);
    assert_int_equal(event_log_read(&log_, 0, &e, &err), -ESTALE);
    assert_int_equal(err.code, ERR_RANGE);
    assert_non_null(strstr(err.msg, "list again"));
    assert_int_equal(event_log_read(&log_, 1, &e, &err), 0);
    assert_string_equal(e->sandbox_id, "i2");
    assert_int_equal(event_log_read(&log_, EVENT_LOG_SIZE, &e, &err), 0);
    assert_int_equal(e->seq, EVENT_LOG_SIZE + 1);
}

static void test_positions_say_where_they_are_from(void **state)
{
    (void)state;
    char position[EVENT_POSITION_SIZE], other[EVENT_POSITION_SIZE];
    struct event_log before;
    struct err err;
    uint64_t seq;
    append(5);
    event_position_format(&log_, 3, position);
    assert_int_equal(event_position_parse(&log_, position, &seq, &err), 0);
    assert_int_equal(seq, 3);

    assert_true(event_log_init(&before));
    event_position_format(&before, 0, other);
    assert_int_equal(event_position_parse(&log_, other, &seq, &err), -ESTALE);
    assert_int_equal(err.code, ERR_RANGE);
    assert_non_null(strstr(err.msg, "earlier run"));
    event_log_deinit(&before);

    append(EVENT_LOG_SIZE);
    assert_int_equal(event_position_parse(&log_, position, &seq, &err), -ESTALE);
    event_position_format(&log_, log_.newest + 1, position);
    assert_int_equal(event_position_parse(&log_, position, &seq, &err), -EINVAL);
    for (size_t i = 0; i < 4; i++) {
        static const char *const bad[] = { "", "1", "0123456789abcdef", "0123456789abcdef.x" };
        assert_int_equal(event_position_parse(&log_, bad[i], &seq, &err), -EINVAL);
        assert_int_equal(err.code, ERR_INVALID);
    }
}

struct counter {
    struct event_watcher w;
    int n;
};

static void on_event(struct event_watcher *w)
{
    container_of(w, struct counter, w)->n++;
}

static void test_watchers_are_told_until_they_leave(void **state)
{
    (void)state;
    struct counter a = { .w.on_event = on_event }, b = { .w.on_event = on_event };
    event_log_watch(&log_, &a.w);
    event_log_watch(&log_, &b.w);
    append(1);
    event_log_unwatch(&a.w);
    append(1);
    event_log_unwatch(&b.w);
    append(1);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events_are_read_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_oldest_make_room_and_readers_are_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_positions_say_where_they_are_from, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watchers_are_told_until_they_leave, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
