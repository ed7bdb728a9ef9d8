/* The gRPC server on a loop in a thread of its own, and the blocking client in this one. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator.pb-c.h"
#include "orchestrator/node/client.h"
#include "orchestrator/node/server.h"
#include "orchestrator/node/socket_name.h"
#include "tests/support/tempdir.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define GRACE_MS     300
#define FLOOD_BYTES  65536
#define FLOOD_ENOUGH 1000
#define CALLERS      4
#define CALLS_EACH   500

typedef Sandpit__Node__V1__GetSandboxRequest text_message;

struct world {
    struct tempdir dir;
    uv_thread_t thread;
    uv_loop_t loop;
    struct loop_turn turn;
    uv_async_t stop;
    uv_barrier_t ready;
    struct node_server *server;
    struct node_call *held; /* by the method Hold */
    atomic_int flooded, gone, answered;
    int counted; /* on the loop */
    bool stopped, freed;
    bool stop_asked; /* once: its handle closes */
};

static void echo(struct node_call *c)
{
    node_call_reply(c, c->request);
}

static void refuse(struct node_call *c)
{
    struct err err;
    err_fill(&err, ERR_PRECONDITION, "not like this: %s", ((const text_message *)c->request)->id);
    node_call_fail(c, &err);
}

/* As gRPC does with a call that comes while the server shuts down. */
static void cancel(struct node_call *c)
{
    struct err err;
    err_fill(&err, ERR_CANCELED, "CANCELLED");
    node_call_fail(c, &err);
}

static void count_call(struct node_call *c)
{
    struct world *w = c->service;
    w->counted++;
    node_call_reply(c, c->request);
}

/* Answered when the server has stopped already. */
static void hold(struct node_call *c)
{
    struct world *w = c->service;
    w->held = c;
}

static void on_flood_ready(struct node_call *c)
{
    struct world *w = c->service;
    char text[FLOOD_BYTES + 1];
    text_message m = SANDPIT__NODE__V1__GET_SANDBOX_REQUEST__INIT;
    memset(text, 'x', FLOOD_BYTES);
    text[FLOOD_BYTES] = '\0';
    m.id = text;
    if (atomic_fetch_add(&w->flooded, 1) < FLOOD_ENOUGH)
        node_stream_send(c, &m.base);
    else
        node_stream_end(c);
}

static void on_gone(struct node_call *c)
{
    struct world *w = c->service;
    atomic_fetch_add(&w->gone, 1);
}

static void flood(struct node_call *c)
{
    static const struct node_stream_events events = { on_flood_ready, on_gone };
    node_stream_open(c, &events);
}

static void on_idle_ready(struct node_call *c)
{
    (void)c;
}

static void idle(struct node_call *c)
{
    static const struct node_stream_events events = { on_idle_ready, on_gone };
    node_stream_open(c, &events);
}

#define TEXT &sandpit__node__v1__get_sandbox_request__descriptor
/* Some are answered by gRPC's thread, some by the loop's. */
static const struct node_method methods[] = {
    { .path = "/test.v1.Test/Echo", .input = TEXT, .start = echo, .quick = true },
    { .path = "/test.v1.Test/Refuse", .input = TEXT, .start = refuse },
    { .path = "/test.v1.Test/Cancel", .input = TEXT, .start = cancel },
    { .path = "/test.v1.Test/Hold", .input = TEXT, .start = hold },
    { .path = "/test.v1.Test/Count", .input = TEXT, .start = count_call },
    { .path = "/test.v1.Test/CountQuick", .input = TEXT, .start = count_call, .quick = true },
    { .path = "/test.v1.Test/Flood", .input = TEXT, .start = flood, .stream = true, .quick = true },
    { .path = "/test.v1.Test/Idle", .input = TEXT, .start = idle, .stream = true },
    { NULL },
};

static void on_freed(void *user)
{
    struct world *w = user;
    w->freed = true;
}

