#include "envd/files/conditions.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#define MODIFIED 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define AT       "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE   "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER    "Sun, 06 Nov 1994 08:49:38 GMT"

static int check(const char *name, const char *value)
{
    struct http_field field = { str_of(name), str_of(value) };
    struct http_head head = { .fields = &field, .nfields = 1 };
    return conditions_check(&head, MODIFIED);
}

static void test_check_one_field(void **state)
{
    (void)state;
    assert_int_equal(check("x", "y"), 200);
    assert_int_equal(check("if-modified-since", AT), 304);
    assert_int_equal(check("if-modified-since", AFTER), 304);
    assert_int_equal(check("if-modified-since", BEFORE), 200);
    assert_int_equal(check("if-modified-since", "yesterday"), 200);
    assert_int_equal(check("if-unmodified-since", AT), 200);
    assert_int_equal(check("if-unmodified-since", BEFORE), 412);
    assert_int_equal(check("if-none-match", "*"), 304);
    assert_int_equal(check("if-none-match", "\"tag\""), 200);
    assert_int_equal(check("if-match", " * "), 200);
    assert_int_equal(check("if-match", "\"tag\""), 412);
}

static void test_check_tags_outweigh_dates(void **state)
{
    (void)state;
    struct http_field fields[] = { { STR("if-modified-since"), STR(AFTER) },
                                   { STR("if-none-match"), STR("\"tag\"") },
                                   { STR("if-unmodified-since"), STR(BEFORE) },
                                   { STR("if-match"), STR("*") } };
    struct http_head head = { .fields = fields, .nfields = ARRAY_LEN(fields) };
    assert_int_equal(conditions_check(&head, MODIFIED), 200);
}

static void test_if_range(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool applies;
    } cases[] = { { AT, true }, { BEFORE, false }, { AFTER, false }, { "\"tag\"", false } };
    struct http_head none = { 0 };
    assert_true(conditions_range_applies(&none, MODIFIED));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_field field = { STR("if-range"), str_of(cases[i].value) };
        struct http_head head = { .fields = &field, .nfields = 1 };
        assert_int_equal(conditions_range_applies(&head, MODIFIED), cases[i].applies);
    }
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        int64_t size;
        int n;
        struct range r[3];
    } cases[] = {
        { "bytes=0-0", 10, 1, { { 0, 1 } } },
        { "bytes=2-5", 10, 1, { { 2, 4 } } },
        { "Bytes= 2 - 5 ", 10, 1, { { 2, 4 } } },
        { "bytes=7-", 10, 1, { { 7, 3 } } },
        { "bytes=7-99", 10, 1, { { 7, 3 } } },
        { "bytes=-3", 10, 1, { { 7, 3 } } },
        { "bytes=-99", 10, 1, { { 0, 10 } } },
        { "bytes=0-1,4-5,-1", 10, 3, { { 0, 2 }, { 4, 2 }, { 9, 1 } } },
        { "bytes=0-1, ,20-", 10, 1, { { 0, 2 } } },
        { "bytes=0-9,0-9", 10, 0, { { 0 } } }, /* more than the file */
        { "items=0-1", 10, 0, { { 0 } } },
        { "bytes", 10, 0, { { 0 } } },
        { "bytes=", 10, -1, { { 0 } } },
        { "bytes=10-", 10, -1, { { 0 } } },
        { "bytes=-0", 10, -1, { { 0 } } },
        { "bytes=5-4", 10, -1, { { 0 } } },
        { "bytes=a-4", 10, -1, { { 0 } } },
        { "bytes=1", 10, -1, { { 0 } } },
        { "bytes=-", 10, -1, { { 0 } } },
        { "bytes=--1", 10, -1, { { 0 } } },
        { "bytes=0-9223372036854775808", 10, -1, { { 0 } } },
        { "bytes=0-9223372036854775807", 10, 1, { { 0, 10 } } },
        { "bytes=0-", 0, 0, { { 0 } } },
        { "bytes=-5", 0, 0, { { 0 } } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct range r[RANGES_MAX];
        int n = conditions_parse_ranges(str_of(cases[i].field), cases[i].size, r);
        if (n != cases[i].n)
            fail_msg("%s: %d, not %d", cases[i].field, n, cases[i].n);
        for (int k = 0; k < n; k++) {
            assert_int_equal(r[k].first, cases[i].r[k].first);
            assert_int_equal(r[k].length, cases[i].r[k].length);
        }
    }
}

static void test_too_many_ranges_are_ignored(void **state)
{
    (void)state;
    struct range r[RANGES_MAX];
    char field[1024] = "bytes=0-0";
    for (int i = 1; i < RANGES_MAX; i++)
        strcat(field, ",1-1");
    assert_int_equal(conditions_parse_ranges(str_of(field), 1000, r), RANGES_MAX);
    strcat(field, ",1-1");
    assert_int_equal(conditions_parse_ranges(str_of(field), 1000, r), 0);
}

static void test_encodings(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum encoding want;
    } cases[] = {
        { "", ENCODING_IDENTITY },
        { "gzip, deflate", ENCODING_IDENTITY }, /* what the clients send by default */
        { "gzip, deflate, br, zstd", ENCODING_IDENTITY },
        { "gzip;q=1.0, *;q=0.5", ENCODING_IDENTITY },
        { "*", ENCODING_IDENTITY },
        { "br", ENCODING_IDENTITY },
        { "*;q=0, identity;q=0.1", ENCODING_IDENTITY },
        { "gzip", ENCODING_GZIP },
        { " GZip ; q=0.5", ENCODING_GZIP },
        { "gzip, identity;q=0.5", ENCODING_GZIP },
        { "gzip, br;q=0", ENCODING_GZIP },
        { "gzip, deflate, identity;q=0", ENCODING_GZIP },
        { "gzip, *;q=0", ENCODING_GZIP },
        { "*, identity;q=0", ENCODING_GZIP },
        { "gzip;q=0", ENCODING_IDENTITY },
        { "br, identity; Q=0.000", ENCODING_NONE },
        { "gzip;q=0, *;q=0", ENCODING_NONE },
    };
    assert_int_equal(conditions_encoding((struct str){ 0 }), ENCODING_IDENTITY);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (conditions_encoding(str_of(cases[i].accept)) != cases[i].want)
            fail_msg("%s", cases[i].accept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_one_field),
        cmocka_unit_test(test_check_tags_outweigh_dates),
        cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_too_many_ranges_are_ignored),
        cmocka_unit_test(test_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
