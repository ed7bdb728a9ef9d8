/* The published clients' own bytes: understood as meant, and answered with bytes they accept. */
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/rpc/rpc.h"
#include "filesystem.pb-c.h"
#include "process.pb-c.h"
#include "tests/support/fake_stream.h"
#include "tests/support/test.h"

#include <stdlib.h>

#define GOLDEN_MAX 65536

struct fixture {
    uv_loop_t loop;
    struct defer_queue defer;
    struct rpc_server server;
    struct fake_stream stream;
    int messages;
};

static struct fixture *fixture_of(struct rpc_call *call)
{
    return rpc_call_server(call)->context;
}

static void send_event(struct rpc_call *call, Process__ProcessEvent *event)
{
    Process__StartResponse response = PROCESS__START_RESPONSE__INIT;
    response.event = event;
    rpc_send(call, &response.base);
}

static void on_start(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__StartRequest *in = (const void *)msg;
    assert_string_equal(in->process->cmd, "/bin/bash");
    assert_int_equal(in->process->n_args, 3);
    assert_string_equal(in->process->args[0], "-l");
    assert_string_equal(in->process->args[2], "echo hi");
    assert_int_equal(in->process->n_envs, 1);
    assert_string_equal(in->process->envs[0]->key, "K");
    assert_string_equal(in->process->envs[0]->value, "V");
    assert_int_equal(in->process->_cwd_case, PROCESS__PROCESS_CONFIG___CWD_CWD);
    assert_string_equal(in->process->cwd, "/tmp");
    assert_int_equal(in->_stdin_case, PROCESS__START_REQUEST___STDIN_STDIN);
    assert_false(in->stdin);
    assert_int_equal(in->_pty_case, PROCESS__START_REQUEST___PTY__NOT_SET);

    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    Process__ProcessEvent__StartEvent start = PROCESS__PROCESS_EVENT__START_EVENT__INIT;
    start.pid = 42;
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_START;
    event.start = &start;
    send_event(call, &event);
    Process__ProcessEvent__DataEvent data = PROCESS__PROCESS_EVENT__DATA_EVENT__INIT;
    data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_STDOUT;
    data.stdout = (ProtobufCBinaryData){ 3, (uint8_t[]){ "hi\n" } };
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_DATA;
    event.data = &data;
    send_event(call, &event);
    Process__ProcessEvent__EndEvent end = PROCESS__PROCESS_EVENT__END_EVENT__INIT;
    end.exited = 1;
    end.status = (char[]){ "exit status 0" };
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_END;
    event.end = &end;
    send_event(call, &event);
    rpc_finish(call, NULL);
}

static void on_stream_input(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__StreamInputRequest *in = (const void *)msg;
    if (fixture_of(call)->messages++ == 0) {
        assert_int_equal(in->event_case, PROCESS__STREAM_INPUT_REQUEST__EVENT_START);
        assert_int_equal(in->start->process->selector_case,
                         PROCESS__PROCESS_SELECTOR__SELECTOR_PID);
        assert_int_equal(in->start->process->pid, 42);
        return;
    }
    assert_int_equal(in->event_case, PROCESS__STREAM_INPUT_REQUEST__EVENT_DATA);
    assert_int_equal(in->data->input->input_case, PROCESS__PROCESS_INPUT__INPUT_STDIN);
    assert_int_equal(in->data->input->stdin.len, 1);
    assert_memory_equal(in->data->input->stdin.data, "a", 1);
}

static void on_stream_input_end(struct rpc_call *call)
{
    Process__StreamInputResponse response = PROCESS__STREAM_INPUT_RESPONSE__INIT;
    rpc_reply(call, &response.base);
}

static void on_send_input(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__SendInputRequest *in = (const void *)msg;
    assert_int_equal(in->process->pid, 42);
    assert_int_equal(in->input->input_case, PROCESS__PROCESS_INPUT__INPUT_STDIN);
    assert_int_equal(in->input->stdin.len, 3);
    assert_memory_equal(in->input->stdin.data, "abc", 3);
    Process__SendInputResponse response = PROCESS__SEND_INPUT_RESPONSE__INIT;
    rpc_reply(call, &response.base);
}

static void on_list_dir(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__ListDirRequest *in = (const void *)msg;
    assert_string_equal(in->path, "/");
    assert_int_equal(in->depth, 1);
    Filesystem__EntryInfo entry = FILESYSTEM__ENTRY_INFO__INIT;
    Google__Protobuf__Timestamp modified = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    entry.name = (char[]){ "a" };
    entry.type = FILESYSTEM__FILE_TYPE__FILE_TYPE_FILE;
    entry.path = (char[]){ "/a" };
    entry.size = 5;
    entry.mode = 0644;
    entry.permissions = (char[]){ "-rw-r--r--" };
    entry.owner = entry.group = (char[]){ "user" };
    modified.seconds = 1767225600;
    modified.nanos = 123000000;
    entry.modified_time = &modified;
    Filesystem__ListDirResponse response = FILESYSTEM__LIST_DIR_RESPONSE__INIT;
    response.n_entries = 1;
    response.entries = (Filesystem__EntryInfo *[]){ &entry };
    rpc_reply(call, &response.base);
}

