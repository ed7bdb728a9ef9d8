#include "envd/boot/initramfs.h"
#include "tests/support/test.h"

static const char *device(const char *cmdline)
{
    static char out[BOOT_DEVICE_MAX];
    return boot_root_device(str_of(cmdline), out) ? out : NULL;
}

static void test_root_device_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(device(""), "/dev/vda");
    assert_string_equal(device("quiet panic=1\n"), "/dev/vda");
    assert_string_equal(device("root=/dev/vdb rw\n"), "/dev/vdb");
    assert_string_equal(device("quiet root=/dev/sda1\n"), "/dev/sda1");
    assert_string_equal(device("root=/dev/vda root=/dev/vdc"), "/dev/vdc");
    assert_string_equal(device("xroot=/dev/vdb rootflags=x"), "/dev/vda");
}

static void test_root_device_must_be_one(void **state)
{
    (void)state;
    static const char *const bad[] = { "root=",
                                       "root=/dev/",
                                       "root=vda",
                                       "root=LABEL=x",
                                       "root=/dev/../etc/passwd",
                                       "root=/dev/mapper/x",
                                       "root=/dev/vda;reboot" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (device(bad[i]))
            fail_msg("'%s' gave %s", bad[i], device(bad[i]));
    char long_name[2 * BOOT_DEVICE_MAX] = "root=/dev/";
    memset(long_name + 10, 'a', sizeof(long_name) - 11);
    assert_null(device(long_name));
}

static void test_modules_come_in_order(void **state)
{
    (void)state;
    struct str rest = STR("/modules/a.ko\n\n  /modules/b.ko \n/modules/c.ko");
    assert_str(boot_next_module(&rest), "/modules/a.ko");
    assert_str(boot_next_module(&rest), "/modules/b.ko");
    assert_str(boot_next_module(&rest), "/modules/c.ko");
    assert_str(boot_next_module(&rest), "");
    assert_str(boot_next_module(&rest), "");
    rest = STR("\n\n");
    assert_str(boot_next_module(&rest), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root_device_of_the_command_line),
        cmocka_unit_test(test_root_device_must_be_one),
        cmocka_unit_test(test_modules_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
