/* A loop whose turns a second thread takes too. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "common/io/loop_turn.h"

#include <stdatomic.h>
#include <stdbool.h>

#define TURNS 20000

struct world {
    uv_loop_t loop;
    struct loop_turn turn;
    uv_idle_t idle; /* keeps the loop busy */
    uv_async_t over;
    uv_thread_t borrower;
    int count; /* on the loop: of both threads, and plain */
    int by_loop, overlaps, between;
    bool inside; /* a turn */
    atomic_bool done;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_int_equal(uv_loop_init(&w->loop), 0);
    loop_turn_init(&w->turn, &w->loop);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    loop_turn_deinit(&w->turn);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    free(w);
    return 0;
}

static void have_turn(struct world *w)
{
    if (w->inside)
        w->overlaps++;
    w->inside = true;
    w->count++;
    w->inside = false;
}

static void borrow(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < TURNS; i++) {
        loop_turn_take(&w->turn);
        have_turn(w);
        loop_turn_end(&w->turn);
    }
    atomic_store(&w->done, true);
    uv_async_send(&w->over);
}

static void on_idle(uv_idle_t *idle)
{
    struct world *w = container_of(idle, struct world, idle);
    have_turn(w);
    w->by_loop++;
    if (atomic_load(&w->done))
        uv_close((uv_handle_t *)idle, NULL);
}

static void on_over(uv_async_t *over)
{
    struct world *w = container_of(over, struct world, over);
    have_turn(w);
    w->by_loop++;
    uv_close((uv_handle_t *)over, NULL);
}

static void test_a_busy_loop_and_another_thread_get_turns(void **state)
{
    struct world *w = *state;
    uv_idle_init(&w->loop, &w->idle);
    uv_idle_start(&w->idle, on_idle);
    uv_async_init(&w->loop, &w->over, on_over);
    uv_thread_create(&w->borrower, borrow, w);
    loop_turn_run(&w->turn);
    uv_thread_join(&w->borrower);
    assert_int_equal(w->overlaps, 0);
    assert_int_equal(w->count, TURNS + w->by_loop);
}

static bool is_awaited(struct loop_turn *t)
{
    uv_mutex_lock(&t->lock);
    bool awaited = t->asked - t->over > 1;
    uv_mutex_unlock(&t->lock);
    return awaited;
}

static void borrow_twice(void *arg)
{
    struct world *w = arg;
    loop_turn_take(&w->turn);
    int before = w->by_loop;
    uv_async_send(&w->over);
    while (!is_awaited(&w->turn))
        uv_sleep(1);
    loop_turn_end(&w->turn);
    loop_turn_take(&w->turn);
    w->between = w->by_loop - before;
    loop_turn_end(&w->turn);
}

static void test_who_waits_comes_before_who_had_a_turn(void **state)
{
    struct world *w = *state;
    uv_async_init(&w->loop, &w->over, on_over);
    uv_thread_create(&w->borrower, borrow_twice, w);
    loop_turn_run(&w->turn);
    uv_thread_join(&w->borrower);
    assert_int_equal(w->between, 1);
}

static void test_a_sleeping_loop_gives_its_turn_away(void **state)
{
    struct world *w = *state;
    uv_async_init(&w->loop, &w->over, on_over);
    uv_thread_create(&w->borrower, borrow, w);
    loop_turn_run(&w->turn); /* sleeps all the time: the borrower's end wakes it */
    uv_thread_join(&w->borrower);
    assert_int_equal(w->count, TURNS + 1);
}

static void on_timer(uv_timer_t *timer)
{
    int *left = timer->data;
    if (--*left == 0)
        uv_close((uv_handle_t *)timer, NULL);
}

static void test_a_loop_runs_its_timers_and_ends_by_itself(void **state)
{
    struct world *w = *state;
    uv_timer_t timer;
    int left = 3;
    uv_timer_init(&w->loop, &timer);
    timer.data = &left;
    uint64_t from = uv_hrtime();
    uv_update_time(&w->loop);
    uv_timer_start(&timer, on_timer, 5, 5);
    loop_turn_run(&w->turn);
    assert_int_equal(left, 0);
    assert_in_range(uv_hrtime() - from, 14000000, UINT64_MAX);
    loop_turn_run(&w->turn); /* nothing to wait for */
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_a_busy_loop_and_another_thread_get_turns),
        IN_WORLD(test_who_waits_comes_before_who_had_a_turn),
        IN_WORLD(test_a_sleeping_loop_gives_its_turn_away),
        IN_WORLD(test_a_loop_runs_its_timers_and_ends_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
