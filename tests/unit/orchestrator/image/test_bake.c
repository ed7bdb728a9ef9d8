#include "common/base/cleanup.h"
#include "orchestrator/image/bake.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct stat stat_of(const struct tempdir *d, const char *name)
{
    struct stat st;
    if (lstat(tempdir_path(d, name), &st) < 0)
        fail_msg("%s is missing", name);
    return st;
}

static void assert_text(const struct tempdir *d, const char *name, const char *expected)
{
    AUTO_FREE char *text = tempdir_read(d, name);
    if (!text)
        fail_msg("%s is missing", name);
    assert_string_equal(text, expected);
}

static struct bake make(const struct tempdir *d, bool own)
{
    return (struct bake){
        .tree = d->path, .name = "base", .build_id = "b-1", .envd = STR("the agent"), .own = own
    };
}

static void test_own_tree_becomes_a_guest(void **state)
{
    (void)state;
    struct tempdir d;
    tempdir_init(&d);
    tempdir_write(&d, "bin/sh", "");
    tempdir_write(&d, "bin/bash", "GNU");
    tempdir_write(&d, "etc/hostname", "build-machine\n");
    tempdir_write(&d, "etc/resolv.conf", "nameserver 10.0.0.1\n");
    tempdir_write(&d, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
    tempdir_write(&d, "etc/group", "root:x:0:\n");
    tempdir_write(&d, "etc/shadow", "root:*:1:0:99999:7:::\n");
    tempdir_mkdir(&d, "etc/default");
    tempdir_mkdir(&d, "etc/profile.d");
    tempdir_mkdir(&d, "etc/sudoers.d");
    tempdir_write(&d, "etc/skel/.bashrc", "# rc\n");
    assert_int_equal(chmod(tempdir_path(&d, "etc/shadow"), 0640), 0);
    struct bake b = make(&d, true);
    struct err err = { 0 };
    if (bake_tree(&b, &err) < 0)
        fail_msg("%s", err.msg);

    assert_text(&d, "usr/bin/envd", "the agent");
    assert_int_equal(stat_of(&d, "usr/bin/envd").st_mode & 07777, 0755);
    assert_text(&d, "bin/bash", "GNU");
    assert_text(&d, "etc/hostname", "e2b.local\n"); /* not the machine's that built it */
    assert_text(&d, "etc/resolv.conf", "nameserver 8.8.8.8\n");
    assert_text(&d, "etc/sudoers.d/90-sandpit", "user ALL=(ALL:ALL) NOPASSWD:ALL\n");
    assert_int_equal(stat_of(&d, "etc/sudoers.d/90-sandpit").st_mode & 07777, 0440);
    assert_int_equal(stat_of(&d, "etc/shadow").st_mode & 07777, 0640);
    assert_int_equal(stat_of(&d, "home/user").st_uid, 1000);
    assert_int_equal(stat_of(&d, "home/user").st_mode & 07777, 0755);
    assert_int_equal(stat_of(&d, "home/user/.bashrc").st_uid, 1000);
    assert_int_equal(stat_of(&d, "tmp").st_mode & 07777, 01777);
    assert_int_equal(stat_of(&d, "usr/local/bin").st_mode & 07777, 0777);
    assert_text(&d, "etc/sandpit/build", "TEMPLATE=base\nBUILD=b-1\n");
    tempdir_deinit(&d);
}

static void test_operators_tree_keeps_its_own(void **state)
{
    (void)state;
    struct tempdir d;
    tempdir_init(&d);
    tempdir_write(&d, "bin/sh", "");
    tempdir_write(&d, "etc/hostname", "theirs\n");
    tempdir_write(&d, "etc/passwd", "user:x:1234:1234::/srv/user:/bin/sh\n");
    tempdir_write(&d, "srv/user/file", "");
    struct bake b = make(&d, false);
    struct err err = { 0 };
    if (bake_tree(&b, &err) < 0)
        fail_msg("%s", err.msg);
    assert_text(&d, "etc/hostname", "theirs\n");
    assert_text(&d, "etc/passwd",
                "user:x:1234:1234::/srv/user:/bin/sh\n"
                "root:x:0:0:root:/root:/bin/bash\n");
    assert_int_equal(stat_of(&d, "srv/user").st_uid, 0);
    assert_false(tempdir_exists(&d, "home/user"));
    assert_false(tempdir_exists(&d, "etc/shadow"));
    assert_false(tempdir_exists(&d, "usr/local"));
    /* Clients run commands by /bin/bash. */
    assert_text(&d, "bin/bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n");
    assert_int_equal(stat_of(&d, "bin/bash").st_mode & 07777, 0755);
    tempdir_deinit(&d);
}

static void test_a_tree_without_a_shell_is_refused(void **state)
{
    (void)state;
    struct tempdir d;
    struct err err;
    tempdir_init(&d);
    struct bake b = make(&d, false);
    assert_int_equal(bake_tree(&b, &err), -ENOEXEC);
    assert_non_null(strstr(err.msg, "/bin/sh"));
    b.tree = tempdir_path(&d, "none");
    assert_int_equal(bake_tree(&b, &err), -ENOENT);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_tree_becomes_a_guest),
        cmocka_unit_test(test_operators_tree_keeps_its_own),
        cmocka_unit_test(test_a_tree_without_a_shell_is_refused),
    };
    if (geteuid() != 0) {
        print_message("needs root: files of a tree get other owners\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
