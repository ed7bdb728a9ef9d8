/* The QMP client against a server of this test's, on a real unix socket. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/vmm/qemu/qmp.h"
#include "orchestrator/vmm/unix_socket.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DEADLINE_MS 20000
#define PATIENT_MS  15000 /* a deadline that must not be met */
#define SHORT_MS    30    /* one that must */

static const char greeting[] = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "
                               "\"major\": 7}, \"package\": \"x\"}, \"capabilities\": [\"oob\"]}}"
                               "\r\n";

struct fixture {
    struct tempdir dir;
    uv_loop_t loop;
    struct qmp q;
    int listener, server; /* the test's ends */
    bool open, ready, lost, closed;
    bool close_on_event, close_on_lost;
    int64_t at_ns; /* of the last event */
    struct err err;
    char events[256]; /* names, each followed by a space */
    char reason[64];
};

static struct fixture *fixture_of(struct qmp *q)
{
    return container_of(q, struct fixture, q);
}

static void on_ready(struct qmp *q)
{
    fixture_of(q)->ready = true;
}

static void on_event(struct qmp *q, const char *name, const json_t *data, int64_t at_ns)
{
    struct fixture *f = fixture_of(q);
    const char *reason = json_string_value(json_object_get(data, "reason"));
    f->at_ns = at_ns;
    strncat(f->events, name, sizeof(f->events) - strlen(f->events) - 1);
    strncat(f->events, " ", sizeof(f->events) - strlen(f->events) - 1);
    if (reason)
        snprintf(f->reason, sizeof(f->reason), "%s", reason);
    if (f->close_on_event)
        qmp_close(q);
}

static void on_lost(struct qmp *q, const struct err *err)
{
    struct fixture *f = fixture_of(q);
    assert_false(f->lost);
    f->lost = true;
    f->err = *err;
    if (f->close_on_lost)
        qmp_close(q);
}

static void on_closed(struct qmp *q)
{
    fixture_of(q)->closed = true;
}

static const struct qmp_events events = {
    .on_ready = on_ready,
    .on_event = on_event,
    .on_lost = on_lost,
    .on_closed = on_closed,
};

struct answer {
    bool done;
    int failed;
    struct err err;
    char text[128];
};

static void on_answer(void *user, const json_t *result, const struct err *err)
{
    struct answer *a = user;
    assert_false(a->done);
    a->done = true;
    if (err) {
        a->failed = 1;
        a->err = *err;
        return;
    }
    char *text = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(a->text, sizeof(a->text), "%s", text ? text : "");
    free(text);
}

