#include "envd/files/content_type.h"

#include "tests/support/test.h"

static void test_by_name(void **state)
{
    (void)state;
    assert_string_equal(content_type_by_name("/a/b.txt"), "text/plain; charset=utf-8");
    assert_string_equal(content_type_by_name("/a/b.tar.GZ"), "application/gzip");
    assert_string_equal(content_type_by_name(".html"), "text/html; charset=utf-8");
    assert_null(content_type_by_name("/a.txt/b"));
    assert_null(content_type_by_name("/a/b.unknown"));
    assert_null(content_type_by_name("/a/b."));
}

static void test_sniff(void **state)
{
    (void)state;
    assert_string_equal(content_type_sniff(STR("")), "text/plain; charset=utf-8");
    assert_string_equal(content_type_sniff(STR("hello\n\x1b[0m")), "text/plain; charset=utf-8");
    assert_string_equal(content_type_sniff(STR("a\0b")), "application/octet-stream");
    assert_string_equal(content_type_sniff(STR("\x89PNG\r\n\x1a\n")), "image/png");
    assert_string_equal(content_type_sniff(STR("  <!doctype html>")), "text/html; charset=utf-8");
    assert_string_equal(content_type_sniff(STR("<atom>")), "text/plain; charset=utf-8");
    assert_string_equal(content_type_sniff(STR("\n<?xml version=\"1.0\"?>")),
                        "text/xml; charset=utf-8");
    assert_string_equal(content_type_sniff(STR("RIFF1234WEBPVP8 ")), "image/webp");
    assert_string_equal(content_type_sniff(STR("\x1f\x8b\x08")), "application/x-gzip");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_by_name),
                                        cmocka_unit_test(test_sniff) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
