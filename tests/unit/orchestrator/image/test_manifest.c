#include "common/base/cleanup.h"
#include "orchestrator/image/image.h"
#include "orchestrator/vmm/vmm.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/stat.h>

#define DIGEST "b2b9d602a316b2dbd4870911aa07d40bf0b3f59c4d0147c7bc7e18c049a01fab"

static const char good[] =
    "{\"format\":2,\"build_id\":\"b1\",\"name\":\"base\",\"key\":\"k\",\"created\":\"t\","
    "\"envd_version\":\"0.6.13\",\"source\":\"s\",\"kernel_version\":\"6.1\",\"cmdline\":\"quiet\","
    "\"disk_mb\":4096,\"vcpus\":1,\"memory_mb\":512,\"files\":{\"kernel\":{\"size\":6,\"sha256\":"
    "\"" DIGEST "\"},"
    "\"initramfs\":{\"size\":9,\"sha256\":\"" DIGEST "\"},"
    "\"rootfs.ext4\":{\"size\":4,\"sha256\":\"" DIGEST "\"}}}";

static int parse(const char *text, struct err *err)
{
    struct image_manifest m;
    return image_manifest_parse(text, strlen(text), &m, err);
}

/* The good text with one part replaced. */
static void assert_refused(const char *part, const char *by, const char *names)
{
    struct err err = { 0 };
    char text[sizeof(good) + 512];
    const char *at = strstr(good, part);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, by, at + strlen(part));
    assert_int_equal(parse(text, &err), -EINVAL);
    if (!strstr(err.msg, names))
        fail_msg("'%s' does not name '%s'", err.msg, names);
}

static void test_parse_takes_every_field(void **state)
{
    (void)state;
    struct image_manifest m;
    assert_int_equal(image_manifest_parse(good, strlen(good), &m, NULL), 0);
    assert_string_equal(m.build_id, "b1");
    assert_string_equal(m.cmdline, "quiet");
    assert_string_equal(m.envd_version, "0.6.13");
    assert_int_equal(m.disk_mb, 4096);
    assert_int_equal(m.vcpus, 1);
    assert_int_equal(m.memory_mb, 512);
    assert_int_equal(m.initramfs.size, 9);
    assert_string_equal(m.rootfs.sha256, DIGEST);
}

/* Debian's kernel is not named: builds of before there was another do not either. */
static void test_kernel_is_written_when_it_is_another(void **state)
{
    (void)state;
    struct image_manifest m;
    struct tempdir d;
    struct err err = { 0 };
    enum image_kernel kernel;
    tempdir_init(&d);
    assert_int_equal(image_manifest_parse(good, strlen(good), &m, NULL), 0);
    assert_int_equal(m.kernel_kind, IMAGE_KERNEL_DEBIAN);
    assert_int_equal(image_board(&m), VMM_BOARD_PC);
    assert_int_equal(image_manifest_write(d.path, &m, &err), 0);
    AUTO_FREE char *debian = tempdir_read(&d, IMAGE_FILE_MANIFEST);
    assert_null(strstr(debian, "\"kernel\": \""));

    m.kernel_kind = IMAGE_KERNEL_MICRO;
    assert_int_equal(image_board(&m), VMM_BOARD_MICRO);
    assert_int_equal(image_manifest_write(d.path, &m, &err), 0);
    AUTO_FREE char *micro = tempdir_read(&d, IMAGE_FILE_MANIFEST);
    assert_non_null(strstr(micro, "\"kernel\": \"micro\""));
    assert_int_equal(image_manifest_parse(micro, strlen(micro), &m, &err), 0);
    assert_int_equal(m.kernel_kind, IMAGE_KERNEL_MICRO);
    tempdir_deinit(&d);

    assert_refused("\"disk_mb\":4096", "\"disk_mb\":4096,\"kernel\":\"other\"", "kernel");
    assert_refused("\"disk_mb\":4096", "\"disk_mb\":4096,\"kernel\":1", "kernel");
    assert_false(image_kernel_parse(STR("Micro"), &kernel));
    assert_false(image_kernel_parse(STR(""), &kernel));
    assert_true(image_kernel_parse(STR("debian"), &kernel) && kernel == IMAGE_KERNEL_DEBIAN);
}