static void run_until(struct fixture *f, const bool *flag)
{
    int64_t due = clock_mono_ms() + DEADLINE_MS;
    while (!*flag) {
        assert_true(clock_mono_ms() < due);
        if (!uv_run(&f->loop, UV_RUN_NOWAIT) && !*flag)
            fail_msg("the loop has nothing left to wait for");
        struct pollfd p = { .fd = uv_backend_fd(&f->loop), .events = POLLIN };
        poll(&p, 1, 5);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    tempdir_init(&f->dir);
    uv_loop_init(&f->loop);
    f->server = -1;
    f->listener = unix_listen(tempdir_path(&f->dir, "qmp"));
    assert_true(f->listener >= 0);
    *state = f;
    return 0;
}

static void open_with(struct fixture *f, unsigned timeout_ms)
{
    struct err err;
    assert_int_equal(
        qmp_open(&f->q, &f->loop, tempdir_path(&f->dir, "qmp"), timeout_ms, &events, &err), 0);
    f->open = true;
    f->server = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(f->server >= 0);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->open)
        qmp_close(&f->q);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(!f->open || f->closed);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    if (f->server >= 0)
        close(f->server);
    close(f->listener);
    tempdir_deinit(&f->dir);
    free(f);
    return 0;
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(send(f->server, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line the client sent, without its end; a descriptor that came with it into *fd. */
static const char *hear_fd(struct fixture *f, int *fd)
{
    static char line[1024];
    size_t n = 0;
    int64_t due = clock_mono_ms() + DEADLINE_MS;
    for (;;) {
        char c, space[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { &c, 1 };
        struct msghdr m = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)
        };
        ssize_t got = recvmsg(f->server, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        assert_true(clock_mono_ms() < due);
        if (got < 0) {
            uv_run(&f->loop, UV_RUN_NOWAIT);
            continue;
        }
        assert_int_equal(got, 1);
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (h && fd)
            memcpy(fd, CMSG_DATA(h), sizeof(int));
        if (c == '\n')
            break;
        assert_true(n + 1 < sizeof(line));
        line[n++] = c;
    }
    line[n] = 0;
    return line;
}

static const char *hear(struct fixture *f)
{
    return hear_fd(f, NULL);
}

static void open_ready(struct fixture *f)
{
    open_with(f, PATIENT_MS);
    say(f, greeting);
    assert_string_equal(hear(f), "{\"execute\":\"qmp_capabilities\",\"id\":1}");
    assert_false(f->ready);
    say(f, "{\"return\": {}, \"id\": 1}\r\n");
    run_until(f, &f->ready);
}

static void test_open_refuses_missing_socket(void **state)
{
    struct fixture *f = *state;
    struct err err = { 0 };
    assert_int_equal(qmp_open(&f->q, &f->loop, tempdir_path(&f->dir, "none"), 10, &events, &err),
                     -ENOENT);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
}

static void test_open_negotiates_before_commands(void **state)
{
    struct fixture *f = *state;
    open_with(f, PATIENT_MS);
    assert_int_equal(qmp_execute(&f->q, "cont", NULL, 1, on_answer, NULL), -ENOTCONN);
}

static void test_execute_returns_the_result(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 }, b = { 0 };
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "query-status", NULL, PATIENT_MS, on_answer, &a), 0);
    assert_int_equal(qmp_execute(&f->q, "set_link", json_pack("{s:s,s:b}", "name", "n\"1", "up", 0),
                                 PATIENT_MS, on_answer, &b),
                     0);
    assert_string_equal(hear(f), "{\"execute\":\"query-status\",\"id\":2}");
    assert_string_equal(hear(f), "{\"execute\":\"set_link\",\"id\":3,\"arguments\":{\"name\":"
                                 "\"n\\\"1\",\"up\":false}}");
    assert_false(a.done);
    /* In pieces, two in one, an event between. */
    say(f, "{\"return\": {\"run");
    uv_run(&f->loop, UV_RUN_NOWAIT);
    say(f, "ning\": true}, \"id\": 2}\r\n{\"timestamp\": {}, \"event\": \"STOP\"}\n"
           "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Device 'n' not found\"}, "
           "\"id\": 3}\r\n");
    run_until(f, &b.done);
    assert_true(a.done);
    assert_string_equal(a.text, "{\"running\":true}");
    assert_true(b.failed);
    assert_int_equal(b.err.code, ERR_ABORTED);
    assert_non_null(strstr(b.err.msg, "Device 'n' not found"));
    assert_string_equal(f->events, "STOP ");
    assert_false(f->lost);
}

static void test_events_carry_their_time(void **state)
{
    static const struct {
        const char *timestamp;
        int64_t ns;
    } cases[] = {
        { "{\"seconds\": 1795888409, \"microseconds\": 274397}", 1795888409274397000 },
        { "{\"seconds\": 1795888409, \"microseconds\": 1000000}", 0 },
        { "{\"seconds\": -1, \"microseconds\": -1}", 0 },
        { "{\"seconds\": 9223372036854775807, \"microseconds\": 0}", 0 },
        { "{\"seconds\": \"1\"}", 0 },
        { "7", 0 },
    };
    struct fixture *f = *state;
    char line[160];
    open_ready(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->events[0] = '\0';
        snprintf(line, sizeof(line), "{\"timestamp\": %s, \"event\": \"STOP\"}\r\n",
                 cases[i].timestamp);
        say(f, line);
        while (!f->events[0] && !f->lost)
            uv_run(&f->loop, UV_RUN_ONCE);
        assert_int_equal(f->at_ns, cases[i].ns);
    }
}

static void test_events_carry_their_data(void **state)
{
    struct fixture *f = *state;
    open_ready(f);
    say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": "
           "\"guest-panic\"}}\r\n");
    close(f->server);
    f->server = -1;
    run_until(f, &f->lost);
    assert_string_equal(f->events, "SHUTDOWN ");
    assert_string_equal(f->reason, "guest-panic");
    assert_int_equal(f->at_ns, 0);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
}

static void test_command_past_its_deadline(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 }, b = { 0 };
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "stop", NULL, SHORT_MS, on_answer, &a), 0);
    run_until(f, &a.done);
    assert_int_equal(a.err.code, ERR_DEADLINE);
    assert_false(f->lost);
    /* Its late answer belongs to nobody, and the next command works. */
    assert_int_equal(qmp_execute(&f->q, "cont", NULL, PATIENT_MS, on_answer, &b), 0);
    say(f, "{\"return\": {}, \"id\": 2}\n{\"return\": 7, \"id\": 3}\n");
    run_until(f, &b.done);
    assert_string_equal(b.text, "7");
    assert_false(f->lost);
}

