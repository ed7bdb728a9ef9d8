#include "envd/filesystem/list.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tempdir dir;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    tempdir_init(&dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tempdir_deinit(&dir);
    arena_deinit(&arena);
    return 0;
}

/* List `name` and compare the paths, relative to the temporary directory, joined by blanks. */
static void check(const char *name, uint32_t depth, size_t budget, const char *want)
{
    struct list_walk w;
    struct err err = { 0 };
    struct buf text = { 0 };
    int rc = list_walk_init(&w, &arena, tempdir_path(&dir, name), depth, 1000, &err);
    assert_int_equal(rc, 0);
    char before[PATH_MAX];
    char after[PATH_MAX];
    assert_non_null(getcwd(before, sizeof(before)));
    while ((rc = list_walk_step(&w, budget, &err)) > 0)
        ;
    assert_int_equal(rc, 0);
    assert_non_null(getcwd(after, sizeof(after)));
    assert_string_equal(after, before);
    for (size_t i = 0; i < w.n_entries; i++)
        buf_printf(&text, "%s%s", i ? " " : "", w.entries[i]->path + strlen(dir.path) + 1);
    list_walk_deinit(&w);
    buf_putc(&text, '\0');
    assert_string_equal((const char *)buf_head(&text), want);
    buf_deinit(&text);
}

static void make_tree(void)
{
    tempdir_write(&dir, "t/b/y", "");
    tempdir_write(&dir, "t/b/x/deep/f", "");
    tempdir_write(&dir, "t/a", "");
    tempdir_write(&dir, "t/b.txt", "");
    tempdir_write(&dir, "t/c", "");
    tempdir_write(&dir, "t/.hidden", "");
    tempdir_mkdir(&dir, "t/empty");
}

static void test_order_and_depth(void **state)
{
    (void)state;
    make_tree();
    check("t", 0, 100, "t/.hidden t/a t/b t/b.txt t/c t/empty");
    check("t", 1, 100, "t/.hidden t/a t/b t/b.txt t/c t/empty");
    check("t", 2, 100, "t/.hidden t/a t/b t/b/x t/b/y t/b.txt t/c t/empty");
    check("t", 4294967295U, 100,
          "t/.hidden t/a t/b t/b/x t/b/x/deep t/b/x/deep/f t/b/y t/b.txt t/c t/empty");
    check("t/empty", 5, 100, "");
}

static void test_pieces_give_the_same(void **state)
{
    (void)state;
    make_tree();
    for (size_t budget = 1; budget < 12; budget++)
        check("t", 3, budget, "t/.hidden t/a t/b t/b/x t/b/x/deep t/b/y t/b.txt t/c t/empty");
}

static void test_the_requested_path_is_kept(void **state)
{
    (void)state;
    make_tree();
    assert_int_equal(symlink("t/b", tempdir_path(&dir, "link")), 0);
    check("link", 1, 100, "link/x link/y");
    check("t/b///", 1, 100, "t/b/x t/b/y");
    check("t/../t/b", 1, 100, "t/../t/b/x t/../t/b/y");
}

static void test_the_root_directory(void **state)
{
    (void)state;
    struct list_walk w;
    struct err err = { 0 };
    bool found = false;
    assert_int_equal(list_walk_init(&w, &arena, "/", 1, 1000, &err), 0);
    assert_int_equal(list_walk_step(&w, 100000, &err), 0);
    for (size_t i = 0; i < w.n_entries; i++)
        found = found || strcmp(w.entries[i]->path, "/tmp") == 0;
    assert_true(found);
    list_walk_deinit(&w);
}

static void test_links_inside_are_not_followed(void **state)
{
    (void)state;
    tempdir_write(&dir, "out/secret", "");
    tempdir_mkdir(&dir, "t");
    assert_int_equal(symlink("../out", tempdir_path(&dir, "t/dir")), 0);
    assert_int_equal(symlink("..", tempdir_path(&dir, "t/up")), 0);
    check("t", 10, 100, "t/dir t/up");
}