static void test_parse_is_strict(void **state)
{
    (void)state;
    char long_name[200];
    assert_refused("\"format\":2", "\"format\":1", "format");
    assert_refused("\"format\":2", "\"format\":\"2\"", "format");
    assert_refused("\"name\":\"base\"", "\"name\":3", "name");
    assert_refused("\"name\":\"base\",", "", "missing");
    assert_refused("\"name\":\"base\"", "\"name\":\"base\",\"more\":1", "unknown");
    assert_refused("\"name\":\"base\"", "\"name\":\"a\\u0000b\"", "");
    assert_refused("\"disk_mb\":4096", "\"disk_mb\":0", "disk_mb");
    assert_refused("\"vcpus\":1", "\"vcpus\":\"1\"", "vcpus");
    assert_refused("\"disk_mb\":4096", "\"disk_mb\":-1", "disk_mb");
    assert_refused("\"size\":9", "\"size\":9.5", "size");
    assert_refused("\"size\":9,", "\"size\":9,\"size\":9,", "");
    assert_refused("\"initramfs\":{\"size\":9", "\"initrd\":{\"size\":9", "initramfs");
    assert_refused(DIGEST, "b2b9", "kernel");
    assert_refused("\"kernel\":{", "\"kernel\":{\"x\":1,", "kernel");
    snprintf(long_name, sizeof(long_name), "\"name\":\"%0150d\"", 0);
    assert_refused("\"name\":\"base\"", long_name, "name");
}

static void test_parse_refuses_what_is_no_object(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(parse("", &err), -EINVAL);
    assert_int_equal(parse("[]", &err), -EINVAL);
    assert_int_equal(parse("{}", &err), -EINVAL);
    for (size_t n = 0; n + 1 < strlen(good); n++) {
        struct image_manifest m;
        assert_int_equal(image_manifest_parse(good, n, &m, &err), -EINVAL);
    }
}

static void test_write_then_load(void **state)
{
    (void)state;
    struct image_manifest m, back;
    struct tempdir d;
    struct err err = { 0 };
    struct stat st;
    tempdir_init(&d);
    assert_int_equal(image_manifest_parse(good, strlen(good), &m, &err), 0);
    snprintf(m.name, sizeof(m.name), "with \"quotes\" and \xc3\xa4");
    tempdir_write(&d, IMAGE_FILE_KERNEL, "123456");
    tempdir_write(&d, IMAGE_FILE_INITRAMFS, "123456789");
    tempdir_write(&d, IMAGE_FILE_ROOTFS, "1234");
    assert_int_equal(image_manifest_write(d.path, &m, &err), 0);
    assert_int_equal(stat(tempdir_path(&d, "manifest.json"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0444);
    assert_int_equal(image_manifest_load(d.path, &back, &err), 0);
    assert_memory_equal(&m, &back, sizeof(m));

    struct vmm_template boot;
    char rootfs[PATH_MAX];
    image_boot_files(d.path, &back, &boot, rootfs);
    assert_string_equal(boot.kernel, tempdir_path(&d, "kernel"));
    assert_string_equal(rootfs, tempdir_path(&d, "rootfs.ext4"));
    assert_string_equal(boot.cmdline, "quiet");
    tempdir_deinit(&d);
}

static void test_load_refuses_a_file_that_is_cut(void **state)
{
    (void)state;
    struct image_manifest m;
    struct tempdir d;
    struct err err = { 0 };
    tempdir_init(&d);
    tempdir_write(&d, IMAGE_FILE_MANIFEST, good);
    tempdir_write(&d, IMAGE_FILE_KERNEL, "123456");
    tempdir_write(&d, IMAGE_FILE_INITRAMFS, "123456789");
    assert_int_equal(image_manifest_load(d.path, &m, &err), -ENOENT);
    tempdir_write(&d, IMAGE_FILE_ROOTFS, "123");
    assert_int_equal(image_manifest_load(d.path, &m, &err), -EIO);
    assert_non_null(strstr(err.msg, "rootfs.ext4"));
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_takes_every_field),
        cmocka_unit_test(test_kernel_is_written_when_it_is_another),
        cmocka_unit_test(test_parse_is_strict),
        cmocka_unit_test(test_parse_refuses_what_is_no_object),
        cmocka_unit_test(test_write_then_load),
        cmocka_unit_test(test_load_refuses_a_file_that_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
