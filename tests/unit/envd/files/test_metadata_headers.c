#include "envd/files/metadata_headers.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

static void test_fields_become_entries(void **state)
{
    (void)state;
    struct http_field fields[] = { { STR("content-type"), STR("x") },
                                   { STR("x-metadata-a"), STR("1 2") },
                                   { STR("x-metadata-b-c"), STR("") },
                                   { STR("x-metadata-a"), STR("second") } };
    struct http_head head = { .fields = fields, .nfields = ARRAY_LEN(fields) };
    struct arena arena = { 0 };
    struct metadata *m;
    size_t n;
    struct err err = { 0 };
    assert_int_equal(metadata_headers(&head, &arena, &m, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_str(m[0].key, "a");
    assert_str(m[0].value, "1 2");
    assert_str(m[1].key, "b-c");
    assert_str(m[1].value, "");
    arena_deinit(&arena);
}

static int try_one(const char *name, const char *value, struct err *err)
{
    struct http_field field = { str_of(name), str_of(value) };
    struct http_head head = { .fields = &field, .nfields = 1 };
    struct arena arena = { 0 };
    struct metadata *m;
    size_t n;
    int rc = metadata_headers(&head, &arena, &m, &n, err);
    arena_deinit(&arena);
    return rc;
}

static void test_limits(void **state)
{
    (void)state;
    struct err err = { 0 };
    char name[300] = "x-metadata-";
    memset(name + 11, 'k', METADATA_KEY_MAX);
    assert_int_equal(try_one(name, "v", &err), 0);
    name[11 + METADATA_KEY_MAX] = 'k';
    assert_true(try_one(name, "v", &err) < 0);
    assert_string_equal(err.msg, "a metadata key has 1 to 246 characters, not 247");
    assert_true(try_one("x-metadata-", "v", &err) < 0);
    assert_true(try_one("x-metadata-a", "\xc3\xa4", &err) < 0);
    assert_string_equal(err.msg, "metadata may only have printable ASCII characters");
    assert_true(try_one("x-metadata-a", "\t", &err) < 0);

    char value[METADATA_TOTAL_MAX] = "";
    memset(value, 'v', METADATA_TOTAL_MAX - 10); /* "user.e2b." and the key are 10 */
    assert_int_equal(try_one("x-metadata-a", value, &err), 0);
    assert_true(try_one("x-metadata-ab", value, &err) < 0);
    assert_string_equal(err.msg, "metadata is larger than 4096 bytes in all");
    assert_int_equal(err.code, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_fields_become_entries),
                                        cmocka_unit_test(test_limits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
