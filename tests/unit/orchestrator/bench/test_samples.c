#include "orchestrator/bench/samples.h"
#include "tests/support/test.h"

static void expect(struct samples *s, double q, double value)
{
    double got = samples_quantile(s, q);
    if (got < value || got > value)
        fail_msg("quantile %g is %g, not %g", q, got, value);
}

static void test_quantile_is_a_value_that_was_measured(void **state)
{
    (void)state;
    struct samples s = { 0 };
    expect(&s, 0.5, 0);
    samples_add(&s, 7);
    expect(&s, 0, 7);
    expect(&s, 0.5, 7);
    expect(&s, 0.99, 7);
    samples_add(&s, 3);
    samples_add(&s, 5);
    samples_add(&s, 1);
    expect(&s, 0, 1);
    expect(&s, 0.5, 3);
    expect(&s, 0.51, 5);
    expect(&s, 1, 7);
    samples_deinit(&s);
}

static void test_quantile_of_many(void **state)
{
    (void)state;
    struct samples s = { 0 };
    for (int i = 0; i < 1000; i++)
        samples_add(&s, (i * 7919) % 1000 + 1);
    expect(&s, 0, 1);
    expect(&s, 0.5, 500);
    expect(&s, 0.99, 990);
    expect(&s, 1, 1000);
    samples_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile_is_a_value_that_was_measured),
        cmocka_unit_test(test_quantile_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