static void test_deadlines_of_several_commands(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 }, b = { 0 }, c = { 0 };
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "a", NULL, PATIENT_MS, on_answer, &a), 0);
    assert_int_equal(qmp_execute(&f->q, "b", NULL, 2 * SHORT_MS, on_answer, &b), 0);
    assert_int_equal(qmp_execute(&f->q, "c", NULL, SHORT_MS, on_answer, &c), 0);
    run_until(f, &c.done);
    run_until(f, &b.done);
    assert_int_equal(b.err.code, ERR_DEADLINE);
    assert_int_equal(c.err.code, ERR_DEADLINE);
    assert_false(a.done);
}

static void test_silent_server_is_lost(void **state)
{
    struct fixture *f = *state;
    open_with(f, SHORT_MS);
    run_until(f, &f->lost);
    assert_false(f->ready);
    assert_int_equal(f->err.code, ERR_DEADLINE);
}

static void test_greeting_without_negotiation_is_lost(void **state)
{
    struct fixture *f = *state;
    open_with(f, 4 * SHORT_MS);
    say(f, greeting);
    run_until(f, &f->lost);
    assert_int_equal(f->err.code, ERR_DEADLINE);
}

static void check_garbage(struct fixture *f, const char *text, const char *words)
{
    struct answer a = { 0 };
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "stop", NULL, PATIENT_MS, on_answer, &a), 0);
    say(f, text);
    run_until(f, &f->lost);
    assert_true(a.done);
    assert_int_equal(a.err.code, ERR_UNAVAILABLE);
    if (!strstr(f->err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", f->err.msg, words);
    assert_int_equal(qmp_execute(&f->q, "stop", NULL, 1, on_answer, &a), -ENOTCONN);
}

static void test_garbage_is_lost(void **state)
{
    check_garbage(*state, "HTTP/1.1 200 OK\r\n", "no JSON object");
}

static void test_array_is_lost(void **state)
{
    check_garbage(*state, "[1, 2]\n", "no JSON object");
}

static void test_duplicate_keys_are_lost(void **state)
{
    check_garbage(*state, "{\"return\": 1, \"return\": 2, \"id\": 2}\n", "no JSON object");
}

static void test_odd_message_is_lost(void **state)
{
    check_garbage(*state, "{\"hello\": 1}\n", "odd message");
}

static void test_unknown_answer_is_lost(void **state)
{
    check_garbage(*state, "{\"return\": {}, \"id\": 99}\n", "not sent");
}

static void test_answer_without_id_is_lost(void **state)
{
    check_garbage(*state, "{\"return\": {}}\n", "not sent");
}

static void test_wrong_greeting_is_lost(void **state)
{
    struct fixture *f = *state;
    open_with(f, PATIENT_MS);
    say(f, "{\"event\": \"STOP\"}\n");
    run_until(f, &f->lost);
    assert_string_equal(f->events, "");
    assert_non_null(strstr(f->err.msg, "no greeting"));
}

/* Write without end while the loop runs, until the client gives up. */
static size_t flood(struct fixture *f, char c)
{
    static char block[65536];
    size_t sent = 0;
    memset(block, c, sizeof(block));
    while (!f->lost && sent < 16 * (size_t)QMP_LINE_MAX) {
        ssize_t n = send(f->server, block, sizeof(block), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            sent += (size_t)n;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    return sent;
}

static void test_huge_line_is_lost(void **state)
{
    struct fixture *f = *state;
    open_ready(f);
    size_t sent = flood(f, 'x');
    assert_true(f->lost);
    assert_true(sent < 2 * (size_t)QMP_LINE_MAX);
    assert_non_null(strstr(f->err.msg, "more than 1048576 bytes"));
}

static void test_large_answer_is_taken(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 };
    size_t n = QMP_LINE_MAX - 64, sent = 0;
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "qom-list", NULL, PATIENT_MS, on_answer, &a), 0);
    AUTO_FREE char *text = malloc(n + 64);
    memset(text, 'y', n);
    memcpy(text, "{\"id\": 2, \"return\": \"", 21);
    strcpy(text + n, "\"}\n");
    n = strlen(text);
    while (sent < n) {
        ssize_t w = send(f->server, text + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (w > 0)
            sent += (size_t)w;
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    run_until(f, &a.done);
    assert_false(a.failed);
    assert_false(f->lost);
}

static void test_descriptors_go_with_their_commands(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    int got = -1;
    struct stat sent_st, got_st;
    tempdir_write(&f->dir, "state", "device state");
    AUTO_CLOSE int fd = open(tempdir_path(&f->dir, "state"), O_RDONLY | O_CLOEXEC);
    open_ready(f);
    assert_int_equal(qmp_execute(&f->q, "stop", NULL, PATIENT_MS, on_answer, &a), 0);
    assert_int_equal(qmp_execute_fd(&f->q, "getfd", json_pack("{s:s}", "fdname", "snap"), fd,
                                    PATIENT_MS, on_answer, &b),
                     0);
    assert_int_equal(qmp_execute_fd(&f->q, "add-fd", NULL, fd, PATIENT_MS, on_answer, &c), 0);
    assert_int_equal(qmp_execute(&f->q, "cont", NULL, PATIENT_MS, on_answer, &d), 0);
    assert_string_equal(hear_fd(f, &got), "{\"execute\":\"stop\",\"id\":2}");
    assert_int_equal(got, -1);
    assert_string_equal(hear_fd(f, &got),
                        "{\"execute\":\"getfd\",\"id\":3,\"arguments\":{\"fdname\":\"snap\"}}");
    assert_true(got >= 0 && got != fd);
    assert_int_equal(fstat(fd, &sent_st), 0);
    assert_int_equal(fstat(got, &got_st), 0);
    assert_int_equal(sent_st.st_ino, got_st.st_ino);
    close(got);
    got = -1;
    assert_string_equal(hear_fd(f, &got), "{\"execute\":\"add-fd\",\"id\":4}");
    assert_true(got >= 0);
    close(got);
    got = -1;
    assert_string_equal(hear_fd(f, &got), "{\"execute\":\"cont\",\"id\":5}");
    assert_int_equal(got, -1);
    say(f, "{\"return\": {}, \"id\": 2}\n{\"return\": {}, \"id\": 3}\n"
           "{\"return\": {}, \"id\": 4}\n{\"return\": {}, \"id\": 5}\n");
    run_until(f, &d.done);
    assert_false(b.failed || c.failed || d.failed);
}

static void test_close_in_an_event(void **state)
{
    struct fixture *f = *state;
    struct answer a = { 0 };
    open_ready(f);
    f->close_on_event = true;
    assert_int_equal(qmp_execute(&f->q, "stop", NULL, PATIENT_MS, on_answer, &a), 0);
    say(f, "{\"event\": \"RESET\"}\n{\"event\": \"STOP\"}\n{\"return\": {}, \"id\": 2}\n");
    run_until(f, &f->closed);
    assert_string_equal(f->events, "RESET ");
    assert_false(a.done);
    f->open = false;
    f->closed = false;
}

static void test_close_when_lost(void **state)
{
    struct fixture *f = *state;
    open_ready(f);
    f->close_on_lost = true;
    say(f, "}\n");
    run_until(f, &f->closed);
    assert_true(f->lost);
    f->open = false;
}

static void test_drain_takes_the_last_words(void **state)
{
    struct fixture *f = *state;
    open_ready(f);
    say(f, "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-reset\"}}\n");
    qmp_drain(&f->q);
    assert_string_equal(f->reason, "guest-reset");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_open_refuses_missing_socket),
        TEST(test_open_negotiates_before_commands),
        TEST(test_execute_returns_the_result),
        TEST(test_events_carry_their_time),
        TEST(test_events_carry_their_data),
        TEST(test_command_past_its_deadline),
        TEST(test_deadlines_of_several_commands),
        TEST(test_silent_server_is_lost),
        TEST(test_greeting_without_negotiation_is_lost),
        TEST(test_garbage_is_lost),
        TEST(test_array_is_lost),
        TEST(test_duplicate_keys_are_lost),
        TEST(test_odd_message_is_lost),
        TEST(test_unknown_answer_is_lost),
        TEST(test_answer_without_id_is_lost),
        TEST(test_wrong_greeting_is_lost),
        TEST(test_huge_line_is_lost),
        TEST(test_large_answer_is_taken),
        TEST(test_descriptors_go_with_their_commands),
        TEST(test_close_in_an_event),
        TEST(test_close_when_lost),
        TEST(test_drain_takes_the_last_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
