#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "envd/core/path.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static const struct user someone = { .name = "someone", .home = "/home/someone" };

static void resolves(void **state)
{
    (void)state;
    static const struct {
        const char *path, *workdir, *out;
    } cases[] = {
        { "", "", "/home/someone" },
        { "", "/work", "/work" },
        { "~", "/work", "/home/someone" },
        { "~/x", "/work", "/home/someone/x" },
        { "a/b", "/work", "/home/someone/a/b" },
        { "/a/../b", "", "/a/../b" },
        { "./a//b/", "", "/home/someone/a/b" },
        { "../../../..", "", "/" },
        { "~/../x/.", "", "/home/x" },
        { "../x", "", "/home/x" },
        { "./~", "", "/home/someone/~" },
    };
    char out[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(path_resolve(&someone, str_of(cases[i].path), cases[i].workdir, out, NULL),
                         0);
        assert_string_equal(out, cases[i].out);
    }
}

static void refuses(void **state)
{
    (void)state;
    char out[PATH_MAX], longest[PATH_MAX + 10];
    struct err err;
    assert_int_equal(path_resolve(&someone, STR("~other/x"), "", out, &err), -EINVAL);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.msg, "cannot expand user-specific home dir");
    assert_int_equal(path_resolve(&someone, STR("/a\0b"), "", out, &err), -EINVAL);
    memset(longest, 'x', sizeof(longest));
    struct str s = { longest, sizeof(longest) };
    assert_int_equal(path_resolve(&someone, s, "", out, &err), -ENAMETOOLONG);
    s.n = PATH_MAX - 5; /* fits alone, but not below the home directory */
    assert_int_equal(path_resolve(&someone, s, "", out, &err), -ENAMETOOLONG);
}

static void makes_missing_parents_for_the_user(void **state)
{
    (void)state;
    char dir[] = "/tmp/sandpit-path-XXXXXX", path[128];
    struct user u = { .name = "x", .uid = getuid(), .gid = getgid() };
    struct stat st;
    struct err err;
    assert_non_null(mkdtemp(dir));
    if (getuid() == 0)
        u.uid = u.gid = 65534;
    snprintf(path, sizeof(path), "%s/a//b/file", dir);
    assert_int_equal(path_make_parents(path, &u, &err), 0);
    snprintf(path, sizeof(path), "%s/a/b", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(st.st_uid, u.uid);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_uid, getuid());

    snprintf(path, sizeof(path), "%s/file", dir);
    assert_int_equal(file_replace(path, "", 0, 0644, NULL), 0);
    snprintf(path, sizeof(path), "%s/file/below/x", dir);
    assert_int_equal(path_make_parents(path, &u, &err), -ENOTDIR);
    assert_int_equal(file_remove_tree(dir, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolves),
        cmocka_unit_test(refuses),
        cmocka_unit_test(makes_missing_parents_for_the_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
