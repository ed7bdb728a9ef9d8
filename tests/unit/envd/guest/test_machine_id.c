#include "common/base/cleanup.h"
#include "envd/guest/machine_id.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ONE "0123456789abcdef0123456789abcdef"
#define TWO "fedcba9876543210fedcba9876543210"

static void expect(const struct tempdir *root, const char *name, const char *text)
{
    AUTO_FREE char *got = tempdir_read(root, name);
    assert_non_null(got);
    assert_string_equal(got, text);
}

static void test_ok_wants_32_lower_case_digits(void **state)
{
    (void)state;
    assert_true(machine_id_ok(ONE));
    assert_false(machine_id_ok(""));
    assert_false(machine_id_ok("0123456789abcdef0123456789abcde"));
    assert_false(machine_id_ok(ONE "0"));
    assert_false(machine_id_ok("0123456789ABCDEF0123456789abcdef"));
    assert_false(machine_id_ok("00000000000000000000000000000000"));
}

static void test_set_makes_and_replaces(void **state)
{
    (void)state;
    struct tempdir root;
    tempdir_init(&root);
    tempdir_mkdir(&root, "etc");
    assert_int_equal(machine_id_set(root.path, ONE, NULL), 0);
    expect(&root, "etc/machine-id", ONE "\n");

    tempdir_write(&root, "etc/machine-id", "uninitialized, and this is longer than an id is\n");
    tempdir_write(&root, "var/lib/dbus/machine-id", "old");
    assert_int_equal(machine_id_set(root.path, TWO, NULL), 0);
    expect(&root, "etc/machine-id", TWO "\n");
    expect(&root, "var/lib/dbus/machine-id", TWO "\n");

    /* As Debian has it: the other one is a link to the first. */
    const char *link = tempdir_path(&root, "var/lib/dbus/machine-id");
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("/nowhere/machine-id", link), 0);
    assert_int_equal(machine_id_set(root.path, ONE, NULL), 0);
    expect(&root, "etc/machine-id", ONE "\n");
    tempdir_deinit(&root);
}

static void test_set_says_what_failed(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(machine_id_set("/nonexistent", ONE, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "/nonexistent/etc/machine-id"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ok_wants_32_lower_case_digits),
        cmocka_unit_test(test_set_makes_and_replaces),
        cmocka_unit_test(test_set_says_what_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
