#include "orchestrator/image/apt.h"
#include "tests/support/test.h"

static void test_sources_are_debians_of_our_suite(void **state)
{
    (void)state;
    struct apt a = { 0 };
    apt_parse_sources(&a, STR("Debian http://a.example/debian/ bookworm main\n"
                              "Debian http://a.example/debian/ bookworm main\n"
                              "Debian http://a.example/debian/ bookworm contrib\n"
                              "Debian http://a.example/debian/ trixie main\n"
                              "Others http://b.example/ bookworm main\n"
                              "Debian http://a.example/security/ bookworm-security main\n"
                              "Debian http://a.example/debian/ bookworm-backports main\n"
                              "\nDebian\n"));
    assert_int_equal(a.nsources, 2);
    assert_string_equal(a.sources[0], "deb http://a.example/debian/ bookworm main");
    assert_string_equal(a.sources[1], "deb http://a.example/security/ bookworm-security main");
}

static void test_sources_are_bounded(void **state)
{
    (void)state;
    struct apt a = { 0 };
    struct buf text = { 0 };
    for (int i = 0; i < 100; i++)
        buf_printf(&text, "Debian http://a.example/%d bookworm main\n", i);
    buf_printf(&text, "Debian http://a.example/%01000d bookworm main\n", 0);
    apt_parse_sources(&a, buf_str(&text));
    assert_int_equal(a.nsources, APT_SOURCES_MAX);
    buf_deinit(&text);
}

static void test_dependency_is_the_first_package(void **state)
{
    (void)state;
    char name[APT_PACKAGE_MAX];
    assert_true(apt_parse_dependency(STR("Package: x\nPre-Depends: y\n"
                                         "Depends: linux-image-6.1.0-1 (= 6.1), z\n"),
                                     name));
    assert_string_equal(name, "linux-image-6.1.0-1");
    assert_true(apt_parse_dependency(STR("Depends: a:any"), name));
    assert_string_equal(name, "a");
    assert_false(apt_parse_dependency(STR("Package: x\n"), name));
    assert_false(apt_parse_dependency(STR("Depends: \n"), name));
    assert_false(apt_parse_dependency(STR("Depends: ../../etc/x\n"), name));
    assert_false(apt_parse_dependency(STR("Depends: -o=x\n"), name));
}

static void test_version_is_the_newest(void **state)
{
    (void)state;
    char version[APT_PACKAGE_MAX];
    assert_true(
        apt_parse_version(STR("Package: x\nVersion: 1:6.1~rc1-3+deb12u1\nVersion: 5\n"), version));
    assert_string_equal(version, "1:6.1~rc1-3+deb12u1");
    assert_false(apt_parse_version(STR("Package: x\n"), version));
    assert_false(apt_parse_version(STR("Version: \n"), version));
    assert_false(apt_parse_version(STR("Version: ../x\n"), version));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources_are_debians_of_our_suite),
        cmocka_unit_test(test_sources_are_bounded),
        cmocka_unit_test(test_version_is_the_newest),
        cmocka_unit_test(test_dependency_is_the_first_package),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
