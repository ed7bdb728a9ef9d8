#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "orchestrator/sandbox/turns.h"

#include <string.h>

#define COMERS 5

struct comer {
    struct turn turn;
    char name;
    bool ends_at_once;
};

static struct turns turns;
static struct comer comers[COMERS];
static char went[COMERS + 1]; /* the names of those that were told */

static void go(struct turn *t)
{
    struct comer *c = container_of(t, struct comer, turn);
    assert_true(t->taken);
    assert_false(turn_waits(t));
    went[strlen(went)] = c->name;
    if (c->ends_at_once)
        turn_end(&turns, t);
}

static int setup(void **state)
{
    (void)state;
    turns_init(&turns, 2);
    memset(comers, 0, sizeof(comers));
    memset(went, 0, sizeof(went));
    for (size_t i = 0; i < COMERS; i++)
        comers[i].name = (char)('a' + i);
    return 0;
}

static void come(size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(turn_take(&turns, &comers[i].turn, go), i < turns.max);
}

static void end(size_t i)
{
    turn_end(&turns, &comers[i].turn);
}

static void test_as_many_as_may_have_theirs_at_once(void **state)
{
    (void)state;
    come(3);
    assert_string_equal(went, ""); /* who has it at once is not told */
    assert_false(turn_waits(&comers[1].turn));
    assert_true(turn_waits(&comers[2].turn));
    assert_int_equal(turns.taken, 2);
}

static void test_each_that_ends_lets_the_next_go(void **state)
{
    (void)state;
    come(5);
    end(1);
    assert_string_equal(went, "c");
    end(2);
    end(0);
    assert_string_equal(went, "cde");
    end(3);
    end(4);
    assert_int_equal(turns.taken, 0);
}

static void test_one_that_waits_no_more_is_passed_over(void **state)
{
    (void)state;
    come(4);
    end(2);
    assert_false(turn_waits(&comers[2].turn));
    assert_string_equal(went, "");
    assert_int_equal(turns.taken, 2);
    end(0);
    assert_string_equal(went, "d");
}

static void test_an_end_counts_once(void **state)
{
    (void)state;
    end(0); /* of one that never came */
    come(4);
    end(0);
    end(0);
    assert_string_equal(went, "c");
    assert_int_equal(turns.taken, 2);
}

static void test_one_that_ends_as_it_goes_lets_the_next_go(void **state)
{
    (void)state;
    comers[2].ends_at_once = comers[3].ends_at_once = true;
    come(5);
    end(0);
    assert_string_equal(went, "cde");
    assert_int_equal(turns.taken, 2);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_as_many_as_may_have_theirs_at_once),
        TEST(test_each_that_ends_lets_the_next_go),
        TEST(test_one_that_waits_no_more_is_passed_over),
        TEST(test_an_end_counts_once),
        TEST(test_one_that_ends_as_it_goes_lets_the_next_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