static void on_stopped(void *user)
{
    struct world *w = user;
    struct err late;
    w->stopped = true;
    node_server_free(w->server, on_freed, w);
    assert_false(w->freed);
    err_fill(&late, ERR_INTERNAL, "too late");
    if (w->held)
        node_call_fail(w->held, &late);
}

static void on_stop(uv_async_t *a)
{
    struct world *w = container_of(a, struct world, stop);
    uv_close((uv_handle_t *)a, NULL);
    node_server_stop(w->server, GRACE_MS, on_stopped, w);
}

static void run(void *arg)
{
    struct world *w = arg;
    struct err err;
    uv_loop_init(&w->loop);
    loop_turn_init(&w->turn, &w->loop);
    uv_async_init(&w->loop, &w->stop, on_stop);
    struct node_server_options options = { .turn = &w->turn,
                                           .methods = methods,
                                           .user = w,
                                           .socket_path = tempdir_path(&w->dir, NODE_SOCKET_NAME) };
    loop_turn_take(&w->turn);
    int rc = node_server_new(&w->server, &options, &err);
    loop_turn_end(&w->turn);
    uv_barrier_wait(&w->ready);
    if (rc == 0)
        loop_turn_run(&w->turn);
    loop_turn_deinit(&w->turn);
    uv_loop_close(&w->loop);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    tempdir_init(&w->dir);
    uv_barrier_init(&w->ready, 2);
    uv_thread_create(&w->thread, run, w);
    if (uv_barrier_wait(&w->ready) > 0)
        uv_barrier_destroy(&w->ready);
    *state = w;
    return 0;
}

static void begin_stop(struct world *w)
{
    if (!w->stop_asked)
        uv_async_send(&w->stop);
    w->stop_asked = true;
}

static void stop(struct world *w)
{
    begin_stop(w);
    uv_thread_join(&w->thread);
    assert_true(w->stopped && w->freed);
    assert_false(tempdir_exists(&w->dir, NODE_SOCKET_NAME));
    tempdir_deinit(&w->dir);
    free(w);
}

static int teardown(void **state)
{
    stop(*state);
    return 0;
}

static struct node_client *connect_to(struct world *w)
{
    struct node_client *c = NULL;
    struct err err;
    assert_int_equal(node_client_open(&c, w->dir.path, &err), 0);
    return c;
}

static int call(struct node_client *c, const char *path, const char *text, unsigned timeout_s,
                struct arena *arena, const text_message **answer, struct err *err)
{
    text_message m = SANDPIT__NODE__V1__GET_SANDBOX_REQUEST__INIT;
    const ProtobufCMessage *got = NULL;
    m.id = (char *)(uintptr_t)text;
    int rc = node_client_call(c, path, &m.base, TEXT, timeout_s, arena, &got, err);
    *answer = (const void *)got;
    return rc;
}

static void test_a_call_is_answered(void **state)
{
    struct node_client *c = connect_to(*state);
    struct arena arena = { 0 };
    const text_message *answer;
    struct err err;
    assert_int_equal(call(c, "/test.v1.Test/Echo", "hello", 10, &arena, &answer, &err), 0);
    assert_string_equal(answer->id, "hello");
    arena_deinit(&arena);
    node_client_close(c);
}

static void call_often(void *arg)
{
    struct world *w = arg;
    struct node_client *c = connect_to(w);
    for (int i = 0; i < CALLS_EACH; i++) {
        struct arena arena = { 0 };
        const text_message *answer;
        struct err err;
        const char *path = i % 3 ? "/test.v1.Test/CountQuick" : "/test.v1.Test/Count";
        if (call(c, path, "", 60, &arena, &answer, &err) == 0)
            atomic_fetch_add(&w->answered, 1);
        arena_deinit(&arena);
    }
    node_client_close(c);
}

