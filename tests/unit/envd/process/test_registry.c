/* Finding processes, many of them, shared limits, stopping. */
#include "tests/support/test.h"
#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

static Process__ListResponse *list(struct harness *h, struct arena *arena)
{
    Process__ListRequest req = PROCESS__LIST_REQUEST__INIT;
    struct rpc_call *c = call_begin(h, "List", &req.base, NULL);
    run_until(h, &c->closed);
    assert_int_equal(c->err.code, ERR_OK);
    ProtobufCAllocator allocator = arena_allocator(arena);
    return process__list_response__unpack(&allocator, c->reply_n, c->reply);
}

static struct rpc_call *start_tagged(struct harness *h, const char *tag)
{
    static const char *const args[] = { "20", NULL };
    return start_command(h,
                         &(struct start_args){ .cmd = "sleep",
                                               .args = args,
                                               .cwd = "/tmp",
                                               .tag = tag,
                                               .env_name = "K",
                                               .env_value = "V" },
                         NULL);
}

static void list_shows_running_ones_as_started(void **state)
{
    (void)state;
    struct harness h;
    struct arena arena = { 0 };
    harness_open(&h);
    assert_int_equal(list(&h, &arena)->n_processes, 0);
    struct rpc_call *a = start_tagged(&h, "a"), *b = start_tagged(&h, NULL);
    run_script(&h, "exit 0");
    Process__ListResponse *all = list(&h, &arena);
    assert_int_equal(all->n_processes, 2);
    const Process__ProcessInfo *p = all->processes[0];
    assert_int_equal(p->pid, a->pid);
    assert_int_equal(p->_tag_case, PROCESS__PROCESS_INFO___TAG_TAG);
    assert_string_equal(p->tag, "a");
    assert_string_equal(p->config->cmd, "sleep");
    assert_int_equal(p->config->n_args, 1);
    assert_string_equal(p->config->args[0], "20");
    assert_string_equal(p->config->cwd, "/tmp");
    assert_string_equal(p->config->envs[0]->key, "K");
    assert_string_equal(p->config->envs[0]->value, "V");
    assert_int_equal(all->processes[1]->pid, b->pid);
    assert_int_equal(all->processes[1]->_tag_case, PROCESS__PROCESS_INFO___TAG__NOT_SET);
    /* Leaving a stream does not end its process. */
    call_disconnect(a);
    run_some(&h, 50);
    assert_int_equal(list(&h, &arena)->n_processes, 2);
    send_signal(&h, a->pid, SIGKILL);
    send_signal(&h, b->pid, SIGTERM);
    run_until(&h, &b->closed);
    assert_string_equal(b->status, "signal: terminated");
    arena_deinit(&arena);
    harness_close(&h);
}

static void tag_selects_among_several(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *calls[4];
    static const char *const tags[] = { "one", "two", NULL, "three" };
    for (size_t i = 0; i < 4; i++)
        calls[i] = start_tagged(&h, tags[i]);
    for (size_t i = 0; i < 4; i++) {
        if (tags[i])
            assert_int_equal(connect_tag(&h, tags[i])->pid, calls[i]->pid);
    }
    struct rpc_call *c = connect_tag(&h, "four");
    assert_int_equal(c->err.code, ERR_NOT_FOUND);
    assert_string_equal(c->err.msg, "process with tag four not found");
    c = connect_tag(&h, "");
    assert_int_equal(c->err.code, ERR_NOT_FOUND);
    Process__ConnectRequest none = PROCESS__CONNECT_REQUEST__INIT;
    c = call_begin(&h, "Connect", &none.base, NULL);
    assert_int_equal(c->err.code, ERR_UNIMPLEMENTED);
    /* An ended one is found by its tag, until a running one has it. */
    send_signal(&h, calls[0]->pid, SIGKILL);
    run_until(&h, &calls[0]->closed);
    c = connect_tag(&h, "one");
    assert_int_equal(c->pid, calls[0]->pid);
    assert_true(c->ended);
    struct rpc_call *again = start_tagged(&h, "one");
    assert_int_equal(connect_tag(&h, "one")->pid, again->pid);
    harness_close(&h);
}

static void signals_other_than_two_are_refused(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_tagged(&h, NULL);
    assert_int_equal(send_signal(&h, c->pid, SIGINT), ERR_UNIMPLEMENTED);
    assert_int_equal(send_signal(&h, c->pid, 0), ERR_UNIMPLEMENTED);
    assert_int_equal(send_signal(&h, 999999999, SIGKILL), ERR_NOT_FOUND);
    harness_close(&h);
}

