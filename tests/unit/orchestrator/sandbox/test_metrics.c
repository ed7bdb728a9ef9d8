#include "common/base/buf.h"
#include "common/base/clock.h"
#include "orchestrator/sandbox/metrics.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sandbox_metrics m;
static char *text;

static int setup(void **state)
{
    (void)state;
    m = (struct sandbox_metrics){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(text);
    text = NULL;
    return 0;
}

static bool says(const char *line)
{
    struct buf out = { 0 };
    free(text);
    metrics_write(&m, &out);
    assert_false(out.failed);
    text = buf_take_text(&out);
    assert_non_null(text);
    return strstr(text, line) != NULL;
}

static void operation(enum sandbox_operation what, const struct sandbox_timings *t, unsigned ms,
                      enum err_code code)
{
    struct err err = { .code = code };
    metrics_operation(&m, what, t, clock_mono_ns() - (int64_t)ms * 1000000, &err);
}

#define HOT "operation=\"create\",source=\"hot\""

static void test_an_operation_is_counted_by_its_source(void **state)
{
    (void)state;
    operation(OPERATION_CREATE_HOT, NULL, 5, ERR_OK);
    assert_true(says("sandpit_operation_duration_seconds_count{" HOT "} 1\n"));
    assert_true(says("sandpit_operation_duration_seconds_bucket{" HOT ",le=\"0.004\"} 0\n"));
    assert_true(says("sandpit_operation_duration_seconds_bucket{" HOT ",le=\"0.032\"} 1\n"));
    assert_true(says("_count{operation=\"create\",source=\"none\"} 0\n"));
    assert_true(says("_count{operation=\"pause\"} 0\n"));
}

static void test_phases_that_took_no_time_are_left_out(void **state)
{
    (void)state;
    struct sandbox_timings t = { 0 };
    t.us[SANDBOX_PHASE_LINK] = 2000;
    operation(OPERATION_CREATE_HOT, &t, 5, ERR_OK);
    operation(OPERATION_CREATE_HOT, &t, 5, ERR_OK);
    assert_true(says("sandpit_operation_phase_seconds_sum{" HOT ",phase=\"link\"} 0.004000\n"));
    assert_true(
        says("sandpit_operation_phase_seconds_bucket{" HOT ",phase=\"link\",le=\"0.002\"} 2\n"));
    assert_false(says("phase=\"save\""));
}

static void test_a_failure_is_counted_by_code_and_not_timed(void **state)
{
    (void)state;
    struct sandbox_timings t = { .us[SANDBOX_PHASE_QUEUE] = 1 };
    operation(OPERATION_CREATE_WAITING, &t, 5, ERR_EXHAUSTED);
    operation(OPERATION_CREATE, &t, 5, ERR_EXHAUSTED);
    operation(OPERATION_RESUME_BOOT, &t, 5, ERR_UNAUTHENTICATED);
    assert_true(says("sandpit_operation_failures_total{operation=\"create\",code=\"resource_"
                     "exhausted\"} 2\n"));
    assert_true(says("sandpit_operation_failures_total{operation=\"resume\",code="
                     "\"unauthenticated\"} 1\n"));
    assert_true(says("_count{operation=\"create\",source=\"waiting\"} 0\n"));
    assert_false(says("phase="));
}

static void test_reasons_of_ends_are_bounded(void **state)
{
    (void)state;
    char reason[16];
    metrics_ended(&m, "deadline");
    metrics_ended(&m, "deadline");
    for (int i = 1; i < 40; i++) {
        snprintf(reason, sizeof(reason), "reason%d", i);
        metrics_ended(&m, reason);
    }
    assert_true(says("sandpit_sandboxes_ended_total{reason=\"deadline\"} 2\n"));
    assert_true(says("{reason=\"reason14\"} 1\n"));
    assert_false(says("{reason=\"reason15\"}"));
    assert_true(says("{reason=\"other\"} 25\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_an_operation_is_counted_by_its_source),
        TEST(test_phases_that_took_no_time_are_left_out),
        TEST(test_a_failure_is_counted_by_code_and_not_timed),
        TEST(test_reasons_of_ends_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
