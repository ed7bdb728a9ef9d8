#include "common/base/cleanup.h"
#include "orchestrator/image/tree.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct tempdir dir; /* root/ is the tree, host/ what must stay as it is */
    struct tree tree;
};

static struct tree_owner mine(mode_t mode)
{
    return (struct tree_owner){ geteuid(), getegid(), mode };
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    tempdir_init(&f->dir);
    tempdir_mkdir(&f->dir, "root/etc");
    tempdir_mkdir(&f->dir, "root/real");
    tempdir_write(&f->dir, "host/secret", "untouched");
    assert_int_equal(tree_open(&f->tree, tempdir_path(&f->dir, "root"), NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tree_close(&f->tree);
    tempdir_deinit(&f->dir);
    free(f);
    return 0;
}

static void link_in(struct fixture *f, const char *to, const char *name)
{
    assert_int_equal(symlink(to, tempdir_path(&f->dir, name)), 0);
}

static void assert_text(struct fixture *f, const char *name, const char *expected)
{
    AUTO_FREE char *text = tempdir_read(&f->dir, name);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void test_write_replaces_with_mode(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    tempdir_write(&f->dir, "root/etc/hosts", "old");
    assert_int_equal(tree_write(&f->tree, "/etc/hosts", STR("new"), mine(0440), NULL), 0);
    assert_text(f, "root/etc/hosts", "new");
    assert_int_equal(stat(tempdir_path(&f->dir, "root/etc/hosts"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0440);
    assert_int_equal(tempdir_count(&f->dir, "root/etc"), 1);
}

static void test_links_lead_nowhere_out_of_the_tree(void **state)
{
    struct fixture *f = *state;
    struct buf text = { 0 };
    char out[PATH_MAX];
    /* A folder that points to the host, absolute and relative: inside it means the tree's own. */
    snprintf(out, sizeof(out), "%s", tempdir_path(&f->dir, "host"));
    link_in(f, out, "root/absolute");
    link_in(f, "../../host", "root/relative");
    assert_int_equal(tree_write(&f->tree, "/absolute/secret", STR("x"), mine(0644), NULL), -ENOENT);
    assert_int_equal(tree_write(&f->tree, "/relative/secret", STR("x"), mine(0644), NULL), -ENOENT);
    assert_int_equal(tree_read(&f->tree, "/relative/secret", &text, NULL), -ENOENT);
    assert_int_equal(tree_write(&f->tree, "/../host/secret", STR("x"), mine(0644), NULL), -ENOENT);
    assert_text(f, "host/secret", "untouched");
    /* What is a link inside the tree works as in the guest. */
    link_in(f, "/real", "root/inside");
    assert_int_equal(tree_write(&f->tree, "/inside/file", STR("y"), mine(0644), NULL), 0);
    assert_text(f, "root/real/file", "y");
    buf_deinit(&text);
}

static void test_a_link_as_last_part_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    link_in(f, tempdir_path(&f->dir, "host/secret"), "root/etc/resolv.conf");
    assert_false(tree_exists(&f->tree, "/etc/resolv.conf"));
    assert_int_equal(tree_write(&f->tree, "/etc/resolv.conf", STR("x"), mine(0644), NULL), 0);
    assert_int_equal(lstat(tempdir_path(&f->dir, "root/etc/resolv.conf"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_text(f, "host/secret", "untouched");
}

static void test_make_dir_keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    bool made;
    assert_int_equal(tree_make_dir(&f->tree, "/tmp", mine(01777), &made, NULL), 0);
    assert_true(made);
    assert_int_equal(stat(tempdir_path(&f->dir, "root/tmp"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 01777);
    assert_int_equal(tree_make_dir(&f->tree, "/tmp", mine(0700), &made, NULL), 0);
    assert_false(made);
    assert_int_equal(stat(tempdir_path(&f->dir, "root/tmp"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 01777);
    link_in(f, "usr/bin", "root/bin"); /* dangling */
    assert_int_equal(tree_make_dir(&f->tree, "/bin", mine(0755), &made, NULL), -EEXIST);
}

static void test_copy_files_takes_plain_files_only(void **state)
{
    struct fixture *f = *state;
    tempdir_write(&f->dir, "root/etc/skel/.profile", "p");
    tempdir_write(&f->dir, "root/etc/skel/.bashrc", "b");
    tempdir_mkdir(&f->dir, "root/etc/skel/folder");
    link_in(f, "../../../host/secret", "root/etc/skel/link");
    tempdir_write(&f->dir, "root/home/.bashrc", "own");
    assert_int_equal(tree_copy_files(&f->tree, "/etc/skel", "/home", mine(0644), NULL), 0);
    assert_int_equal(tempdir_count(&f->dir, "root/home"), 2);
    assert_text(f, "root/home/.profile", "p");
    assert_text(f, "root/home/.bashrc", "own");
    assert_int_equal(tree_copy_files(&f->tree, "/none", "/home", mine(0644), NULL), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_write_replaces_with_mode),          CASE(test_links_lead_nowhere_out_of_the_tree),
        CASE(test_a_link_as_last_part_is_replaced),   CASE(test_make_dir_keeps_what_is_there),
        CASE(test_copy_files_takes_plain_files_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
