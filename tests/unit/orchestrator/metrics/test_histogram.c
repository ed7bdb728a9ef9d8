#include "orchestrator/metrics/histogram.h"
#include "tests/support/test.h"

/* The bucket that a time is counted in. */
static size_t bucket_of(uint64_t us)
{
    struct histogram h = { 0 };
    size_t found = HISTOGRAM_BOUNDS + 1;
    histogram_add(&h, us);
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        if (!h.counts[i])
            continue;
        assert_int_equal(h.counts[i], 1);
        assert_int_equal(found, HISTOGRAM_BOUNDS + 1);
        found = i;
    }
    return found;
}

static void test_bounds_double_from_a_millisecond(void **state)
{
    (void)state;
    assert_int_equal(histogram_bound_us(0), 1000);
    for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
        assert_int_equal(histogram_bound_us(i), 2 * histogram_bound_us(i - 1));
    assert_int_equal(histogram_bound_us(HISTOGRAM_BOUNDS - 1), 131072000);
}

static void test_a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        assert_int_equal(bucket_of(histogram_bound_us(i)), i);
        assert_int_equal(bucket_of(histogram_bound_us(i) + 1), i + 1);
    }
    assert_int_equal(bucket_of(0), 0);
    assert_int_equal(bucket_of(1), 0);
    assert_int_equal(bucket_of(UINT64_MAX), HISTOGRAM_BOUNDS);
}

static void test_times_are_counted_and_summed(void **state)
{
    (void)state;
    struct histogram h = { 0 };
    assert_int_equal(histogram_count(&h), 0);
    histogram_add(&h, 700);
    histogram_add(&h, 1500);
    histogram_add(&h, 1600);
    assert_int_equal(histogram_count(&h), 3);
    assert_int_equal(h.counts[1], 2);
    assert_int_equal(h.sum_us, 3800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds_double_from_a_millisecond),
        cmocka_unit_test(test_a_bound_belongs_to_its_bucket),
        cmocka_unit_test(test_times_are_counted_and_summed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
