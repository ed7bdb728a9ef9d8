#include "common/base/cleanup.h"
#include "orchestrator/vmm/process.h"
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DEADLINE_MS 20000

struct fixture {
    uv_loop_t loop;
    struct process p;
    bool exited, closed;
};

static void on_exit_(struct process *p)
{
    struct fixture *f = container_of(p, struct fixture, p);
    assert_false(f->exited);
    f->exited = true;
}

static void on_closed(struct process *p)
{
    container_of(p, struct fixture, p)->closed = true;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f);
    return 0;
}

/* A child that ends with `code` once its standard input ends; *in is the other end. */
static pid_t start_child(int code, int *in)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(ends[1]);
        while (read(ends[0], &c, 1) > 0)
            ;
        _exit(code);
    }
    close(ends[0]);
    *in = ends[1];
    return pid;
}

static void watch(struct fixture *f, pid_t pid)
{
    uint64_t ticks;
    assert_int_equal(process_start_ticks(pid, &ticks), 0);
    int pidfd = process_open(pid, ticks);
    assert_true(pidfd >= 0);
    assert_int_equal(process_watch(&f->p, &f->loop, pidfd, on_exit_), 0);
}

static void finish(struct fixture *f)
{
    process_close(&f->p, on_closed);
    while (!f->closed)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void test_exit_code_is_told_and_child_reaped(void **state)
{
    struct fixture *f = *state;
    int in;
    char text[80];
    pid_t pid = start_child(7, &in);
    watch(f, pid);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(f->exited);
    close(in);
    while (!f->exited)
        uv_run(&f->loop, UV_RUN_ONCE);
    process_exit_text(&f->p.how, text, sizeof(text));
    assert_string_equal(text, "ended with exit code 7");
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    finish(f);
}

static void test_kill_is_told_as_a_signal(void **state)
{
    struct fixture *f = *state;
    int in;
    watch(f, start_child(0, &in));
    process_kill(&f->p);
    while (!f->exited)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_true(f->p.how.known && f->p.how.signaled);
    assert_int_equal(f->p.how.number, SIGKILL);
    process_kill(&f->p); /* harmless */
    close(in);
    finish(f);
}

/* A grandchild is not ours to reap, as a VMM of an earlier daemon is not. */
static void test_adopted_process_is_watched(void **state)
{
    struct fixture *f = *state;
    int in, pids[2];
    pid_t grandchild;
    assert_int_equal(pipe(pids), 0);
    pid_t pid = fork();
    if (pid == 0) {
        grandchild = start_child(3, &in);
        if (write(pids[1], &grandchild, sizeof(grandchild)) != (ssize_t)sizeof(grandchild))
            _exit(1);
        while (waitpid(grandchild, NULL, 0) < 0)
            ;
        _exit(0);
    }
    assert_int_equal(read(pids[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
    close(pids[0]);
    close(pids[1]);
    watch(f, grandchild);
    process_kill(&f->p);
    while (!f->exited)
        uv_run(&f->loop, UV_RUN_ONCE);
    assert_false(f->p.how.known);
    finish(f);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_open_refuses_another_process(void **state)
{
    uint64_t ticks;
    (void)state;
    assert_int_equal(process_start_ticks(getpid(), &ticks), 0);
    assert_int_equal(process_open(getpid(), ticks + 1), -ESRCH);
    assert_int_equal(process_open(0, 0), -ESRCH);
    assert_int_equal(process_open(-1, 0), -ESRCH);
    int in;
    pid_t pid = start_child(0, &in);
    assert_int_equal(process_start_ticks(pid, &ticks), 0);
    close(in);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(process_open(pid, ticks), -ESRCH);
}

/* The program's name is in the middle of the line that is parsed. */
static void test_start_ticks_with_an_odd_name(void **state)
{
    uint64_t plain, odd;
    (void)state;
    assert_int_equal(process_start_ticks(getpid(), &plain), 0);
    assert_true(plain > 0);
    assert_int_equal(prctl(PR_SET_NAME, ") R 1 (x) 2 3", 0, 0, 0), 0);
    assert_int_equal(process_start_ticks(getpid(), &odd), 0);
    assert_int_equal(odd, plain);
    assert_int_equal(process_start_ticks(INT32_MAX, &odd), -ESRCH);
}

static void test_end_kills_a_stopped_process(void **state)
{
    struct process_exit how;
    uint64_t ticks;
    int in;
    (void)state;
    pid_t pid = start_child(0, &in);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    assert_int_equal(process_start_ticks(pid, &ticks), 0);
    AUTO_CLOSE int pidfd = process_open(pid, ticks);
    assert_int_equal(process_wait(pidfd, 10, &how), -ETIMEDOUT);
    assert_int_equal(process_end(pidfd, DEADLINE_MS, &how), 0);
    assert_true(how.signaled);
    close(in);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_exit_code_is_told_and_child_reaped), TEST(test_kill_is_told_as_a_signal),
        TEST(test_adopted_process_is_watched),         TEST(test_open_refuses_another_process),
        TEST(test_start_ticks_with_an_odd_name),       TEST(test_end_kills_a_stopped_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
