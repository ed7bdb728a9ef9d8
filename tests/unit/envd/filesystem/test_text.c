#include "envd/filesystem/text.h"

#include "tests/support/test.h"

static void test_validity(void **state)
{
    (void)state;
    assert_true(text_is_valid(STR("")));
    assert_true(text_is_valid(STR("a\xc3\xa4\xf0\x9f\x98\x80")));
    assert_false(text_is_valid(STR("a\0b")));
    assert_false(text_is_valid(STR("\xc3")));
    assert_false(text_is_valid(STR("\xed\xa0\x80"))); /* a surrogate */
    assert_false(text_is_valid(STR("\xc0\xaf")));
}

static void test_replacement(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    assert_string_equal(text_valid(&arena, STR("a\xc3\xa4")), "a\xc3\xa4");
    assert_string_equal(text_valid(&arena, STR("a\xff\xc3 \0b")),
                        "a\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd"
                        "b");
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_validity),
                                        cmocka_unit_test(test_replacement) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
