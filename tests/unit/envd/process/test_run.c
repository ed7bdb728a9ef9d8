/* Start: output, exit, errors. */
#include "tests/support/test.h"
#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static void start_brings_exact_output(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = run_script(&h, "printf 'a\\0b\\377'; printf 'err\\n' >&2; exit 0");
    assert_int_equal(data_of(c, 0).n, 4);
    assert_memory_equal(data_of(c, 0).p, "a\0b\377", 4);
    assert_str(data_of(c, 1), "err\n");
    assert_true(c->pid > 0);
    assert_true(c->ended && c->exited);
    assert_int_equal(c->exit_code, 0);
    assert_string_equal(c->status, "exit status 0");
    assert_string_equal(c->error, "");
    assert_int_equal(c->err.code, ERR_OK);
    assert_int_equal(data_of(c, 0).p ? buf_str(&c->order).p[0] : 0, 's');
    harness_close(&h);
}

static void start_tells_exit_status(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = run_script(&h, "exit 3");
    assert_true(c->exited);
    assert_int_equal(c->exit_code, 3);
    assert_string_equal(c->status, "exit status 3");
    assert_string_equal(c->error, "exit status 3");
    assert_str(buf_str(&c->order), "sE");
    harness_close(&h);
}

static void start_tells_signals_as_the_reference_does(void **state)
{
    (void)state;
    static const struct {
        int signum;
        const char *text;
    } cases[] = {
        { SIGHUP, "signal: hangup" },       { SIGINT, "signal: interrupt" },
        { SIGKILL, "signal: killed" },      { SIGUSR1, "signal: user defined signal 1" },
        { SIGPIPE, "signal: broken pipe" }, { SIGALRM, "signal: alarm clock" },
        { SIGTERM, "signal: terminated" },  { SIGVTALRM, "signal: signal 26" },
    };
    struct harness h;
    harness_open(&h);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char script[64];
        snprintf(script, sizeof(script), "kill -%d $$; exit 9", cases[i].signum);
        struct rpc_call *c = run_script(&h, script);
        assert_string_equal(c->status, cases[i].text);
        assert_string_equal(c->error, cases[i].text);
        assert_int_equal(c->exit_code, -1);
        assert_false(c->exited);
    }
    struct rpc_call *c = run_script(&h, "ulimit -c 0; kill -SEGV $$");
    assert_true(strncmp(c->status, "signal: segmentation fault", 26) == 0);
    harness_close(&h);
}

static void start_of_missing_command_exits_127(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_command(&h, &(struct start_args){ .cmd = "no-such-command" }, NULL);
    run_until(&h, &c->closed);
    assert_int_equal(c->exit_code, 127);
    assert_str(data_of(c, 1), "sh: no-such-command: not found\n");
    c = start_command(&h, &(struct start_args){ .cmd = "/no/such/command" }, NULL);
    run_until(&h, &c->closed);
    assert_int_equal(c->exit_code, 127);
    /* A name longer than a pipe takes must not stop envd. */
    AUTO_FREE char *name = malloc(100001);
    memset(name, 'x', 100000);
    name[100000] = '\0';
    c = start_command(&h, &(struct start_args){ .cmd = name }, NULL);
    run_until(&h, &c->closed);
    assert_int_equal(c->exit_code, 127);
    harness_close(&h);
}

static void start_of_what_is_no_program_exits_126(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    const char *paths[] = { "/etc/passwd", "/etc" };
    for (size_t i = 0; i < 2; i++) {
        struct rpc_call *c = start_command(&h, &(struct start_args){ .cmd = paths[i] }, NULL);
        run_until(&h, &c->closed);
        assert_int_equal(c->exit_code, 126);
        assert_non_null(memmem(data_of(c, 1).p, data_of(c, 1).n, "Permission denied", 17));
    }
    harness_close(&h);
}

static void start_gives_unknown_formats_to_the_shell(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    char path[] = "/tmp/sandpit-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char script[] = "echo \"run $1\"\n";
    assert_int_equal(write(fd, script, sizeof(script) - 1), sizeof(script) - 1);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    const char *args[] = { "me", NULL };
    struct rpc_call *c = start_command(&h, &(struct start_args){ .cmd = path, .args = args }, NULL);
    run_until(&h, &c->closed);
    unlink(path);
    assert_str(data_of(c, 0), "run me\n");
    harness_close(&h);
}

