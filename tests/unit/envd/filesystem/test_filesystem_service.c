#include "envd/core/envd.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "envd/filesystem/service.h"
#include "tests/support/fake_stream.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Calls by Connect JSON, as the clients make them. */
struct fixture {
    struct tempdir dir;
    uv_loop_t loop;
    struct envd envd;
    struct rpc_server rpc;
    struct fake_stream f;
    bool is_open;
    char passwd[PATH_MAX];
    json_t *answer;
};

static const struct rpc_method *const tables[] = { filesystem_methods, NULL };

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof(*x));
    char line[PATH_MAX + 128];
    assert_non_null(x);
    tempdir_init_in_memory(&x->dir);
    tempdir_mkdir(&x->dir, "home");
    snprintf(line, sizeof(line), "tester:x:%d:%d::%s:/bin/sh\n", (int)geteuid(), (int)getegid(),
             tempdir_path(&x->dir, "home"));
    tempdir_write(&x->dir, "passwd", line);
    strcpy(x->passwd, tempdir_path(&x->dir, "passwd"));
    user_set_files(x->passwd, "/etc/group");
    assert_int_equal(uv_loop_init(&x->loop), 0);
    x->envd.loop = &x->loop;
    defer_queue_init(&x->envd.defer, &x->loop);
    strcpy(x->envd.default_user, "tester");
    x->rpc = (struct rpc_server){
        .loop = &x->loop, .defer = &x->envd.defer, .tables = tables, .context = &x->envd
    };
    *state = x;
    return 0;
}

static void end_call(struct fixture *x)
{
    if (x->is_open)
        fake_stream_deinit(&x->f);
    x->is_open = false;
    json_decref(x->answer);
    x->answer = NULL;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    end_call(x);
    service_stop_watches(&x->envd);
    defer_queue_close(&x->envd.defer);
    uv_run(&x->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&x->loop), 0);
    rpc_server_deinit(&x->rpc);
    tempdir_deinit(&x->dir);
    free(x);
    return 0;
}

static void begin(struct fixture *x, const char *method, const char *authorization, json_t *body)
{
    static char target[128];
    AUTO_FREE char *text = json_dumps(body, 0);
    json_decref(body);
    end_call(x);
    snprintf(target, sizeof(target), "/filesystem.Filesystem/%s", method);
    fake_stream_init(&x->f, "POST", target);
    x->is_open = true;
    fake_stream_add(&x->f, "content-type", "application/json");
    if (authorization)
        fake_stream_add(&x->f, "authorization", authorization);
    rpc_server_accept(&x->rpc, &x->f.s, &x->f.request);
    fake_stream_data(&x->f, text, strlen(text));
    fake_stream_end(&x->f);
}

/* Make the call and run the loop until it is answered; the answer's JSON, borrowed. */
static json_t *call(struct fixture *x, const char *method, json_t *body)
{
    begin(x, method, NULL, body);
    for (int turns = 0; !x->f.ended && turns < 100000; turns++)
        uv_run(&x->loop, UV_RUN_ONCE);
    assert_true(x->f.ended);
    struct str text = buf_str(&x->f.body);
    x->answer = json_loadb(text.p, text.n, 0, NULL);
    assert_non_null(x->answer);
    return x->answer;
}