/* What handlers change has no lock of its own. */
static void test_handlers_of_both_threads_exclude_each_other(void **state)
{
    struct world *w = *state;
    uv_thread_t callers[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        uv_thread_create(&callers[i], call_often, w);
    for (int i = 0; i < CALLERS; i++)
        uv_thread_join(&callers[i]);
    assert_int_equal(atomic_load(&w->answered), CALLERS * CALLS_EACH);
    loop_turn_take(&w->turn);
    assert_int_equal(w->counted, CALLERS * CALLS_EACH);
    loop_turn_end(&w->turn);
}

static void test_an_error_has_its_code_and_sentence(void **state)
{
    struct node_client *c = connect_to(*state);
    struct arena arena = { 0 };
    const text_message *answer;
    struct err err;
    assert_int_equal(call(c, "/test.v1.Test/Refuse", "\xc3\xa4", 10, &arena, &answer, &err), -EIO);
    assert_int_equal(err.code, ERR_PRECONDITION);
    assert_string_equal(err.msg, "not like this: \xc3\xa4");
    assert_int_equal(call(c, "/test.v1.Test/None", "", 10, &arena, &answer, &err), -EIO);
    assert_int_equal(err.code, ERR_UNIMPLEMENTED);
    assert_string_equal(err.msg, "there is no method /test.v1.Test/None");
    arena_deinit(&arena);
    node_client_close(c);
}

static void test_a_call_that_grpc_cancelled_says_that_no_daemon_took_it(void **state)
{
    struct node_client *c = connect_to(*state);
    struct arena arena = { 0 };
    const text_message *answer;
    struct err err;
    assert_int_equal(call(c, "/test.v1.Test/Cancel", "", 10, &arena, &answer, &err), -EIO);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "the daemon stopped before it took the call");
    arena_deinit(&arena);
    node_client_close(c);
}

static struct node_stream *begin(struct node_client *c, const char *path)
{
    text_message m = SANDPIT__NODE__V1__GET_SANDBOX_REQUEST__INIT;
    return node_client_stream(c, path, &m.base, TEXT);
}

static void test_a_stream_ends_well_after_its_messages(void **state)
{
    struct node_client *c = connect_to(*state);
    struct node_stream *s = begin(c, "/test.v1.Test/Flood");
    const ProtobufCMessage *m;
    struct err err;
    int n = 0, rc;
    for (;;) {
        struct arena arena = { 0 };
        rc = node_stream_read(s, &arena, &m, &err);
        if (rc == 1)
            assert_int_equal(strlen(((const text_message *)m)->id), FLOOD_BYTES);
        arena_deinit(&arena);
        if (rc != 1)
            break;
        n++;
    }
    assert_int_equal(rc, 0);
    assert_int_equal(n, FLOOD_ENOUGH);
    node_stream_close(s);
    node_client_close(c);
}

/* Wait until a number of the loop's thread stands still, and give it. */
static int settled(atomic_int *number)
{
    int last = -1, now;
    for (int64_t since = clock_mono_ms(); clock_mono_ms() - since < 200;) {
        now = atomic_load(number);
        if (now != last)
            since = clock_mono_ms();
        last = now;
        uv_sleep(1);
    }
    return last;
}

static void test_a_slow_reader_holds_the_sender_up(void **state)
{
    struct world *w = *state;
    struct node_client *c = connect_to(w);
    struct node_stream *s = begin(c, "/test.v1.Test/Flood");
    int sent = settled(&w->flooded);
    assert_in_range(sent, 1, FLOOD_ENOUGH / 2);
    assert_int_equal(atomic_load(&w->gone), 0);
    node_stream_close(s);
    while (atomic_load(&w->gone) == 0)
        uv_sleep(1);
    node_client_close(c);
}

