/* SendInput, CloseStdin, StreamInput. */
#include "tests/support/test.h"
#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"

#include <fcntl.h>
#include <signal.h>

#undef stdin

static struct rpc_call *start(struct harness *h, const char *cmd)
{
    return start_command(h, &(struct start_args){ .cmd = cmd }, NULL);
}

static void send_input_reaches_the_process(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start(&h, "cat");
    assert_int_equal(send_stdin(&h, c->pid, "one\n"), ERR_OK);
    assert_int_equal(send_stdin(&h, c->pid, ""), ERR_OK);
    assert_int_equal(send_stdin(&h, c->pid, "two\n"), ERR_OK);
    run_until_text(&h, c, 0, "two\n");
    assert_str(data_of(c, 0), "one\ntwo\n");
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    run_until(&h, &c->closed);
    assert_int_equal(c->exit_code, 0);
    assert_int_equal(send_stdin(&h, c->pid, "x"), ERR_NOT_FOUND);
    assert_int_equal(close_stdin(&h, c->pid), ERR_NOT_FOUND);
    harness_close(&h);
}

static void close_stdin_twice_is_fine(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, "cat; exec sleep 20", NULL);
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    assert_int_equal(send_stdin(&h, c->pid, "x"), ERR_INTERNAL);
    harness_close(&h);
}

static void input_of_the_wrong_kind_is_refused(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start(&h, "cat");
    assert_int_equal(send_pty(&h, c->pid, "x"), ERR_INTERNAL);
    struct rpc_call *p = start_command(&h, &(struct start_args){ .cmd = "cat", .pty = true }, NULL);
    assert_int_equal(send_stdin(&h, p->pid, "x"), ERR_INTERNAL);
    assert_int_equal(close_stdin(&h, p->pid), ERR_UNKNOWN);
    struct rpc_call *n = start_command(&h,
                                       &(struct start_args){ .cmd = "sleep",
                                                             .args = (const char *[]){ "20", NULL },
                                                             .no_stdin = true },
                                       NULL);
    assert_int_equal(send_stdin(&h, n->pid, "x"), ERR_INTERNAL);
    assert_int_equal(send_stdin(&h, 999999999, "x"), ERR_NOT_FOUND);
    Process__SendInputRequest none = PROCESS__SEND_INPUT_REQUEST__INIT;
    struct rpc_call *u = call_begin(&h, "SendInput", &none.base, NULL);
    assert_int_equal(u->err.code, ERR_UNIMPLEMENTED);
    harness_close(&h);
}

static void send_input_waits_until_it_was_taken(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    size_t n = 1000000;
    AUTO_FREE char *text = malloc(n + 1);
    memset(text, 'z', n);
    text[n] = '\0';
    /* The process reads nothing before it is told to. */
    struct rpc_call *c = start_script(
        &h, "trap 'go=1' USR1; while [ -z \"$go\" ]; do sleep 0.05; done; wc -c", NULL);
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    Process__ProcessInput input = PROCESS__PROCESS_INPUT__INIT;
    Process__SendInputRequest req = PROCESS__SEND_INPUT_REQUEST__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = c->pid;
    req.process = &s;
    req.input = &input;
    input.input_case = PROCESS__PROCESS_INPUT__INPUT_STDIN;
    input.stdin = (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)text };
    struct rpc_call *w = call_begin(&h, "SendInput", &req.base, NULL);
    /* End of file comes behind it. */
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    run_some(&h, 150);
    assert_false(w->closed);
    kill((pid_t)c->pid, SIGUSR1);
    run_until(&h, &w->closed);
    assert_int_equal(w->err.code, ERR_OK);
    run_until(&h, &c->closed);
    assert_str(data_of(c, 0), "1000000\n");
    harness_close(&h);
}

static void send_input_to_a_closed_pipe_fails(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, "exec <&-; echo closed; exec sleep 20", NULL);
    run_until_text(&h, c, 0, "closed");
    assert_int_equal(send_stdin(&h, c->pid, "x"), ERR_INTERNAL);
    harness_close(&h);
}

static void send_input_of_a_client_that_leaves_is_given_up(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    size_t n = 500000;
    AUTO_FREE char *text = calloc(1, n);
    struct rpc_call *c = start_script(&h, "exec sleep 20", NULL);
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    Process__ProcessInput input = PROCESS__PROCESS_INPUT__INIT;
    Process__SendInputRequest req = PROCESS__SEND_INPUT_REQUEST__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = c->pid;
    req.process = &s;
    req.input = &input;
    input.input_case = PROCESS__PROCESS_INPUT__INPUT_STDIN;
    input.stdin = (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)text };
    struct rpc_call *w = call_begin(&h, "SendInput", &req.base, NULL);
    run_some(&h, 50);
    assert_false(w->closed);
    call_disconnect(w);
    /* A waiting one fails when the process ends. */
    w = call_begin(&h, "SendInput", &req.base, NULL);
    send_signal(&h, c->pid, SIGKILL);
    run_until(&h, &w->closed);
    assert_int_equal(w->err.code, ERR_INTERNAL);
    harness_close(&h);
}

/* StreamInput */

static struct rpc_call *stream_begin_to(struct harness *h, uint32_t pid)
{
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    Process__StreamInputRequest__StartEvent ev = PROCESS__STREAM_INPUT_REQUEST__START_EVENT__INIT;
    Process__StreamInputRequest req = PROCESS__STREAM_INPUT_REQUEST__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = pid;
    ev.process = &s;
    req.event_case = PROCESS__STREAM_INPUT_REQUEST__EVENT_START;
    req.start = &ev;
    return call_begin(h, "StreamInput", &req.base, NULL);
}

