#include "common/http/marks.h"

#include "tests/support/test.h"

static void test_find_rounds_down(void **state)
{
    (void)state;
    struct http_marks m = { .base = { 0, 7 } };
    assert_int_equal(http_marks_find(&m, 1000), 7);
    http_marks_add(&m, 10, 100);
    http_marks_add(&m, 20, 200);
    assert_int_equal(http_marks_find(&m, 9), 7);
    assert_int_equal(http_marks_find(&m, 10), 100);
    assert_int_equal(http_marks_find(&m, 19), 100);
    assert_int_equal(http_marks_find(&m, 1000), 200);
    http_marks_deinit(&m);
}

static void test_between_counts_bytes(void **state)
{
    (void)state;
    struct http_marks m = { 0 };
    http_marks_add(&m, 105, 100); /* five bytes of framing, then a hundred */
    http_marks_add(&m, 312, 300);
    assert_int_equal(http_marks_between(&m, 0), 0);
    assert_int_equal(http_marks_between(&m, 3), 0);
    assert_int_equal(http_marks_between(&m, 6), 1);
    assert_int_equal(http_marks_between(&m, 104), 99);
    assert_int_equal(http_marks_between(&m, 105), 100);
    assert_int_equal(http_marks_between(&m, 110), 100);
    assert_int_equal(http_marks_between(&m, 311), 299);
    assert_int_equal(http_marks_between(&m, 5000), 300);
    http_marks_deinit(&m);
}

static void test_what_is_forgotten_is_the_base(void **state)
{
    (void)state;
    struct http_marks m = { 0 };
    for (uint64_t i = 1; i <= HTTP_MARKS_MIN; i++)
        http_marks_add(&m, i * 10, i);
    assert_true(http_marks_full(&m));
    http_marks_forget(&m, 105);
    assert_false(http_marks_full(&m));
    assert_int_equal(m.n, HTTP_MARKS_MIN - 10);
    assert_int_equal(http_marks_find(&m, 105), 10);
    assert_int_equal(http_marks_find(&m, 110), 11);
    http_marks_forget_values(&m, 20);
    assert_int_equal(m.n, HTTP_MARKS_MIN - 20);
    assert_int_equal(http_marks_find(&m, 0), 20);
    http_marks_forget(&m, 10000);
    assert_int_equal(http_marks_find(&m, 10000), HTTP_MARKS_MIN);
    http_marks_deinit(&m);
}

static void test_too_many_never_say_too_much(void **state)
{
    (void)state;
    struct http_marks m = { 0 };
    for (uint64_t i = 1; i <= 10000; i++)
        http_marks_add(&m, i * 10, i);
    for (uint64_t at = 0; at < 100010; at += 7) {
        uint64_t exact = at / 10 < 10000 ? at / 10 : 10000;
        assert_true(http_marks_find(&m, at) <= exact);
    }
    assert_int_equal(http_marks_find(&m, 100000), 10000);
    http_marks_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_rounds_down),
        cmocka_unit_test(test_between_counts_bytes),
        cmocka_unit_test(test_what_is_forgotten_is_the_base),
        cmocka_unit_test(test_too_many_never_say_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