static void start_refuses_bad_requests(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    AUTO_FREE char *tag = malloc(PROCESS_TAG_MAX + 2);
    memset(tag, 't', PROCESS_TAG_MAX + 1);
    tag[PROCESS_TAG_MAX + 1] = '\0';
    AUTO_FREE char *big = malloc(200001);
    memset(big, 'b', 200000);
    big[200000] = '\0';
    const char *big_args[] = { big, NULL };
    const struct {
        struct start_args args;
        const char *text;
    } cases[] = {
        { { .cmd = "" }, "cmd is empty" },
        { { .cmd = "/bin/true", .cwd = "/no/such/dir" }, "cwd '/no/such/dir' does not exist" },
        { { .cmd = "/bin/true", .cwd = "/etc/passwd" }, "cwd '/etc/passwd' is not a directory" },
        { { .cmd = "/bin/true", .tag = tag }, "tag is longer than 1024 bytes" },
        { { .cmd = "/bin/true", .env_name = "", .env_value = "x" },
          "'' is no name of an environment variable" },
        { { .cmd = "/bin/true", .env_name = "A=B", .env_value = "x" },
          "'A=B' is no name of an environment variable" },
        { { .cmd = "/bin/true", .pty = true, .cols = 0, .rows = 24 },
          "a terminal of 0 columns and 24 rows: each must be from 1 to 65535" },
        { { .cmd = "/bin/true", .pty = true, .cols = 65536, .rows = 24 },
          "a terminal of 65536 columns and 24 rows: each must be from 1 to 65535" },
        { { .cmd = "/bin/true", .args = big_args },
          "cannot start '/bin/true': its arguments and environment are too long" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rpc_call *c = start_command(&h, &cases[i].args, NULL);
        run_until(&h, &c->closed);
        assert_int_equal(c->err.code, ERR_INVALID);
        assert_string_equal(c->err.msg, cases[i].text);
        assert_int_equal(c->pid, 0);
    }
    assert_int_equal(process_registry_count(h.envd.processes), 0);
    harness_close(&h);
}

static void start_sets_up_a_clean_process(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    assert_int_not_equal(dup2(0, 77), -1);
    /* A session of its own, no inherited descriptor (ls has one of its own), default signals. */
    struct rpc_call *c = run_script(
        &h, "ls /proc/self/fd | wc -l; umask; cat /proc/self/oom_score_adj; "
            "ps -o sid= -p $$ | tr -d ' '; grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2");
    close(77);
    char expected[256];
    snprintf(expected, sizeof(expected), "4\n0022\n100\n%u\n%016x\n%016x\n", c->pid, 0, 0);
    assert_str(data_of(c, 0), expected);
    harness_close(&h);
}

static void start_without_stdin_reads_end_of_file(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    const char *args[] = { "-c", "read x; echo $?", NULL };
    struct rpc_call *c = start_command(
        &h, &(struct start_args){ .cmd = "sh", .args = args, .no_stdin = true }, NULL);
    run_until(&h, &c->closed);
    assert_str(data_of(c, 0), "1\n");
    harness_close(&h);
}

static void end_waits_for_a_grandchild_with_the_output(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *d = run_script(&h, "(sleep 0.2; echo late) & exit 5");
    assert_str(data_of(d, 0), "late\n");
    assert_int_equal(d->exit_code, 5);
    harness_close(&h);
}

static void kill_ends_despite_a_grandchild(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, "sleep 20 & echo $!; exec sleep 20", NULL);
    run_until_text(&h, c, 0, "\n");
    assert_int_equal(send_signal(&h, c->pid, SIGKILL), ERR_OK);
    run_until(&h, &c->closed);
    assert_string_equal(c->status, "signal: killed");
    /* The same for one that was reaped before, whose grandchild holds the output. */
    struct rpc_call *d = start_script(&h, "sleep 20 & echo $!", NULL);
    run_until_text(&h, d, 0, "\n");
    run_some(&h, 100);
    assert_false(d->closed);
    assert_int_equal(send_signal(&h, d->pid, SIGTERM), ERR_OK);
    run_until(&h, &d->closed);
    assert_int_equal(d->exit_code, 0);
    assert_int_equal(send_signal(&h, d->pid, SIGTERM), ERR_NOT_FOUND);
    kill((pid_t)atoi(data_of(c, 0).p), SIGKILL);
    kill((pid_t)atoi(data_of(d, 0).p), SIGKILL);
    harness_close(&h);
}

static void deadline_kills_and_tells(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct call_options o = { .timeout_ms = 200 };
    struct rpc_call *c = start_script(&h, "echo hi; exec sleep 20", &o);
    struct rpc_call *d = connect_pid(&h, c->pid, NULL);
    run_until(&h, &c->closed);
    assert_int_equal(c->err.code, ERR_DEADLINE);
    assert_false(c->ended);
    assert_str(data_of(c, 0), "hi\n");
    run_until(&h, &d->closed);
    assert_string_equal(d->status, "signal: killed");
    /* It holds when the client has left. */
    c = start_script(&h, "exec sleep 20", &o);
    d = connect_pid(&h, c->pid, NULL);
    call_disconnect(c);
    run_until(&h, &d->closed);
    assert_string_equal(d->status, "signal: killed");
    harness_close(&h);
}

static void output_comes_in_bounded_pieces(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = run_script(&h, "head -c 5000000 /dev/zero; head -c 100000 /dev/zero >&2");
    assert_int_equal(data_of(c, 0).n, 5000000);
    assert_int_equal(data_of(c, 1).n, 100000);
    assert_in_range(c->largest, 4096, PROCESS_CHUNK_MAX);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_brings_exact_output),
        cmocka_unit_test(start_tells_exit_status),
        cmocka_unit_test(start_tells_signals_as_the_reference_does),
        cmocka_unit_test(start_of_missing_command_exits_127),
        cmocka_unit_test(start_of_what_is_no_program_exits_126),
        cmocka_unit_test(start_gives_unknown_formats_to_the_shell),
        cmocka_unit_test(start_refuses_bad_requests),
        cmocka_unit_test(start_sets_up_a_clean_process),
        cmocka_unit_test(start_without_stdin_reads_end_of_file),
        cmocka_unit_test(end_waits_for_a_grandchild_with_the_output),
        cmocka_unit_test(kill_ends_despite_a_grandchild),
        cmocka_unit_test(deadline_kills_and_tells),
        cmocka_unit_test(output_comes_in_bounded_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