static void assert_error(const struct fixture *x, int status, const char *code)
{
    assert_int_equal(x->f.status, status);
    assert_string_equal(json_string_value(json_object_get(x->answer, "code")), code);
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void test_stat(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a", "hello");
    json_t *entry = json_object_get(call(x, "Stat", json_pack("{s:s}", "path", "a")), "entry");
    assert_string_equal(text_of(entry, "name"), "a");
    assert_string_equal(text_of(entry, "path"), tempdir_path(&x->dir, "home/a"));
    assert_string_equal(text_of(entry, "type"), "FILE_TYPE_FILE");
    assert_string_equal(text_of(entry, "size"), "5");
    assert_string_equal(text_of(entry, "permissions"), "-rw-r--r--");
    assert_int_equal(json_integer_value(json_object_get(entry, "mode")), 0644);
    assert_null(json_object_get(entry, "symlinkTarget"));
    assert_null(json_object_get(entry, "metadata"));
    call(x, "Stat", json_pack("{s:s}", "path", "missing"));
    assert_error(x, 404, "not_found");
    call(x, "Stat", json_pack("{s:s}", "path", "~ghost/x"));
    assert_error(x, 400, "invalid_argument");
}

static void test_users(void **state)
{
    struct fixture *x = *state;
    struct buf header = { 0 };
    buf_puts(&header, "Basic ");
    base64_encode(&header, "ghost:", 6, true);
    AUTO_FREE char *text = buf_take_text(&header);
    begin(x, "Stat", text, json_pack("{s:s}", "path", "/"));
    assert_int_equal(x->f.status, 401);
    assert_non_null(strstr((const char *)buf_head(&x->f.body), "invalid username: 'ghost'"));
}

static void test_make_dir_and_move(void **state)
{
    struct fixture *x = *state;
    json_t *a = call(x, "MakeDir", json_pack("{s:s}", "path", "d/e"));
    assert_string_equal(text_of(json_object_get(a, "entry"), "type"), "FILE_TYPE_DIRECTORY");
    assert_string_equal(text_of(json_object_get(a, "entry"), "permissions"), "drwxr-xr-x");
    call(x, "MakeDir", json_pack("{s:s}", "path", "d/e"));
    assert_error(x, 409, "already_exists");
    a = call(x, "Move", json_pack("{s:s,s:s}", "source", "d/e", "destination", "m/n"));
    assert_string_equal(text_of(json_object_get(a, "entry"), "path"),
                        tempdir_path(&x->dir, "home/m/n"));
    call(x, "Move", json_pack("{s:s,s:s}", "source", "d/e", "destination", "m/n"));
    assert_error(x, 404, "not_found");
}

static void test_list_dir(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/b", "");
    tempdir_write(&x->dir, "home/a/c", "");
    json_t *entries =
        json_object_get(call(x, "ListDir", json_pack("{s:s}", "path", "")), "entries");
    assert_int_equal(json_array_size(entries), 2);
    assert_string_equal(text_of(json_array_get(entries, 0), "name"), "a");
    assert_string_equal(text_of(json_array_get(entries, 1), "name"), "b");
    entries = json_object_get(call(x, "ListDir", json_pack("{s:s,s:i}", "path", ".", "depth", 2)),
                              "entries");
    assert_int_equal(json_array_size(entries), 3);
    call(x, "ListDir", json_pack("{s:s}", "path", "b"));
    assert_error(x, 400, "invalid_argument");
    call(x, "ListDir", json_pack("{s:s}", "path", "missing"));
    assert_error(x, 404, "not_found");
}

static void make_many(struct fixture *x, int n)
{
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof(name), "home/many/%d", i);
        tempdir_write(&x->dir, name, "");
    }
}

static void test_a_large_list_takes_several_turns(void **state)
{
    struct fixture *x = *state;
    make_many(x, 2500);
    begin(x, "ListDir", NULL, json_pack("{s:s}", "path", "many"));
    assert_false(x->f.ended);
    json_t *a = call(x, "ListDir", json_pack("{s:s}", "path", "many"));
    assert_int_equal(json_array_size(json_object_get(a, "entries")), 2500);
    /* The client goes away in the middle. */
    begin(x, "ListDir", NULL, json_pack("{s:s}", "path", "many"));
    uv_run(&x->loop, UV_RUN_NOWAIT);
    assert_false(x->f.ended);
    end_call(x);
}

static void test_remove(void **state)
{
    struct fixture *x = *state;
    make_many(x, 100);
    tempdir_write(&x->dir, "home/f", "");
    assert_int_equal(json_object_size(call(x, "Remove", json_pack("{s:s}", "path", "f"))), 0);
    assert_int_equal(x->f.status, 200);
    assert_false(tempdir_exists(&x->dir, "home/f"));
    call(x, "Remove", json_pack("{s:s}", "path", "many"));
    assert_int_equal(x->f.status, 200);
    assert_false(tempdir_exists(&x->dir, "home/many"));
    call(x, "Remove", json_pack("{s:s}", "path", "missing"));
    assert_int_equal(x->f.status, 200);
    call(x, "Remove", json_pack("{s:s}", "path", "/"));
    assert_error(x, 400, "invalid_argument");
}

#define POOL_THREADS_MAX 16 /* more than libuv has by default */

static uv_sem_t gate;

static void wait_at_gate(uv_work_t *work)
{
    (void)work;
    uv_sem_wait(&gate);
}

