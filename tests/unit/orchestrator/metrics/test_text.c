#include "orchestrator/metrics/text.h"
#include "tests/support/test.h"

static struct buf out;

static int setup(void **state)
{
    (void)state;
    out = (struct buf){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_deinit(&out);
    return 0;
}

static void test_a_family_and_its_values(void **state)
{
    (void)state;
    const struct metrics_label labels[] = { { "state", "running" }, { "kind", "hot" } };
    metrics_family(&out, "boxes", "gauge", "What there is.");
    metrics_value(&out, "boxes", NULL, 0, 3);
    metrics_value(&out, "boxes", labels, 2, UINT64_MAX);
    assert_str(buf_str(&out), "# HELP boxes What there is.\n# TYPE boxes gauge\n"
                              "boxes 3\n"
                              "boxes{state=\"running\",kind=\"hot\"} 18446744073709551615\n");
}

static void test_label_values_are_escaped(void **state)
{
    (void)state;
    const struct metrics_label label = { "text", "a\"b\\c\nd" };
    metrics_value(&out, "x", &label, 1, 0);
    assert_str(buf_str(&out), "x{text=\"a\\\"b\\\\c\\nd\"} 0\n");
}

/* The part of the text from the n-th line on, `lines` of them. */
static struct str cut(size_t first, size_t lines)
{
    struct str rest = buf_str(&out);
    while (first--)
        str_split(&rest, '\n');
    struct str from = rest;
    while (lines--)
        str_split(&rest, '\n');
    from.n = rest.p ? (size_t)(rest.p - from.p) : from.n;
    return from;
}

static void test_buckets_add_up(void **state)
{
    (void)state;
    const struct metrics_label label = { "op", "create" };
    struct histogram h = { 0 };
    histogram_add(&h, 1000);
    histogram_add(&h, 1001);
    histogram_add(&h, 131072001);
    metrics_histogram(&out, "t", &label, 1, &h);
    assert_str(cut(0, 3), "t_bucket{op=\"create\",le=\"0.001\"} 1\n"
                          "t_bucket{op=\"create\",le=\"0.002\"} 2\n"
                          "t_bucket{op=\"create\",le=\"0.004\"} 2\n");
    assert_str(cut(HISTOGRAM_BOUNDS - 1, 4), "t_bucket{op=\"create\",le=\"131.072\"} 2\n"
                                             "t_bucket{op=\"create\",le=\"+Inf\"} 3\n"
                                             "t_sum{op=\"create\"} 131.074002\n"
                                             "t_count{op=\"create\"} 3\n");
}

static void test_a_histogram_without_labels(void **state)
{
    (void)state;
    metrics_histogram(&out, "t", NULL, 0, &(struct histogram){ 0 });
    assert_str(cut(0, 1), "t_bucket{le=\"0.001\"} 0\n");
    assert_str(cut(HISTOGRAM_BOUNDS + 1, 2), "t_sum 0.000000\nt_count 0\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_family_and_its_values),
        TEST(test_label_values_are_escaped),
        TEST(test_buckets_add_up),
        TEST(test_a_histogram_without_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
