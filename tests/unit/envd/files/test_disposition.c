#include "envd/files/disposition.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name, *want;
    } cases[] = {
        { "a.txt", "inline; filename=a.txt" },
        { "a b", "inline; filename=\"a b\"" },
        { "a\"b\\", "inline; filename=\"a\\\"b\\\\\"" },
        { "\xc3\xa4 b", "inline; filename*=utf-8''%C3%A4%20b" },
        { "a\nb", "inline; filename*=utf-8''a%0Ab" },
        { "", "inline; filename=\"\"" },
    };
    struct arena arena = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(disposition_inline(&arena, str_of(cases[i].name)), cases[i].want);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_names) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