static void test_a_cancelled_stream_is_told_once(void **state)
{
    struct world *w = *state;
    struct node_client *c = connect_to(w);
    for (int i = 1; i <= 20; i++) {
        struct node_stream *s = begin(c, i % 2 ? "/test.v1.Test/Idle" : "/test.v1.Test/Flood");
        node_stream_close(s);
        while (atomic_load(&w->gone) < i)
            uv_sleep(1);
    }
    assert_int_equal(settled(&w->gone), 20);
    node_client_close(c);
}

static void test_stopping_ends_a_stream_with_a_status(void **state)
{
    struct world *w = *state;
    struct node_client *c = connect_to(w);
    struct node_stream *s = begin(c, "/test.v1.Test/Idle");
    const ProtobufCMessage *m;
    struct arena arena = { 0 };
    struct err err;
    begin_stop(w);
    assert_int_equal(node_stream_read(s, &arena, &m, &err), -EIO);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_string_equal(err.msg, "the daemon is stopping");
    node_stream_close(s);
    node_client_close(c);
    arena_deinit(&arena);
}

/* The handler has it past the client's deadline and beyond the grace; it is answered in on_stopped.
 */
static void test_a_call_may_be_answered_after_everything(void **state)
{
    struct world *w = *state;
    struct node_client *c = connect_to(w);
    struct arena arena = { 0 };
    const text_message *answer;
    struct err err;
    assert_int_equal(call(c, "/test.v1.Test/Hold", "", 1, &arena, &answer, &err), -EIO);
    assert_int_equal(err.code, ERR_DEADLINE);
    begin_stop(w);
    arena_deinit(&arena);
    node_client_close(c);
}

static void test_no_daemon_is_told(void **state)
{
    (void)state;
    struct tempdir dir;
    struct node_client *c;
    struct err err;
    tempdir_init(&dir);
    assert_int_equal(node_client_open(&c, dir.path, &err), -ENOENT);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "no daemon runs here"));
    tempdir_deinit(&dir);
}

static int count(const char *path)
{
    int n = -2; /* "." and ".." */
    DIR *d = opendir(path);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void one_round(void)
{
    void *state;
    setup(&state);
    test_a_call_is_answered(&state);
    test_a_cancelled_stream_is_told_once(&state);
    stop(state);
}

#ifdef __SANITIZE_THREAD__
#define THREADS_LEFT 2 /* ThreadSanitizer has one */
#else
#define THREADS_LEFT 1
#endif

/* gRPC's own threads end by themselves soon after it was shut down, and close what they had. */
static void wait_for_quiet(int files_max)
{
    int64_t deadline = clock_mono_ms() + 20000;
    while ((count("/proc/self/task") > THREADS_LEFT || count("/proc/self/fd") > files_max) &&
           clock_mono_ms() < deadline)
        uv_sleep(1);
    assert_int_equal(count("/proc/self/task"), THREADS_LEFT);
}

static void test_nothing_is_left_after_the_shutdown(void **state)
{
    (void)state;
    one_round();
    wait_for_quiet(INT_MAX);
    int files = count("/proc/self/fd"); /* with what gRPC opens once and for all */
    for (int i = 0; i < 3; i++)
        one_round();
    wait_for_quiet(files);
    assert_int_equal(count("/proc/self/fd"), files);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_a_call_is_answered),
        WITH_SERVER(test_handlers_of_both_threads_exclude_each_other),
        WITH_SERVER(test_an_error_has_its_code_and_sentence),
        WITH_SERVER(test_a_call_that_grpc_cancelled_says_that_no_daemon_took_it),
        WITH_SERVER(test_a_stream_ends_well_after_its_messages),
        WITH_SERVER(test_a_slow_reader_holds_the_sender_up),
        WITH_SERVER(test_a_cancelled_stream_is_told_once),
        WITH_SERVER(test_stopping_ends_a_stream_with_a_status),
        WITH_SERVER(test_a_call_may_be_answered_after_everything),
        cmocka_unit_test(test_no_daemon_is_told),
        cmocka_unit_test(test_nothing_is_left_after_the_shutdown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
