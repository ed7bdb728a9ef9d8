/* Terminals. */
#include "tests/support/test.h"
#include "tests/unit/envd/process/harness.h"

#include <signal.h>

static struct rpc_call *start_shell(struct harness *h, const char *script, uint32_t cols,
                                    uint32_t rows)
{
    const char *args[] = { "-c", script, NULL };
    return start_command(
        h,
        &(struct start_args){
            .cmd = "/bin/sh", .args = args, .pty = true, .cols = cols, .rows = rows },
        NULL);
}

static void pty_merges_outputs_and_is_the_controlling_terminal(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c =
        start_shell(&h, "echo out; echo err >&2; echo tty >/dev/tty; exit 4", 80, 24);
    run_until(&h, &c->closed);
    assert_str(data_of(c, 2), "out\r\nerr\r\ntty\r\n");
    assert_int_equal(data_of(c, 0).n + data_of(c, 1).n, 0);
    assert_int_equal(c->exit_code, 4);
    assert_true(c->ended);
    harness_close(&h);
}

static void pty_has_its_size_and_is_resized(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_shell(&h, "stty size; read x; stty size; read x", 100, 40);
    run_until_text(&h, c, 2, "40 100\r\n");
    assert_int_equal(update_pty(&h, c->pid, 132, 50), ERR_OK);
    assert_int_equal(update_pty(&h, c->pid, 0, 50), ERR_INVALID);
    assert_int_equal(update_pty(&h, c->pid, 132, 70000), ERR_INVALID);
    assert_int_equal(send_pty(&h, c->pid, "\n"), ERR_OK);
    run_until_text(&h, c, 2, "50 132\r\n");
    struct rpc_call *p = start_script(&h, "exec sleep 20", NULL);
    assert_int_equal(update_pty(&h, p->pid, 80, 24), ERR_INTERNAL);
    assert_int_equal(update_pty(&h, 999999999, 80, 24), ERR_NOT_FOUND);
    /* No size in the request: 80 by 24. */
    c = start_shell(&h, "stty size", 0, 0);
    run_until(&h, &c->closed);
    assert_str(data_of(c, 2), "24 80\r\n");
    harness_close(&h);
}

static void pty_echoes_and_takes_control_characters(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_shell(&h, "cat; sleep 20; echo not here", 80, 24);
    assert_int_equal(send_pty(&h, c->pid, "hello\n"), ERR_OK);
    run_until_text(&h, c, 2, "hello\r\nhello\r\n");
    /* Ctrl+D ends cat, Ctrl+C the shell. */
    assert_int_equal(send_pty(&h, c->pid, "\004"), ERR_OK);
    run_some(&h, 100);
    assert_int_equal(send_pty(&h, c->pid, "\003"), ERR_OK);
    run_until(&h, &c->closed);
    assert_string_equal(c->status, "signal: interrupt");
    harness_close(&h);
}

static void pty_ends_with_its_process(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    /* Others on the terminal get a hang-up: they do not hold the stream open. */
    struct rpc_call *c = start_shell(&h, "sleep 20 & exit 0", 80, 24);
    run_until(&h, &c->closed);
    assert_int_equal(c->exit_code, 0);
    c = start_shell(&h, "sleep 20", 80, 24);
    assert_int_equal(send_signal(&h, c->pid, SIGKILL), ERR_OK);
    run_until(&h, &c->closed);
    assert_string_equal(c->status, "signal: killed");
    harness_close(&h);
}

static void pty_output_comes_in_bounded_pieces(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_shell(&h, "head -c 300000 /dev/zero", 80, 24);
    run_until(&h, &c->closed);
    assert_int_equal(data_of(c, 2).n, 300000);
    assert_in_range(c->largest, 1, PROCESS_CHUNK_PTY_MAX);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pty_merges_outputs_and_is_the_controlling_terminal),
        cmocka_unit_test(pty_has_its_size_and_is_resized),
        cmocka_unit_test(pty_echoes_and_takes_control_characters),
        cmocka_unit_test(pty_ends_with_its_process),
        cmocka_unit_test(pty_output_comes_in_bounded_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