static void check_error(const char *path, int rc, enum err_code code)
{
    struct list_walk w;
    struct err err = { 0 };
    assert_int_equal(list_walk_init(&w, &arena, path, 1, 1000, &err), rc);
    assert_int_equal(err.code, code);
    list_walk_deinit(&w);
}

static void test_errors(void **state)
{
    (void)state;
    tempdir_write(&dir, "file", "");
    assert_int_equal(symlink("loop", tempdir_path(&dir, "loop")), 0);
    check_error(tempdir_path(&dir, "missing"), -ENOENT, ERR_NOT_FOUND);
    check_error(tempdir_path(&dir, "file"), -ENOTDIR, ERR_INVALID);
    check_error(tempdir_path(&dir, "loop"), -ELOOP, ERR_PRECONDITION);
}

/* Entries go away, and one becomes a link to elsewhere, between reading the names and the files. */
static void test_what_vanishes_is_left_out(void **state)
{
    (void)state;
    struct list_walk w;
    struct err err = { 0 };
    make_tree();
    tempdir_write(&dir, "out/secret", "");
    assert_int_equal(list_walk_init(&w, &arena, tempdir_path(&dir, "t"), 9, 1000, &err), 0);
    assert_int_equal(list_walk_step(&w, 3, &err), 1); /* .hidden, a, b; b's names were read */
    assert_int_equal(unlink(tempdir_path(&dir, "t/b/y")), 0);
    assert_int_equal(unlink(tempdir_path(&dir, "t/c")), 0);
    assert_int_equal(unlink(tempdir_path(&dir, "t/b/x/deep/f")), 0);
    assert_int_equal(rmdir(tempdir_path(&dir, "t/b/x/deep")), 0);
    assert_int_equal(rmdir(tempdir_path(&dir, "t/b/x")), 0);
    assert_int_equal(symlink("../../out", tempdir_path(&dir, "t/b/x")), 0);
    assert_int_equal(list_walk_step(&w, 100, &err), 0);
    assert_int_equal(w.n_entries, 6);
    assert_string_equal(w.entries[3]->name, "x");
    assert_string_equal(w.entries[4]->name, "b.txt");
    assert_string_equal(w.entries[5]->name, "empty");
    list_walk_deinit(&w);
}

static void test_a_walk_may_be_given_up(void **state)
{
    (void)state;
    struct list_walk w;
    struct err err = { 0 };
    make_tree();
    assert_int_equal(list_walk_init(&w, &arena, tempdir_path(&dir, "t"), 9, 1000, &err), 0);
    assert_int_equal(list_walk_step(&w, 5, &err), 1);
    list_walk_deinit(&w);
}

static int list_at_most(const char *name, size_t max, struct err *err)
{
    struct list_walk w;
    int rc = list_walk_init(&w, &arena, tempdir_path(&dir, name), 9, max, err);
    while (rc == 0 && (rc = list_walk_step(&w, 2, err)) > 0)
        rc = 0;
    list_walk_deinit(&w);
    return rc;
}

static void test_too_many_entries_are_refused(void **state)
{
    (void)state;
    struct err err = { 0 };
    make_tree();
    assert_int_equal(list_at_most("t", 10, &err), 0);
    for (size_t max = 0; max < 10; max++) {
        assert_int_equal(list_at_most("t", max, &err), -E2BIG);
        assert_int_equal(err.code, ERR_EXHAUSTED);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_order_and_depth),
        CASE(test_pieces_give_the_same),
        CASE(test_the_requested_path_is_kept),
        CASE(test_the_root_directory),
        CASE(test_links_inside_are_not_followed),
        CASE(test_errors),
        CASE(test_what_vanishes_is_left_out),
        CASE(test_a_walk_may_be_given_up),
        CASE(test_too_many_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
