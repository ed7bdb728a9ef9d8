#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/fileio.h"
#include "common/base/str.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void str_split_walks_every_part(void **state)
{
    (void)state;
    struct str rest = STR("a::b:");
    assert_str(str_split(&rest, ':'), "a");
    assert_str(str_split(&rest, ':'), "");
    assert_str(str_split(&rest, ':'), "b");
    assert_non_null(rest.p);
    assert_str(str_split(&rest, ':'), "");
    assert_null(rest.p);
}

static void str_to_u64_is_strict(void **state)
{
    (void)state;
    uint64_t v;
    assert_true(str_to_u64(STR("18446744073709551615"), UINT64_MAX, &v));
    assert_true(v == UINT64_MAX);
    assert_true(str_to_u64(STR("0065535"), 65535, &v));
    const char *bad[] = { "", " 1", "1 ", "+1", "-1", "0x1", "65536", "99999999999999999999" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(str_to_u64(str_of(bad[i]), 65535, &v));
}

static void str_eq_secret_compares(void **state)
{
    (void)state;
    assert_true(str_eq_secret(STR("abc"), STR("abc")));
    assert_false(str_eq_secret(STR("abc"), STR("abd")));
    assert_false(str_eq_secret(STR("abc"), STR("ab")));
    assert_false(str_eq_secret(STR(""), STR("a")));
}

static void err_codes_have_names_and_statuses(void **state)
{
    (void)state;
    for (int code = ERR_CANCELED; code <= ERR_UNAUTHENTICATED; code++) {
        assert_int_equal(err_code_parse(err_code_name((enum err_code)code)), code);
        assert_true(err_code_http((enum err_code)code) >= 400);
    }
    assert_int_equal(err_code_parse("nonsense"), -1);
    assert_int_equal(err_code_http(ERR_NOT_FOUND), 404);
    struct err err;
    assert_int_equal(err_set(&err, ERR_NOT_FOUND, ENOENT, "no %s", "x"), -ENOENT);
    assert_string_equal(err.msg, "no x");
}

/* Messages go into JSON and protobuf, and hold what clients and guests wrote. */
static void err_messages_are_utf8(void **state)
{
    (void)state;
    struct err err;
    err_fill(&err, ERR_INTERNAL, "a \xff\xc3 b \xc3\xa9\xf0\x9f\x98\x80\xed\xa0\x80");
    assert_string_equal(err.msg, "a ?? b \xc3\xa9\xf0\x9f\x98\x80???");
    char text[2 * sizeof(err.msg)];
    memset(text, 'x', sizeof(text));
    memcpy(text + sizeof(err.msg) - 3, "\xe2\x82\xac", 3); /* cut after its second byte */
    text[sizeof(text) - 1] = '\0';
    err_fill(&err, ERR_INTERNAL, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    assert_string_equal(err.msg + sizeof(err.msg) - 4, "x??");
}

static void clock_text_both_ways(void **state)
{
    (void)state;
    char text[CLOCK_TEXT_MAX];
    int64_t s;
    uint32_t ns;
    clock_rfc3339_parts(1767225600, 123000000, text);
    assert_string_equal(text, "2026-01-01T00:00:00.123Z");
    clock_rfc3339_parts(0, 0, text);
    assert_string_equal(text, "1970-01-01T00:00:00Z");
    clock_rfc3339(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999999Z");
    assert_true(clock_parse_rfc3339(STR("2026-01-01T01:30:00.5+01:30"), &s, &ns));
    assert_int_equal(s, 1767225600);
    assert_int_equal(ns, 500000000);
    const char *bad[] = { "",
                          "2026-01-01",
                          "2026-02-30T00:00:00Z",
                          "2026-13-01T00:00:00Z",
                          "2026-01-01T24:00:00Z",
                          "2026-01-01T00:00:00",
                          "2026-01-01T00:00:00.Z",
                          "2026-01-01T00:00:00.1234567890Z",
                          "2026-01-01T00:00:00Zx",
                          "2026-01-01T00:00:00+25:00" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(clock_parse_rfc3339(str_of(bad[i]), &s, &ns));
}

static void file_replace_is_whole_and_leaves_nothing(void **state)
{
    (void)state;
    char dir[] = "/tmp/sandpit-test-XXXXXX", path[64];
    struct err err;
    struct buf b = { 0 };
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(file_replace(path, "one", 3, 0600, &err), 0);
    assert_int_equal(file_replace(path, "two", 3, 0640, &err), 0);
    assert_int_equal(file_read(path, 100, &b, &err), 0);
    assert_str(buf_str(&b), "two");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    buf_clear(&b);
    assert_int_equal(file_read(path, 2, &b, &err), -EFBIG);
    buf_deinit(&b);
    assert_int_equal(file_remove_tree(dir, &err), 0);
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(file_remove_tree(dir, &err), 0);
}

static void file_make_dirs_makes_the_missing_ones(void **state)
{
    (void)state;
    char dir[] = "/tmp/sandpit-test-XXXXXX", path[64];
    struct err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/a/b/c", dir);
    assert_int_equal(file_make_dirs(path, 0700, &err), 0);
    assert_int_equal(access(path, X_OK), 0);
    assert_int_equal(file_make_dirs(path, 0700, &err), 0);
    assert_int_equal(file_remove_tree(dir, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_split_walks_every_part),
        cmocka_unit_test(str_to_u64_is_strict),
        cmocka_unit_test(str_eq_secret_compares),
        cmocka_unit_test(err_codes_have_names_and_statuses),
        cmocka_unit_test(err_messages_are_utf8),
        cmocka_unit_test(clock_text_both_ways),
        cmocka_unit_test(file_replace_is_whole_and_leaves_nothing),
        cmocka_unit_test(file_make_dirs_makes_the_missing_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
