#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/vmm/console.h"
#include "orchestrator/vmm/unix_socket.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DEADLINE_MS 20000

struct fixture {
    struct tempdir dir;
    uv_loop_t loop;
    struct console c;
    int listener, server;
    bool closed;
};

static void on_closed(struct console *c)
{
    container_of(c, struct fixture, c)->closed = true;
}

static void open_console(struct fixture *f)
{
    struct err err;
    assert_int_equal(console_open(&f->c, &f->loop, tempdir_path(&f->dir, "sock"),
                                  tempdir_path(&f->dir, "log"), &err),
                     0);
    f->server = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(f->server >= 0);
    f->closed = false;
}

static void close_console(struct fixture *f)
{
    console_close(&f->c, on_closed);
    while (!f->closed)
        uv_run(&f->loop, UV_RUN_ONCE);
    close(f->server);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    tempdir_init(&f->dir);
    uv_loop_init(&f->loop);
    f->listener = unix_listen(tempdir_path(&f->dir, "sock"));
    assert_true(f->listener >= 0);
    open_console(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close_console(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    close(f->listener);
    tempdir_deinit(&f->dir);
    free(f);
    return 0;
}

static size_t tail(struct fixture *f, char *out, size_t n)
{
    return console_tail(tempdir_path(&f->dir, "log"), out, n);
}

/* Send it all while the loop runs. */
static void say(struct fixture *f, const char *data, size_t n)
{
    int64_t due = clock_mono_ms() + DEADLINE_MS;
    while (n) {
        ssize_t w = send(f->server, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w > 0) {
            data += w;
            n -= (size_t)w;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
        uv_run(&f->loop, UV_RUN_NOWAIT);
        assert_true(clock_mono_ms() < due);
    }
}

/* Run until the newest output is `text`. */
static void until_tail(struct fixture *f, const char *text)
{
    char got[64];
    size_t n = strlen(text);
    int64_t due = clock_mono_ms() + DEADLINE_MS;
    do {
        assert_true(clock_mono_ms() < due);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    } while (tail(f, got, n) != n || memcmp(got, text, n) != 0);
}

static void test_output_is_kept(void **state)
{
    struct fixture *f = *state;
    char out[64];
    assert_int_equal(tail(f, out, sizeof(out)), 0);
    say(f, "Linux version\n", 14);
    until_tail(f, "Linux version\n");
    assert_int_equal(tail(f, out, sizeof(out)), 14);
    assert_int_equal(tail(f, out, 4), 4);
    assert_memory_equal(out, "ion\n", 4);
}

static off_t size_of(struct fixture *f, const char *name)
{
    struct stat st;
    return stat(tempdir_path(&f->dir, name), &st) == 0 ? st.st_size : 0;
}

static void test_flood_is_bounded_and_newest_kept(void **state)
{
    struct fixture *f = *state;
    static char block[65536], out[CONSOLE_KEEP];
    for (int i = 0; i < 12; i++) {
        memset(block, 'a' + i, sizeof(block));
        say(f, block, sizeof(block));
        assert_true(size_of(f, "log") <= CONSOLE_KEEP);
        assert_true(size_of(f, "log.1") <= CONSOLE_KEEP);
    }
    say(f, "THE END", 7);
    until_tail(f, "THE END");
    assert_true(size_of(f, "log") + size_of(f, "log.1") <= 2 * CONSOLE_KEEP);
    /* The newest CONSOLE_KEEP bytes, in order, across the two files. */
    assert_int_equal(tail(f, out, sizeof(out)), sizeof(out));
    assert_memory_equal(out + sizeof(out) - 7, "THE END", 7);
    for (size_t i = 1; i < sizeof(out) - 7; i++)
        assert_true(out[i] >= out[i - 1]);
    assert_int_equal(out[sizeof(out) - 8], 'l');
}

static void test_rate_is_bounded(void **state)
{
    struct fixture *f = *state;
    static char block[65536];
    size_t sent = 0;
    memset(block, 'x', sizeof(block));
    /* Without a bound this takes whatever is sent; with it, it stops before the second is over. */
    int64_t begun = clock_mono_ms();
    int idle = 0;
    while (sent < 8 * (size_t)CONSOLE_RATE && idle < 100) {
        ssize_t w = send(f->server, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += w > 0 ? (size_t)w : 0;
        idle = w > 0 ? 0 : idle + 1;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    size_t seconds = (size_t)(clock_mono_ms() - begun) / 1000 + 1;
    assert_true(sent <= seconds * (2 * (size_t)CONSOLE_RATE));
    assert_true(sent < 8 * (size_t)CONSOLE_RATE);
    /* It goes on afterwards. */
    say(f, "later", 5);
    until_tail(f, "later");
}

static void test_open_again_appends(void **state)
{
    struct fixture *f = *state;
    char out[64];
    say(f, "one ", 4);
    until_tail(f, "one ");
    close_console(f);
    open_console(f);
    say(f, "two", 3);
    until_tail(f, "two");
    assert_int_equal(tail(f, out, sizeof(out)), 7);
    assert_memory_equal(out, "one two", 7);
}

static void test_end_of_the_vmm_is_quiet(void **state)
{
    struct fixture *f = *state;
    char out[16];
    say(f, "last", 4);
    shutdown(f->server, SHUT_RDWR);
    console_drain(&f->c);
    for (int i = 0; i < 5; i++)
        uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(tail(f, out, sizeof(out)), 4);
}

static void test_open_refuses_a_link(void **state)
{
    struct fixture *f = *state;
    struct console c;
    struct err err;
    tempdir_write(&f->dir, "precious", "x");
    assert_int_equal(symlink("precious", tempdir_path(&f->dir, "linked")), 0);
    assert_int_equal(console_open(&c, &f->loop, tempdir_path(&f->dir, "sock"),
                                  tempdir_path(&f->dir, "linked"), &err),
                     -ELOOP);
    assert_int_equal(console_open(&c, &f->loop, tempdir_path(&f->dir, "none"),
                                  tempdir_path(&f->dir, "log"), &err),
                     -ENOENT);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_output_is_kept),          TEST(test_flood_is_bounded_and_newest_kept),
        TEST(test_rate_is_bounded),         TEST(test_open_again_appends),
        TEST(test_end_of_the_vmm_is_quiet), TEST(test_open_refuses_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
