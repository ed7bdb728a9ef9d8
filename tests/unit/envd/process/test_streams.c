/* Several streams of one process: replay, gaps, back-pressure, keepalive, the time after the end.
 */
#include "tests/support/test.h"
#include "envd/process/registry_internal.h"
#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"

#include <signal.h>

/* Prints seven-digit numbers from 1 on, one a line: any missing or doubled byte shows. */
#define LINE_BYTES 8
static const char count_script[] = "seq -f %07.0f 1 1250000";
#define COUNT_BYTES ((size_t)1250000 * LINE_BYTES)

/* data is the output of count_script from `offset` on. */
static void check_count(struct str data, uint64_t offset)
{
    char line[16];
    for (size_t i = 0; i < data.n; i++) {
        uint64_t at = offset + i;
        if (i == 0 || at % LINE_BYTES == 0)
            snprintf(line, sizeof(line), "%07u\n", (unsigned)(at / LINE_BYTES + 1));
        if (data.p[i] != line[at % LINE_BYTES])
            fail_msg("byte %zu is wrong", (size_t)at);
    }
}

static uint64_t header(const struct buf *fields, const char *name)
{
    struct str rest = buf_str(fields);
    while (rest.p && rest.n) {
        struct str line = str_split(&rest, '\n');
        struct str key = str_split(&line, '=');
        uint64_t value;
        if (str_eq(key, str_of(name)) && str_to_u64(line, INT64_MAX, &value))
            return value;
    }
    return UINT64_MAX;
}

static bool is_not_full(void *arg)
{
    const struct rpc_call *c = arg;
    return c->taken < c->window;
}

struct progress {
    struct harness *h;
    uint32_t pid;
    uint64_t n;
};

static struct process *process_of(const struct progress *p)
{
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    struct err err;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = p->pid;
    return registry_find(p->h->envd.processes, &s, true, &err);
}

static bool has_printed_less(void *arg)
{
    const struct progress *p = arg;
    return process_of(p)->ring.end < p->n;
}

static bool is_known(void *arg)
{
    return process_of(arg) != NULL;
}

static bool is_running(void *arg)
{
    return process_registry_count(((struct harness *)arg)->envd.processes) > 0;
}

static bool ring_is_not_full(void *arg)
{
    return process_registry_held(((struct harness *)arg)->envd.processes) <
           RING_BYTES_DEFAULT - 2 * RING_CHUNK_MAX;
}

static void reconnect_in_the_middle_misses_nothing(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.ring_bytes = limits.ring_budget = 64U << 20;
    harness_open_limits(&h, &limits);
    struct rpc_call *c =
        start_script(&h, count_script, &(struct call_options){ .window = 3000000 });
    run_while(&h, is_not_full, c);
    call_disconnect(c);
    /* The process runs on, and even ends, with nobody looking. */
    run_while(&h, is_running, &h);
    struct rpc_call *d = connect_pid(&h, c->pid, NULL);
    run_until(&h, &d->closed);
    assert_int_equal(d->pid, c->pid);
    assert_true(d->ended);
    assert_int_equal(data_of(c, 0).n + data_of(d, 0).n, COUNT_BYTES);
    assert_true(header(&d->headers, "sandpit-offset") == data_of(c, 0).n);
    assert_true(header(&d->headers, "sandpit-gap") == UINT64_MAX);
    check_count(data_of(c, 0), 0);
    check_count(data_of(d, 0), data_of(c, 0).n);
    /* A further one gets the end only, or all when it asks. */
    d = connect_pid(&h, c->pid, NULL);
    run_until(&h, &d->closed);
    assert_str(buf_str(&d->order), "sE");
    d = connect_pid(&h, c->pid,
                    &(struct call_options){ .header = "sandpit-replay", .value = "all" });
    run_until(&h, &d->closed);
    assert_int_equal(data_of(d, 0).n, COUNT_BYTES);
    check_count(data_of(d, 0), 0);
    d = connect_pid(&h, c->pid,
                    &(struct call_options){ .header = "sandpit-replay", .value = "1234567" });
    run_until(&h, &d->closed);
    assert_int_equal(data_of(d, 0).n, COUNT_BYTES - 1234567);
    check_count(data_of(d, 0), 1234567);
    d = connect_pid(&h, c->pid, &(struct call_options){ .header = "sandpit-replay", .value = "x" });
    assert_int_equal(d->err.code, ERR_INVALID);
    harness_close(&h);
}

