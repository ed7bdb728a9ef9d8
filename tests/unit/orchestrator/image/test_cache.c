#include "common/base/cleanup.h"
#include "orchestrator/image/cache.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>

static void open_cache(struct cache *c, const struct tempdir *d)
{
    struct err err;
    setenv("XDG_CACHE_HOME", d->path, 1);
    assert_int_equal(cache_open(c, NULL, NULL, &err), 0);
}

static const char *key_of(const char *step, const char *name, const char *value)
{
    static char text[8][CACHE_KEY_SIZE];
    static unsigned turn;
    struct cache_key k;
    char *out = text[turn++ % 8];
    cache_key_init(&k, step);
    cache_key_add(&k, name, str_of(value));
    cache_key_text(&k, out);
    return out;
}

static void test_key_depends_on_every_part(void **state)
{
    (void)state;
    const char *first = key_of("kernel", "package", "linux");
    assert_int_equal(strlen(first), CACHE_KEY_SIZE - 1);
    assert_string_equal(first, key_of("kernel", "package", "linux"));
    assert_string_not_equal(first, key_of("rootfs", "package", "linux"));
    assert_string_not_equal(first, key_of("kernel", "packagel", "inux"));
    assert_string_not_equal(first, key_of("kernel", "package", "linux "));

    struct cache_key k;
    char one[CACHE_KEY_SIZE], two[CACHE_KEY_SIZE];
    cache_key_init(&k, "s");
    cache_key_add(&k, "a", STR("1"));
    cache_key_text(&k, one);
    cache_key_add(&k, "a", STR(""));
    cache_key_text(&k, two);
    assert_string_not_equal(one, two);
}

static void test_commit_makes_one_result_per_step(void **state)
{
    (void)state;
    struct tempdir d;
    struct cache c;
    char work[PATH_MAX], path[PATH_MAX];
    tempdir_init(&d);
    open_cache(&c, &d);
    assert_false(cache_has(&c, "kernel", "k1", path));
    assert_int_equal(cache_work_dir(&c, work, NULL), 0);
    assert_int_equal(cache_commit(&c, work, "kernel", "k1", NULL), 0);
    assert_true(cache_has(&c, "kernel", "k1", path));
    assert_int_equal(cache_work_dir(&c, work, NULL), 0);
    assert_int_equal(cache_commit(&c, work, "rootfs", "r1", NULL), 0);
    assert_int_equal(cache_work_dir(&c, work, NULL), 0);
    assert_int_equal(cache_commit(&c, work, "kernel", "k2", NULL), 0);
    assert_false(cache_has(&c, "kernel", "k1", path));
    assert_true(cache_has(&c, "kernel", "k2", path));
    assert_true(cache_has(&c, "rootfs", "r1", path));
    cache_close(&c);
    tempdir_deinit(&d);
}

static void test_open_removes_what_was_not_finished(void **state)
{
    (void)state;
    struct tempdir d;
    struct cache c;
    char work[PATH_MAX], done[PATH_MAX];
    tempdir_init(&d);
    open_cache(&c, &d);
    assert_int_equal(cache_work_dir(&c, done, NULL), 0);
    assert_int_equal(cache_commit(&c, done, "kernel", "k", NULL), 0);
    assert_int_equal(cache_work_dir(&c, work, NULL), 0);
    cache_close(&c);
    assert_int_equal(access(work, F_OK), 0);
    open_cache(&c, &d);
    assert_int_equal(access(work, F_OK), -1);
    assert_true(cache_has(&c, "kernel", "k", done));
    cache_close(&c);
    tempdir_deinit(&d);
}

static void tell_byte(void *user)
{
    assert_int_equal(write(*(int *)user, "w", 1), 1);
}

/* A second builder says that it waits, and goes on when the first is done. */
static void test_open_waits_for_the_holder(void **state)
{
    (void)state;
    struct tempdir d;
    struct cache c;
    struct err err;
    int ends[2], status;
    char byte;
    tempdir_init(&d);
    open_cache(&c, &d);
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct cache other;
        close(c.lock);
        int rc = cache_open(&other, tell_byte, &ends[1], &err);
        tell_byte(&ends[1]);
        _exit(rc == 0 ? 0 : 1);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1); /* it waits */
    struct pollfd more = { .fd = ends[0], .events = POLLIN };
    assert_int_equal(poll(&more, 1, 50), 0);
    cache_close(&c);
    assert_int_equal(read(ends[0], &byte, 1), 1); /* it has the lock */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ends[0]);
    close(ends[1]);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_depends_on_every_part),
        cmocka_unit_test(test_commit_makes_one_result_per_step),
        cmocka_unit_test(test_open_removes_what_was_not_finished),
        cmocka_unit_test(test_open_waits_for_the_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
