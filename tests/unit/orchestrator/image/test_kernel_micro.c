#include "orchestrator/image/kernel_micro.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool contains(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

/* What a guest cannot be without, and what clones must not have. */
static void test_configuration_is_built_in(void **state)
{
    (void)state;
    struct str config = kernel_micro_config();
    assert_true(contains(config, "\nCONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\n"));
    assert_true(contains(config, "\nCONFIG_PVH=y\n"));
    assert_true(contains(config, "\nCONFIG_VIRTIO_CONSOLE=y\n"));
    assert_true(contains(config, "\nCONFIG_EXT4_FS=y\n"));
    assert_false(contains(config, "CONFIG_VIRTIO_BALLOON=y"));
    assert_false(contains(config, "CONFIG_PAGE_REPORTING=y"));
    assert_int_equal(config.p[config.n - 1], '\n');
    assert_int_equal(config.p[config.n], '\0');
}

static void test_finished_configuration_must_have_each_line(void **state)
{
    (void)state;
    struct err err = { 0 };
    struct str fragment = STR("# Words\n\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\n");
    assert_int_equal(
        kernel_micro_check_config(fragment,
                                  STR("CONFIG_C=\"x\"\n# CONFIG_B is not set\nCONFIG_A=y\n"), &err),
        0);
    /* An option that depends on what is off is not named at all. */
    assert_int_equal(
        kernel_micro_check_config(fragment, STR("CONFIG_A=y\nCONFIG_BC=y\nCONFIG_C=\"x\""), &err),
        0);
    assert_int_equal(kernel_micro_check_config(fragment, STR("CONFIG_A=y\n"), &err), -EINVAL);
    assert_non_null(strstr(err.msg, "CONFIG_C=\"x\""));
    assert_int_equal(
        kernel_micro_check_config(fragment, STR("# CONFIG_A is not set\nCONFIG_C=\"x\"\n"), &err),
        -EINVAL);
    assert_non_null(strstr(err.msg, "CONFIG_A=y"));
    assert_int_equal(
        kernel_micro_check_config(fragment, STR("CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=\"x\"\n"), &err),
        -EINVAL);
    assert_non_null(strstr(err.msg, "CONFIG_B"));
    assert_int_equal(
        kernel_micro_check_config(fragment, STR("XCONFIG_A=y\nCONFIG_C=\"x\"\n"), &err), -EINVAL);
}

static void test_key_tells_compilers_apart(void **state)
{
    (void)state;
    char a[CACHE_KEY_SIZE], again[CACHE_KEY_SIZE], b[CACHE_KEY_SIZE];
    kernel_micro_key_of(STR("gcc 12.2.0"), a);
    kernel_micro_key_of(STR("gcc 12.2.0"), again);
    kernel_micro_key_of(STR("gcc 12.2.1"), b);
    assert_string_equal(a, again);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration_is_built_in),
        cmocka_unit_test(test_finished_configuration_must_have_each_line),
        cmocka_unit_test(test_key_tells_compilers_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