static void what_had_not_arrived_comes_again(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c =
        start_script(&h, count_script, &(struct call_options){ .window = 3000000 });
    /* Pieces are whole or nothing for a client, and much of the ring is kept for this. */
    c->lost = 300000;
    run_while(&h, is_not_full, c);
    size_t had = data_of(c, 0).n - c->lost;
    kill((pid_t)c->pid, SIGSTOP);
    call_disconnect(c);
    struct rpc_call *d = connect_pid(&h, c->pid, NULL);
    kill((pid_t)c->pid, SIGCONT);
    run_until(&h, &d->closed);
    size_t offset = (size_t)header(&d->headers, "sandpit-offset");
    assert_in_range(offset, had - c->largest, had);
    assert_true(header(&d->headers, "sandpit-gap") == UINT64_MAX);
    check_count(data_of(d, 0), offset);
    assert_int_equal(offset + data_of(d, 0).n, COUNT_BYTES);
    harness_close(&h);
}

static void reconnect_to_a_small_ring_tells_the_gap(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.ring_bytes = 262144;
    harness_open_limits(&h, &limits);
    struct rpc_call *c = start_script(&h, "seq -f %07.0f 1 1250000; sleep 20",
                                      &(struct call_options){ .window = 1000000 });
    run_while(&h, is_not_full, c);
    size_t got = data_of(c, 0).n;
    call_disconnect(c);
    struct rpc_call *watch = connect_pid(&h, c->pid, &(struct call_options){ .window = 1 });
    call_disconnect(watch);
    run_while(&h, has_printed_less, &(struct progress){ .h = &h, .pid = c->pid, .n = COUNT_BYTES });
    struct rpc_call *d = connect_pid(&h, c->pid, NULL);
    run_until_text(&h, d, 0, "1250000\n");
    uint64_t offset = header(&d->headers, "sandpit-offset");
    uint64_t gap = header(&d->headers, "sandpit-gap");
    /* The one that looked in for a moment counts as having got what it took. */
    assert_true(gap + got + data_of(watch, 0).n == offset);
    assert_true(offset + data_of(d, 0).n == COUNT_BYTES);
    assert_in_range(data_of(d, 0).n, 262144 / 2, 262144);
    check_count(data_of(d, 0), offset);
    assert_in_range(process_registry_held(h.envd.processes), 1, 262144);
    harness_close(&h);
}

static void slow_only_reader_stops_the_process(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, count_script, &(struct call_options){ .window = 100000 });
    run_while(&h, ring_is_not_full, &h);
    run_some(&h, 100);
    /* It waits: a ring and a pipe full, no more, and nothing is lost. */
    assert_int_equal(process_registry_count(h.envd.processes), 1);
    assert_in_range(process_registry_held(h.envd.processes), 1, RING_BYTES_DEFAULT);
    call_open_window(c);
    run_until(&h, &c->closed);
    assert_int_equal(data_of(c, 0).n, COUNT_BYTES);
    check_count(data_of(c, 0), 0);
    assert_int_equal(buf_len(&c->trailers), 0);
    harness_close(&h);
}

static void stalled_reader_does_not_starve_another(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *slow =
        start_script(&h, count_script, &(struct call_options){ .window = 50000 });
    struct rpc_call *fast = connect_pid(&h, slow->pid, NULL);
    run_until(&h, &fast->closed);
    assert_int_equal(data_of(fast, 0).n, COUNT_BYTES);
    check_count(data_of(fast, 0), 0);
    assert_false(slow->finished);
    assert_in_range(process_registry_held(h.envd.processes), 1, RING_BYTES_DEFAULT);
    /* The slow one goes on with the newest bytes, and is told what it missed. */
    size_t before = data_of(slow, 0).n;
    call_open_window(slow);
    run_until(&h, &slow->closed);
    assert_true(slow->ended);
    uint64_t missed = header(&slow->trailers, "sandpit-gap");
    assert_true(missed + data_of(slow, 0).n == COUNT_BYTES);
    check_count((struct str){ data_of(slow, 0).p, before }, 0);
    check_count(str_from(data_of(slow, 0), before), before + missed);
    harness_close(&h);
}

static void leaving_reader_lets_the_process_go_on(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    char path[] = "/tmp/sandpit-test-XXXXXX", script[128];
    close(mkstemp(path));
    snprintf(script, sizeof(script), "%s; echo done >%s", count_script, path);
    struct rpc_call *c = start_script(&h, script, &(struct call_options){ .window = 1000 });
    run_some(&h, 200);
    assert_int_equal(process_registry_count(h.envd.processes), 1);
    call_disconnect(c);
    struct rpc_call *d = connect_pid(&h, c->pid, NULL);
    run_until(&h, &d->closed);
    assert_int_equal(d->exit_code, 0);
    unlink(path);
    harness_close(&h);
}

