#include "envd/files/http_date.h"

#include "tests/support/test.h"

static void test_format(void **state)
{
    (void)state;
    char text[HTTP_DATE_MAX];
    http_date_format(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void test_parse(void **state)
{
    (void)state;
    time_t t = 0;
    assert_true(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 GMT"), &t));
    assert_int_equal(t, 784111777);
    t = 0;
    assert_true(http_date_parse(STR("Sunday, 06-Nov-94 08:49:37 GMT"), &t));
    assert_int_equal(t, 784111777);
    t = 0;
    assert_true(http_date_parse(STR("Sun Nov  6 08:49:37 1994"), &t));
    assert_int_equal(t, 784111777);
    assert_false(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 CET"), &t));
    assert_false(http_date_parse(STR("Sun, 06 Nov 1994 08:49:37 GMT+1"), &t));
    assert_false(http_date_parse(STR("784111777"), &t));
    assert_false(http_date_parse(STR(""), &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_format),
                                        cmocka_unit_test(test_parse) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