static size_t open_files(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void thousand_starts_leak_nothing(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.retained_max = 50;
    harness_open_limits(&h, &limits);
    run_script(&h, "exit 0");
    size_t before = open_files();
    for (int i = 0; i < 1000; i += 4) {
        struct rpc_call *c[4];
        for (int k = 0; k < 4; k++)
            c[k] = start_command(
                &h, &(struct start_args){ .cmd = k == 3 ? "/no/such" : "/bin/true", .pty = k == 2 },
                NULL);
        for (int k = 0; k < 4; k++) {
            run_until(&h, &c[k]->closed);
            assert_int_equal(c[k]->exit_code, k == 3 ? 127 : 0);
        }
    }
    assert_int_equal(open_files(), before);
    /* Only what is remembered holds memory: here 127's messages. */
    assert_in_range(process_registry_held(h.envd.processes), 0, 50 * 200);
    struct rpc_call *bad = NULL;
    for (int i = 0; i < 100; i++)
        bad = start_command(&h, &(struct start_args){ .cmd = "x", .cwd = "/no/such" }, NULL);
    run_until(&h, &bad->closed);
    run_some(&h, 30);
    assert_int_equal(open_files(), before);
    harness_close(&h);
}

static void budget_bounds_all_output_together(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.ring_bytes = 262144;
    limits.ring_budget = 524288;
    harness_open_limits(&h, &limits);
    struct rpc_call *calls[8];
    /* Stalled readers hold most of it. */
    for (size_t i = 0; i < 4; i++)
        calls[i] =
            start_script(&h, "head -c 1000000 /dev/zero", &(struct call_options){ .window = 1000 });
    run_some(&h, 200);
    /* Others still get on, with and without readers. */
    for (size_t i = 4; i < 8; i++)
        calls[i] = start_script(&h, "head -c 1000000 /dev/zero", NULL);
    for (size_t i = 4; i < 8; i++)
        run_until(&h, &calls[i]->closed);
    struct rpc_call *unseen = start_script(&h, "head -c 1000000 /dev/zero", NULL);
    call_disconnect(unseen);
    struct rpc_call *d = connect_pid(&h, unseen->pid, NULL);
    run_until(&h, &d->closed);
    assert_in_range(process_registry_held(h.envd.processes), 1, 524288 + 10 * 4200);
    /* And those that waited go on when memory is free again. */
    for (size_t i = 0; i < 4; i++)
        call_open_window(calls[i]);
    for (size_t i = 0; i < 8; i++) {
        run_until(&h, &calls[i]->closed);
        assert_int_equal(data_of(calls[i], 0).n, 1000000);
    }
    harness_close(&h);
}

static void on_stopped(void *user)
{
    *(bool *)user = true;
}

static void stop_all_terms_then_kills(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *good =
        start_script(&h, "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done", NULL);
    struct rpc_call *bad =
        start_script(&h, "trap '' TERM; echo up; while :; do sleep 1; done", NULL);
    run_until_text(&h, good, 0, "up");
    run_until_text(&h, bad, 0, "up");
    bool stopped = false;
    process_registry_stop_all(h.envd.processes, 200, on_stopped, &stopped);
    assert_false(stopped);
    struct rpc_call *late = start_script(&h, "exit 0", NULL);
    assert_int_equal(late->err.code, ERR_UNAVAILABLE);
    run_until(&h, &stopped);
    run_until(&h, &good->closed);
    run_until(&h, &bad->closed);
    assert_int_equal(good->exit_code, 9);
    assert_string_equal(bad->status, "signal: killed");
    harness_close(&h);
}

static void strangers_are_not_ours(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    assert_false(process_registry_reaped(h.envd.processes, 1, 0));
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    struct rpc_call *c = run_script(&h, "exit 1");
    assert_int_equal(c->exit_code, 1);
    harness_close(&h);
}

static void failures_are_told_and_undone(void **state)
{
    (void)state;
    struct harness h;
    NEED_FAULT_POINTS();
    harness_open(&h);
    size_t before = open_files();
    setenv("SANDPIT_FAULTS", "process.clone", 1);
    struct rpc_call *c = start_script(&h, "exit 0", NULL);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(c->err.code, ERR_EXHAUSTED);
    assert_string_equal(c->err.msg, "cannot start a process: as many run as are allowed");
    run_some(&h, 30);
    assert_int_equal(open_files(), before);
    harness_close(&h);
}

static void output_waits_for_memory(void **state)
{
    (void)state;
    struct harness h;
    NEED_FAULT_POINTS();
    harness_open(&h);
    setenv("SANDPIT_FAULTS", "process.ring_chunk", 1);
    struct rpc_call *c = start_script(&h, "echo late; exit 3", NULL);
    run_some(&h, 250);
    assert_false(c->closed);
    assert_int_equal(data_of(c, 0).n, 0);
    unsetenv("SANDPIT_FAULTS");
    run_until(&h, &c->closed);
    assert_str(data_of(c, 0), "late\n");
    assert_int_equal(c->exit_code, 3);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_shows_running_ones_as_started),
        cmocka_unit_test(tag_selects_among_several),
        cmocka_unit_test(signals_other_than_two_are_refused),
        cmocka_unit_test(thousand_starts_leak_nothing),
        cmocka_unit_test(budget_bounds_all_output_together),
        cmocka_unit_test(stop_all_terms_then_kills),
        cmocka_unit_test(strangers_are_not_ours),
        cmocka_unit_test(failures_are_told_and_undone),
        cmocka_unit_test(output_waits_for_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