static void readers_attached_at_once_get_the_same(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct rpc_call *c = start_script(&h, "read x; echo out; echo err >&2; exit 7", NULL);
    struct rpc_call *d = connect_pid(&h, c->pid, NULL), *e = connect_pid(&h, c->pid, NULL);
    send_stdin(&h, c->pid, "\n");
    struct rpc_call *all[] = { c, d, e };
    for (size_t i = 0; i < 3; i++) {
        run_until(&h, &all[i]->closed);
        assert_str(data_of(all[i], 0), "out\n");
        assert_str(data_of(all[i], 1), "err\n");
        assert_int_equal(all[i]->exit_code, 7);
    }
    harness_close(&h);
}

static void ended_process_is_forgotten_in_time(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.retain_ms = 1000;
    harness_open_limits(&h, &limits);
    struct rpc_call *c = start_script(&h, "echo kept; exit 2", NULL);
    call_disconnect(c);
    run_while(&h, is_running, &h);
    /* A slow reader that was there in time is served to the end. */
    struct rpc_call *slow = connect_pid(&h, c->pid, &(struct call_options){ .window = 1 });
    struct rpc_call *d = connect_pid(
        &h, c->pid, &(struct call_options){ .header = "sandpit-replay", .value = "all" });
    run_until(&h, &d->closed);
    assert_str(data_of(d, 0), "kept\n");
    assert_int_equal(d->exit_code, 2);
    run_until(&h, &slow->closed);
    run_while(&h, is_known, &(struct progress){ .h = &h, .pid = c->pid });
    d = connect_pid(&h, c->pid, NULL);
    assert_int_equal(d->err.code, ERR_NOT_FOUND);
    char text[64];
    snprintf(text, sizeof(text), "process with pid %u not found", c->pid);
    assert_string_equal(d->err.msg, text);
    assert_int_equal(process_registry_held(h.envd.processes), 0);
    harness_close(&h);
}

static void expired_process_waits_for_its_readers(void **state)
{
    (void)state;
    struct harness h;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.retain_ms = 20;
    harness_open_limits(&h, &limits);
    struct rpc_call *c =
        start_script(&h, "head -c 300000 /dev/zero", &(struct call_options){ .window = 1000 });
    run_while(&h, is_running, &h);
    run_some(&h, 60);
    assert_false(c->finished);
    call_open_window(c);
    run_until(&h, &c->closed);
    assert_int_equal(data_of(c, 0).n, 300000);
    assert_true(c->ended);
    assert_int_equal(process_registry_held(h.envd.processes), 0);
    harness_close(&h);
}

static size_t keepalives(const struct rpc_call *c)
{
    size_t n = 0;
    struct str order = buf_str(&c->order);
    for (size_t i = 0; i < order.n; i++)
        n += order.p[i] == 'k';
    return n;
}

static bool has_no_keepalive(void *arg)
{
    return keepalives(arg) == 0;
}

static void keepalive_comes_on_a_silent_stream(void **state)
{
    (void)state;
    struct harness h;
    harness_open(&h);
    struct call_options o = { .header = "keepalive-ping-interval", .value = "1" };
    struct rpc_call *silent = start_script(&h, "exec sleep 20", &o);
    struct rpc_call *busy = start_script(&h, "while :; do echo; sleep 0.3; done", &o);
    run_while(&h, has_no_keepalive, silent);
    run_some(&h, 500);
    assert_int_equal(keepalives(silent), 1);
    assert_int_equal(keepalives(busy), 0);
    harness_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reconnect_in_the_middle_misses_nothing),
        cmocka_unit_test(what_had_not_arrived_comes_again),
        cmocka_unit_test(reconnect_to_a_small_ring_tells_the_gap),
        cmocka_unit_test(slow_only_reader_stops_the_process),
        cmocka_unit_test(stalled_reader_does_not_starve_another),
        cmocka_unit_test(leaving_reader_lets_the_process_go_on),
        cmocka_unit_test(readers_attached_at_once_get_the_same),
        cmocka_unit_test(ended_process_is_forgotten_in_time),
        cmocka_unit_test(expired_process_waits_for_its_readers),
        cmocka_unit_test(keepalive_comes_on_a_silent_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
