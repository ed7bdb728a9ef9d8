#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "envd/guest/on_restore.h"
#include "tests/support/loop.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LONG_MS  60000
#define SHORT_MS 100

struct fixture {
    struct test_loop t;
    struct envd envd;
    uv_signal_t child;
    struct tempdir root;
    const char *dir;
    struct arena arena;
    unsigned done;
};

static void on_child(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct fixture *f = container_of(handle, struct fixture, child);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        on_restore_reaped(&f->envd, pid, status);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    test_loop_init(&f->t);
    f->envd = (struct envd){ .loop = &f->t.loop, .cgroup_user = -1, .cgroup_ptys = -1 };
    snprintf(f->envd.path_env, sizeof(f->envd.path_env), "/usr/bin:/bin");
    envd_set_env(&f->envd.internal_envs, STR("E2B_SANDBOX_ID"), "i1");
    uv_signal_init(&f->t.loop, &f->child);
    uv_signal_start(&f->child, on_child, SIGCHLD);
    tempdir_init(&f->root);
    tempdir_mkdir(&f->root, "on");
    f->dir = arena_dup(&f->arena, str_of(tempdir_path(&f->root, "on")));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    uv_close((uv_handle_t *)&f->child, NULL);
    test_loop_settle(&f->t);
    envd_clear_envs(&f->envd.internal_envs);
    tempdir_deinit(&f->root);
    arena_deinit(&f->arena);
    test_loop_deinit(&f->t);
    free(f);
    return 0;
}

static void on_done(void *user)
{
    struct fixture *f = user;
    f->done++;
}

/* A script that appends to the file `out`. */
static void put(struct fixture *f, const char *name, mode_t mode, const char *command)
{
    char path[64], text[PATH_MAX + 500];
    snprintf(path, sizeof(path), "on/%s", name);
    snprintf(text, sizeof(text), "#!/bin/sh\nout=%s\n%s\n", tempdir_path(&f->root, "out"), command);
    tempdir_write(&f->root, path, text);
    assert_int_equal(chmod(tempdir_path(&f->root, path), mode), 0);
}

static void expect_out(struct fixture *f, const char *text)
{
    AUTO_FREE char *got = tempdir_read(&f->root, "out");
    assert_string_equal(got ? got : "", text);
}

static bool start(struct fixture *f, unsigned deadline_ms)
{
    return on_restore_start(&f->envd, f->dir, deadline_ms, on_done, f);
}

static void test_nothing_to_run(void **state)
{
    struct fixture *f = *state;
    assert_false(on_restore_start(&f->envd, "/nonexistent", LONG_MS, on_done, f));
    assert_false(start(f, LONG_MS));
    put(f, "readme", 0644, "echo readme >> $out");
    put(f, ".hidden", 0755, "echo hidden >> $out");
    assert_false(start(f, LONG_MS));
    assert_null(f->envd.on_restore);
    test_loop_settle(&f->t);
    assert_int_equal(f->done, 0);
    expect_out(f, "");
}

/* What a rehearsal has found not to be there counts once. */
static void test_a_rehearsal_looks_for_the_next_one(void **state)
{
    struct fixture *f = *state;
    char dir[PATH_MAX];
    snprintf(dir, sizeof(dir), "%s", tempdir_path(&f->root, "later"));
    assert_false(on_restore_wanted(&f->envd, dir, false));
    assert_false(on_restore_wanted(&f->envd, dir, true));
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_false(on_restore_wanted(&f->envd, dir, false));
    assert_true(on_restore_wanted(&f->envd, dir, false));
    assert_true(on_restore_wanted(&f->envd, dir, true));
    assert_true(on_restore_wanted(&f->envd, dir, false));
    assert_int_equal(rmdir(dir), 0);
    assert_false(on_restore_wanted(&f->envd, dir, true));
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_true(on_restore_wanted(&f->envd, dir, true));
}

static void test_runs_by_name_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    put(f, "20-second", 0755, "echo second $E2B_SANDBOX_ID $(pwd) >> $out");
    put(f, "10-first", 0755, "sleep 0.1; echo first >> $out; exit 3");
    put(f, "30-gone", 0755, "kill -9 $$");
    put(f, "40-last", 0755, "echo last >> $out");
    assert_true(start(f, LONG_MS));
    assert_int_equal(f->done, 0);
    LOOP_UNTIL(&f->t, f->done);
    assert_int_equal(f->done, 1);
    assert_null(f->envd.on_restore);
    expect_out(f, "first\nsecond i1 /\nlast\n");
}

static void test_one_that_hangs_is_killed(void **state)
{
    struct fixture *f = *state;
    put(f, "1", 0755, "sleep 30");
    put(f, "2", 0755, "echo never >> $out");
    assert_true(start(f, SHORT_MS));
    LOOP_UNTIL(&f->t, f->done);
    assert_null(f->envd.on_restore);
    expect_out(f, "");
}

/* Whether a process has ended; it may be a zombie of whoever inherited it. */
static bool is_gone(const char *pid)
{
    char path[64];
    struct buf line = { 0 };
    snprintf(path, sizeof(path), "/proc/%.*s/cmdline", (int)strcspn(pid, "\n"), pid);
    bool gone = file_read(path, 4096, &line, NULL) < 0 || line.len == 0;
    buf_deinit(&line);
    return gone;
}

static void test_another_identity_ends_the_first_run(void **state)
{
    struct fixture *f = *state;
    put(f, "1", 0755,
        "test -e $out && { echo two > $out; exit; }\n"
        "sleep 30 & echo $! > $out.new; mv $out.new $out; wait");
    assert_true(start(f, LONG_MS));
    LOOP_UNTIL(&f->t, tempdir_exists(&f->root, "out"));
    AUTO_FREE char *pid = tempdir_read(&f->root, "out");
    assert_false(is_gone(pid));
    assert_true(start(f, LONG_MS));
    assert_int_equal(f->done, 1);
    LOOP_UNTIL(&f->t, f->done == 2);
    expect_out(f, "two\n");
    LOOP_UNTIL(&f->t, is_gone(pid));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_nothing_to_run),
        CASE(test_a_rehearsal_looks_for_the_next_one),
        CASE(test_runs_by_name_one_after_the_other),
        CASE(test_one_that_hangs_is_killed),
        CASE(test_another_identity_ends_the_first_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
