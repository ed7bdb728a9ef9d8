#include "orchestrator/bench/bench.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <stdlib.h>

/* Scripts read this: each name and what is behind it. */
static void test_json_has_exactly_these_fields(void **state)
{
    (void)state;
    struct bench_result r = { .pss_mb = 31.25,
                              .idle_cpu_percent = 1.5,
                              .accel = "tcg",
                              .kernel = "debian",
                              .floor_p50_ms = { [BENCH_CREATE] = 4.5 } };
    for (size_t i = 0; i < BENCH_OP_NR; i++) {
        samples_add(&r.ops[i], (double)i + 2);
        samples_add(&r.ops[i], (double)i + 1);
        samples_add(&r.ops[i], (double)i + 3);
    }
    json_t *root = bench_report_json(&r, "hot");
    AUTO_FREE char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    assert_string_equal(text, "{\"accel\":\"tcg\","
                              "\"create\":{\"floor_p50_ms\":4.5,\"min_ms\":1.0,\"p50_ms\":2.0,"
                              "\"p99_ms\":3.0},"
                              "\"first_command\":{\"min_ms\":2.0,\"p50_ms\":3.0,\"p99_ms\":4.0},"
                              "\"idle_cpu_percent\":1.5,"
                              "\"kernel\":\"debian\","
                              "\"kill\":{\"min_ms\":5.0,\"p50_ms\":6.0,\"p99_ms\":7.0},"
                              "\"pause\":{\"min_ms\":3.0,\"p50_ms\":4.0,\"p99_ms\":5.0},"
                              "\"pool\":\"hot\","
                              "\"pss_mb\":31.25,"
                              "\"resume\":{\"min_ms\":4.0,\"p50_ms\":5.0,\"p99_ms\":6.0}}");
    bench_result_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_json_has_exactly_these_fields) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