static void past_gate(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

/* The removal waits for a thread when the client goes. */
static void test_remove_stops_without_the_client(void **state)
{
    struct fixture *x = *state;
    uv_work_t blockers[POOL_THREADS_MAX];
    make_many(x, 100);
    assert_int_equal(uv_sem_init(&gate, 0), 0);
    for (int i = 0; i < POOL_THREADS_MAX; i++)
        uv_queue_work(&x->loop, &blockers[i], wait_at_gate, past_gate);
    begin(x, "Remove", NULL, json_pack("{s:s}", "path", "many"));
    end_call(x);
    for (int i = 0; i < POOL_THREADS_MAX; i++)
        uv_sem_post(&gate);
    uv_run(&x->loop, UV_RUN_DEFAULT);
    uv_sem_destroy(&gate);
    assert_true(tempdir_exists(&x->dir, "home/many"));
    call(x, "Remove", json_pack("{s:s}", "path", "many"));
    assert_int_equal(x->f.status, 200);
    assert_false(tempdir_exists(&x->dir, "home/many"));
}

/* ---- watches ---- */

static void begin_watch(struct fixture *x, json_t *body, const char *keepalive)
{
    AUTO_FREE char *text = json_dumps(body, 0);
    size_t n = strlen(text);
    uint8_t head[5] = { 0, 0, 0, (uint8_t)(n >> 8), (uint8_t)n };
    json_decref(body);
    end_call(x);
    fake_stream_init(&x->f, "POST", "/filesystem.Filesystem/WatchDir");
    x->is_open = true;
    fake_stream_add(&x->f, "content-type", "application/connect+json");
    if (keepalive)
        fake_stream_add(&x->f, "keepalive-ping-interval", keepalive);
    rpc_server_accept(&x->rpc, &x->f.s, &x->f.request);
    fake_stream_data(&x->f, head, sizeof(head));
    fake_stream_data(&x->f, text, n);
    fake_stream_end(&x->f);
}

/* The next message of the stream, borrowed; the loop runs until it is there. */
static json_t *next_message(struct fixture *x)
{
    struct buf *body = &x->f.body;
    int64_t deadline = clock_mono_ms() + 10000;
    while (buf_len(body) < 5 && clock_mono_ms() < deadline)
        uv_run(&x->loop, UV_RUN_ONCE);
    assert_true(buf_len(body) >= 5);
    const uint8_t *head = buf_head(body);
    size_t n = (size_t)head[3] << 8 | head[4];
    assert_true(buf_len(body) >= 5 + n);
    json_decref(x->answer);
    x->answer = json_loadb((const char *)head + 5, n, 0, NULL);
    assert_non_null(x->answer);
    buf_consume(body, 5 + n);
    return x->answer;
}

static void assert_event(struct fixture *x, const char *name, const char *type)
{
    json_t *event = json_object_get(next_message(x), "filesystem");
    assert_string_equal(text_of(event, "name"), name);
    assert_string_equal(text_of(event, "type"), type);
}

static void test_watch_dir(void **state)
{
    struct fixture *x = *state;
    begin_watch(x, json_pack("{s:s}", "path", "~"), NULL);
    assert_non_null(json_object_get(next_message(x), "start"));
    tempdir_write(&x->dir, "home/f", "text");
    assert_event(x, "f", "EVENT_TYPE_CREATE");
    assert_null(json_object_get(json_object_get(x->answer, "filesystem"), "entry"));
    assert_event(x, "f", "EVENT_TYPE_WRITE");
    assert_int_equal(unlink(tempdir_path(&x->dir, "home/f")), 0);
    assert_event(x, "f", "EVENT_TYPE_REMOVE");
    assert_false(x->f.ended);
}

static void test_watch_dir_with_entries(void **state)
{
    struct fixture *x = *state;
    begin_watch(x, json_pack("{s:s,s:b,s:b}", "path", "", "recursive", 1, "includeEntry", 1), NULL);
    next_message(x);
    tempdir_write(&x->dir, "home/d/f", "text");
    assert_event(x, "d", "EVENT_TYPE_CREATE");
    json_t *entry = json_object_get(json_object_get(x->answer, "filesystem"), "entry");
    assert_string_equal(text_of(entry, "type"), "FILE_TYPE_DIRECTORY");
    assert_event(x, "d/f", "EVENT_TYPE_CREATE");
    entry = json_object_get(json_object_get(x->answer, "filesystem"), "entry");
    assert_string_equal(text_of(entry, "path"), tempdir_path(&x->dir, "home/d/f"));
}

static void test_watch_dir_is_kept_alive(void **state)
{
    struct fixture *x = *state;
    begin_watch(x, json_pack("{s:s}", "path", ""), "1");
    next_message(x);
    assert_non_null(json_object_get(next_message(x), "keepalive"));
}

static void test_a_slow_watcher_loses_nothing(void **state)
{
    struct fixture *x = *state;
    begin_watch(x, json_pack("{s:s}", "path", ""), NULL);
    next_message(x);
    x->f.writable = false;
    tempdir_mkdir(&x->dir, "home/a");
    tempdir_mkdir(&x->dir, "home/b");
    for (int i = 0; i < 10; i++)
        uv_run(&x->loop, UV_RUN_NOWAIT);
    assert_int_equal(buf_len(&x->f.body), 0);
    x->f.writable = true;
    fake_stream_writable(&x->f);
    assert_event(x, "a", "EVENT_TYPE_CREATE");
    assert_event(x, "b", "EVENT_TYPE_CREATE");
}

static void test_watch_dir_errors(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/f", "");
    begin_watch(x, json_pack("{s:s}", "path", "missing"), NULL);
    json_t *error = json_object_get(next_message(x), "error");
    assert_string_equal(text_of(error, "code"), "not_found");
    begin_watch(x, json_pack("{s:s}", "path", "f"), NULL);
    error = json_object_get(next_message(x), "error");
    assert_string_equal(text_of(error, "code"), "invalid_argument");
}

static void turn(struct fixture *x)
{
    for (int i = 0; i < 5; i++)
        uv_run(&x->loop, UV_RUN_NOWAIT);
}

static void test_watchers(void **state)
{
    struct fixture *x = *state;
    char id[64];
    call(x, "CreateWatcher", json_pack("{s:s}", "path", ""));
    str_copy(str_of(text_of(x->answer, "watcherId")), id, sizeof(id));
    assert_int_equal(strlen(id), 16);
    json_t *a = call(x, "GetWatcherEvents", json_pack("{s:s}", "watcherId", id));
    assert_int_equal(json_array_size(json_object_get(a, "events")), 0);
    tempdir_mkdir(&x->dir, "home/a");
    tempdir_mkdir(&x->dir, "home/b");
    turn(x);
    a = json_object_get(call(x, "GetWatcherEvents", json_pack("{s:s}", "watcherId", id)), "events");
    assert_int_equal(json_array_size(a), 2);
    assert_string_equal(text_of(json_array_get(a, 0), "name"), "a");
    assert_string_equal(text_of(json_array_get(a, 1), "type"), "EVENT_TYPE_CREATE");
    a = call(x, "GetWatcherEvents", json_pack("{s:s}", "watcherId", id));
    assert_int_equal(json_array_size(json_object_get(a, "events")), 0);
    call(x, "RemoveWatcher", json_pack("{s:s}", "watcherId", id));
    assert_int_equal(x->f.status, 200);
    call(x, "RemoveWatcher", json_pack("{s:s}", "watcherId", id));
    assert_error(x, 404, "not_found");
    call(x, "GetWatcherEvents", json_pack("{s:s}", "watcherId", id));
    assert_error(x, 404, "not_found");
    call(x, "CreateWatcher", json_pack("{s:s}", "path", "missing"));
    assert_error(x, 404, "not_found");
}

static void test_too_many_watchers(void **state)
{
    struct fixture *x = *state;
    for (int i = 0; i < WATCHERS_MAX; i++) {
        call(x, "CreateWatcher", json_pack("{s:s}", "path", ""));
        assert_int_equal(x->f.status, 200);
    }
    call(x, "CreateWatcher", json_pack("{s:s}", "path", ""));
    assert_error(x, 429, "resource_exhausted");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_stat),
        CASE(test_users),
        CASE(test_make_dir_and_move),
        CASE(test_list_dir),
        CASE(test_a_large_list_takes_several_turns),
        CASE(test_remove),
        CASE(test_remove_stops_without_the_client),
        CASE(test_watch_dir),
        CASE(test_watch_dir_with_entries),
        CASE(test_watch_dir_is_kept_alive),
        CASE(test_a_slow_watcher_loses_nothing),
        CASE(test_watch_dir_errors),
        CASE(test_watchers),
        CASE(test_too_many_watchers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