static void stream_data(struct rpc_call *call, const char *data, size_t n)
{
    Process__ProcessInput input = PROCESS__PROCESS_INPUT__INIT;
    Process__StreamInputRequest__DataEvent ev = PROCESS__STREAM_INPUT_REQUEST__DATA_EVENT__INIT;
    Process__StreamInputRequest req = PROCESS__STREAM_INPUT_REQUEST__INIT;
    input.input_case = PROCESS__PROCESS_INPUT__INPUT_STDIN;
    input.stdin = (ProtobufCBinaryData){ .len = n, .data = (uint8_t *)(uintptr_t)data };
    ev.input = &input;
    req.event_case = PROCESS__STREAM_INPUT_REQUEST__EVENT_DATA;
    req.data = &ev;
    call_message(call, &req.base);
}

static bool is_paused(void *arg)
{
    return ((const struct rpc_call *)arg)->paused;
}

static void stream_input_is_written_in_order(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start(&h, "cksum");
    struct rpc_call *s = stream_begin_to(&h, c->pid);
    char piece[65536];
    for (int i = 0; i < 100; i++) {
        memset(piece, 'a' + i % 26, sizeof(piece));
        run_while(&h, is_paused, s);
        stream_data(s, piece, sizeof(piece));
    }
    call_half_close(s);
    run_until(&h, &s->closed);
    assert_int_equal(s->err.code, ERR_OK);
    assert_non_null(s->reply);
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    run_until(&h, &c->closed);
    struct rpc_call *model =
        run_script(&h, "for i in $(seq 0 99); do l=$(printf '\\'$(printf '%o' $((97+i%26)))); "
                       "head -c 65536 /dev/zero | tr '\\0' $l; done | cksum");
    assert_true(str_eq(data_of(c, 0), data_of(model, 0)));
    harness_close(&h);
}

static void stream_input_slows_its_client_down(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, "exec sleep 20", NULL);
    struct rpc_call *s = stream_begin_to(&h, c->pid);
    char piece[65536] = { 0 };
    int taken = 0;
    while (!s->paused && taken < 100) {
        stream_data(s, piece, sizeof(piece));
        taken++;
    }
    assert_in_range(taken, 2, 20);
    /* The process ends: an error, and nothing leaks. */
    send_signal(&h, c->pid, SIGKILL);
    run_until(&h, &s->closed);
    assert_int_equal(s->err.code, ERR_INTERNAL);
    /* A client that leaves while its pieces wait. */
    c = start_script(&h, "read x; sleep 0.1; cat >/dev/null; echo all", NULL);
    s = stream_begin_to(&h, c->pid);
    stream_data(s, "go\n", 3);
    stream_data(s, piece, sizeof(piece));
    stream_data(s, piece, sizeof(piece));
    call_disconnect(s);
    assert_int_equal(close_stdin(&h, c->pid), ERR_OK);
    run_until(&h, &c->closed);
    assert_str(data_of(c, 0), "all\n");
    harness_close(&h);
}

/* What clients that have left wanted to write is kept, but not without bound. */
static void stream_input_of_many_that_left_is_bounded(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    size_t n = 16U << 20;
    AUTO_FREE char *text = calloc(1, n);
    struct rpc_call *c = start_script(&h, "exec sleep 20", NULL);
    for (int i = 0; i < 2; i++) {
        struct rpc_call *s = stream_begin_to(&h, c->pid);
        stream_data(s, text, n);
        assert_false(s->finished);
        call_disconnect(s);
    }
    struct rpc_call *s = stream_begin_to(&h, c->pid);
    stream_data(s, text, n);
    run_until(&h, &s->closed);
    assert_int_equal(s->err.code, ERR_EXHAUSTED);
    send_signal(&h, c->pid, SIGKILL);
    run_until(&h, &c->closed);
    harness_close(&h);
}

static void stream_input_refuses_bad_order(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start(&h, "cat");
    struct rpc_call *s = call_begin(&h, "StreamInput", NULL, NULL);
    stream_data(s, "x", 1);
    assert_int_equal(s->err.code, ERR_INVALID);
    s = call_begin(&h, "StreamInput", NULL, NULL);
    call_half_close(s);
    assert_int_equal(s->err.code, ERR_INVALID);
    s = stream_begin_to(&h, 999999999);
    assert_int_equal(s->err.code, ERR_NOT_FOUND);
    s = stream_begin_to(&h, c->pid);
    send_signal(&h, c->pid, SIGKILL);
    run_until(&h, &c->closed);
    stream_data(s, "x", 1);
    assert_int_equal(s->err.code, ERR_NOT_FOUND);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(send_input_reaches_the_process),
        cmocka_unit_test(close_stdin_twice_is_fine),
        cmocka_unit_test(input_of_the_wrong_kind_is_refused),
        cmocka_unit_test(send_input_waits_until_it_was_taken),
        cmocka_unit_test(send_input_to_a_closed_pipe_fails),
        cmocka_unit_test(send_input_of_a_client_that_leaves_is_given_up),
        cmocka_unit_test(stream_input_is_written_in_order),
        cmocka_unit_test(stream_input_slows_its_client_down),
        cmocka_unit_test(stream_input_of_many_that_left_is_bounded),
        cmocka_unit_test(stream_input_refuses_bad_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