static void on_create_watcher(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__CreateWatcherRequest *in = (const void *)msg;
    assert_string_equal(in->path, "/tmp");
    assert_false(in->recursive || in->include_entry || in->allow_network_mounts);
    Filesystem__CreateWatcherResponse response = FILESYSTEM__CREATE_WATCHER_RESPONSE__INIT;
    response.watcher_id = (char[]){ "w1" };
    rpc_reply(call, &response.base);
}

#define TYPES(in, out) .input = &in##__descriptor, .output = &out##__descriptor

static const struct rpc_method methods[] = {
    { .path = "/process.Process/Start",
      .kind = RPC_SERVER_STREAM,
      TYPES(process__start_request, process__start_response),
      .on_message = on_start },
    { .path = "/process.Process/StreamInput",
      .kind = RPC_CLIENT_STREAM,
      TYPES(process__stream_input_request, process__stream_input_response),
      .on_message = on_stream_input,
      .on_half_close = on_stream_input_end },
    { .path = "/process.Process/SendInput",
      .kind = RPC_UNARY,
      TYPES(process__send_input_request, process__send_input_response),
      .on_message = on_send_input },
    { .path = "/filesystem.Filesystem/ListDir",
      .kind = RPC_UNARY,
      TYPES(filesystem__list_dir_request, filesystem__list_dir_response),
      .on_message = on_list_dir },
    { .path = "/filesystem.Filesystem/CreateWatcher",
      .kind = RPC_UNARY,
      TYPES(filesystem__create_watcher_request, filesystem__create_watcher_response),
      .on_message = on_create_watcher },
    { .path = NULL },
};
static const struct rpc_method *const tables[] = { methods, NULL };

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    defer_queue_init(&f->defer, &f->loop);
    f->server =
        (struct rpc_server){ .loop = &f->loop, .defer = &f->defer, .tables = tables, .context = f };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fake_stream_deinit(&f->stream);
    defer_queue_close(&f->defer);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    rpc_server_deinit(&f->server);
    free(f);
    return 0;
}

static struct buf load(const char *name, const char *kind)
{
    char path[512];
    struct buf bytes = { 0 };
    snprintf(path, sizeof(path), GOLDEN_DIR "/%s.%s", name, kind);
    assert_int_equal(file_read(path, GOLDEN_MAX, &bytes, NULL), 0);
    return bytes;
}

/* Call with a client's bytes and its headers, expect the bytes that it accepts. */
static void replay(struct fixture *f, const char *path, const char *name, const char *content_type)
{
    struct buf request = load(name, "request"), response = load(name, "response");
    fake_stream_init(&f->stream, "POST", path);
    fake_stream_add(&f->stream, "content-type", content_type);
    fake_stream_add(&f->stream, "connect-protocol-version", "1");
    fake_stream_add(&f->stream, "connect-timeout-ms", "60000");
    fake_stream_add(&f->stream, "connect-content-encoding", "identity");
    fake_stream_add(&f->stream, "connect-accept-encoding", "identity");
    rpc_server_accept(&f->server, &f->stream.s, &f->stream.request);
    fake_stream_data(&f->stream, buf_head(&request), buf_len(&request));
    fake_stream_end(&f->stream);
    assert_int_equal(f->stream.status, 200);
    assert_string_equal(fake_stream_header(&f->stream, "content-type"), content_type);
    assert_int_equal(buf_len(&f->stream.body), buf_len(&response));
    assert_memory_equal(buf_head(&f->stream.body), buf_head(&response), buf_len(&response));
    assert_true(f->stream.ended);
    buf_deinit(&request);
    buf_deinit(&response);
}

static void test_start(void **state)
{
    replay(*state, "/process.Process/Start", "start", "application/connect+json");
}

static void test_stream_input(void **state)
{
    replay(*state, "/process.Process/StreamInput", "stream_input", "application/connect+json");
}

static void test_send_input(void **state)
{
    replay(*state, "/process.Process/SendInput", "send_input", "application/json");
}

static void test_list_dir(void **state)
{
    replay(*state, "/filesystem.Filesystem/ListDir", "list_dir", "application/json");
}

static void test_create_watcher(void **state)
{
    replay(*state, "/filesystem.Filesystem/CreateWatcher", "create_watcher", "application/json");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_start),    CASE(test_stream_input),   CASE(test_send_input),
        CASE(test_list_dir), CASE(test_create_watcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
