#include "tests/unit/envd/process/harness.h"

#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "tests/support/test.h"

#include <signal.h>
#include <sys/wait.h>

#undef stdin
#undef stdout
#undef stderr

#define PATIENCE_MS 10000

/* The loop. */

static void on_child(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct harness *h = container_of(handle, struct harness, child);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        process_registry_reaped(h->envd.processes, pid, status);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void harness_open_limits(struct harness *h, const struct process_limits *limits)
{
    memset(h, 0, sizeof(*h));
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&h->loop), 0);
    list_init(&h->calls);
    h->envd.loop = &h->loop;
    h->envd.cgroup_user = h->envd.cgroup_ptys = -1;
    snprintf(h->envd.path_env, sizeof(h->envd.path_env), "/usr/bin:/bin");
    struct user me;
    user_name_of(geteuid(), h->envd.default_user);
    assert_int_equal(user_find(str_of(h->envd.default_user), &me, NULL), 0);
    snprintf(h->envd.default_workdir, sizeof(h->envd.default_workdir), "/");
    defer_queue_init(&h->envd.defer, &h->loop);
    h->server =
        (struct rpc_server){ .loop = &h->loop, .defer = &h->envd.defer, .context = &h->envd };
    h->envd.processes = process_registry_new(&h->envd);
    assert_non_null(h->envd.processes);
    if (limits)
        process_registry_set_limits(h->envd.processes, limits);
    uv_signal_init(&h->loop, &h->child);
    uv_signal_start(&h->child, on_child, SIGCHLD);
    uv_timer_init(&h->loop, &h->tick);
    uv_timer_start(&h->tick, on_tick, 20, 20);
}

void harness_open(struct harness *h)
{
    harness_open_limits(h, NULL);
}

static void on_stopped(void *user)
{
    *(bool *)user = true;
}

static void free_call(struct rpc_call *call)
{
    for (size_t i = 0; i < 3; i++)
        buf_deinit(&call->data[i]);
    buf_deinit(&call->order);
    buf_deinit(&call->headers);
    buf_deinit(&call->trailers);
    arena_deinit(&call->arena);
    free(call->reply);
    free(call);
}

void harness_close(struct harness *h)
{
    bool stopped = false;
    process_registry_stop_all(h->envd.processes, 100, on_stopped, &stopped);
    run_until(h, &stopped);
    process_registry_free(h->envd.processes);
    while (!list_empty(&h->calls)) {
        struct rpc_call *call = container_of(h->calls.next, struct rpc_call, node);
        call_disconnect(call);
        list_remove(&call->node);
        free_call(call);
    }
    uv_close((uv_handle_t *)&h->child, NULL);
    uv_close((uv_handle_t *)&h->tick, NULL);
    defer_queue_close(&h->envd.defer);
    envd_clear_envs(&h->envd.envs);
    envd_clear_envs(&h->envd.internal_envs);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&h->loop), 0);
}

void run_while(struct harness *h, bool (*cond)(void *arg), void *arg)
{
    uint64_t begin = uv_hrtime();
    while (cond(arg)) {
        if (uv_hrtime() - begin > (uint64_t)PATIENCE_MS * 1000000)
            fail_msg("waited too long");
        uv_run(&h->loop, UV_RUN_ONCE);
    }
}

static bool is_unset(void *arg)
{
    return !*(const bool *)arg;
}

void run_until(struct harness *h, const bool *flag)
{
    run_while(h, is_unset, (void *)(uintptr_t)flag);
}

struct wanted {
    const struct rpc_call *call;
    int which;
    size_t n;
    const char *text;
};

static bool is_short(void *arg)
{
    const struct wanted *w = arg;
    return buf_len(&w->call->data[w->which]) < w->n;
}

static bool lacks_text(void *arg)
{
    const struct wanted *w = arg;
    struct str have = data_of(w->call, w->which);
    return !have.n || !memmem(have.p, have.n, w->text, strlen(w->text));
}

void run_until_data(struct harness *h, const struct rpc_call *call, int which, size_t n)
{
    run_while(h, is_short, &(struct wanted){ .call = call, .which = which, .n = n });
}

void run_until_text(struct harness *h, const struct rpc_call *call, int which, const char *text)
{
    run_while(h, lacks_text, &(struct wanted){ .call = call, .which = which, .text = text });
}

static bool is_early(void *arg)
{
    return uv_hrtime() < *(const uint64_t *)arg;
}

void run_some(struct harness *h, unsigned ms)
{
    uint64_t until = uv_hrtime() + (uint64_t)ms * 1000000;
    run_while(h, is_early, &until);
}

/* What common/rpc does for handlers. */

struct rpc_server *rpc_call_server(const struct rpc_call *call)
{
    return &call->harness->server;
}

const struct rpc_method *rpc_call_method(const struct rpc_call *call)
{
    return call->method;
}

const struct http_head *rpc_call_head(const struct rpc_call *call)
{
    return &call->head;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

int64_t rpc_call_timeout_ms(const struct rpc_call *call)
{
    return call->timeout_ms;
}

void rpc_call_set_user(struct rpc_call *call, void *user)
{
    call->user = user;
}

void *rpc_call_user(const struct rpc_call *call)
{
    return call->user;
}

void rpc_call_add_header(struct rpc_call *call, const char *name, const char *value)
{
    assert_int_equal(buf_len(&call->order), 0);
    buf_printf(&call->headers, "%s=%s\n", name, value);
}

void rpc_call_add_trailer(struct rpc_call *call, const char *name, const char *value)
{
    buf_printf(&call->trailers, "%s=%s\n", name, value);
}

bool rpc_writable(const struct rpc_call *call)
{
    return !call->finished && call->taken < call->window;
}

void rpc_call_progress(const struct rpc_call *call, uint64_t *sent, uint64_t *delivered)
{
    *sent = call->taken;
    if (delivered)
        *delivered = call->taken > call->lost ? call->taken - call->lost : 0;
}

static void take_data(struct rpc_call *call, const Process__ProcessEvent__DataEvent *data)
{
    static const char letters[] = "oep";
    int which = (int)data->output_case - 1;
    assert_in_range(which, 0, 2);
    const ProtobufCBinaryData *bytes = &data->stdout;
    buf_append(&call->data[which], bytes->data, bytes->len);
    buf_putc(&call->order, letters[which]);
    call->taken += bytes->len;
    if (bytes->len > call->largest)
        call->largest = bytes->len;
}

static void take_event(struct rpc_call *call, const Process__ProcessEvent *event)
{
    assert_false(call->ended);
    switch ((int)event->event_case) {
    case PROCESS__PROCESS_EVENT__EVENT_START:
        call->pid = event->start->pid;
        buf_putc(&call->order, 's');
        break;
    case PROCESS__PROCESS_EVENT__EVENT_DATA:
        take_data(call, event->data);
        break;
    case PROCESS__PROCESS_EVENT__EVENT_KEEPALIVE:
        buf_putc(&call->order, 'k');
        break;
    case PROCESS__PROCESS_EVENT__EVENT_END:
        buf_putc(&call->order, 'E');
        call->ended = true;
        call->exit_code = event->end->exit_code;
        call->exited = event->end->exited;
        snprintf(call->status, sizeof(call->status), "%s", event->end->status);
        if (event->end->_error_case)
            snprintf(call->error, sizeof(call->error), "%s", event->end->error);
        break;
    case PROCESS__PROCESS_EVENT__EVENT__NOT_SET:
    default:
        fail();
    }
}

void rpc_send(struct rpc_call *call, const ProtobufCMessage *msg)
{
    if (call->finished)
        return;
    assert_ptr_equal(msg->descriptor, call->method->output);
    if (msg->descriptor == &process__start_response__descriptor) {
        take_event(call, ((const Process__StartResponse *)msg)->event);
    } else if (msg->descriptor == &process__connect_response__descriptor) {
        take_event(call, ((const Process__ConnectResponse *)msg)->event);
    } else {
        assert_null(call->reply);
        call->reply_n = protobuf_c_message_get_packed_size(msg);
        call->reply = malloc(call->reply_n + 1);
        protobuf_c_message_pack(msg, call->reply);
    }
}

static void tell_close(struct rpc_call *call)
{
    if (call->closed)
        return;
    call->finished = call->closed = true;
    if (call->method->on_close)
        call->method->on_close(call);
}

static void on_close(struct deferred *d)
{
    tell_close(container_of(d, struct rpc_call, close));
}

void rpc_finish(struct rpc_call *call, const struct err *err)
{
    if (call->finished)
        return;
    call->finished = true;
    if (err)
        call->err = *err;
    defer(&call->harness->envd.defer, &call->close, on_close);
}

void rpc_fail(struct rpc_call *call, enum err_code code, const char *fmt, ...)
{
    struct err err = { .code = code };
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err.msg, sizeof(err.msg), fmt, ap);
    va_end(ap);
    rpc_finish(call, &err);
}

void rpc_pause(struct rpc_call *call)
{
    call->paused = true;
}

void rpc_resume(struct rpc_call *call)
{
    call->paused = false;
}

/* The client's side. */

static const struct rpc_method *method_named(const char *name)
{
    for (const struct rpc_method *m = process_methods; m->path; m++) {
        if (strcmp(strrchr(m->path, '/') + 1, name) == 0)
            return m;
    }
    fail_msg("no method %s", name);
    return NULL;
}

static ProtobufCMessage *copy_message(const ProtobufCMessage *msg, struct arena *arena)
{
    ProtobufCAllocator allocator = arena_allocator(arena);
    size_t n = protobuf_c_message_get_packed_size(msg);
    AUTO_FREE uint8_t *bytes = malloc(n + 1);
    protobuf_c_message_pack(msg, bytes);
    return protobuf_c_message_unpack(msg->descriptor, &allocator, n, bytes);
}

void call_message(struct rpc_call *call, const ProtobufCMessage *msg)
{
    struct arena arena = { 0 };
    call->method->on_message(call, copy_message(msg, &arena));
    arena_deinit(&arena);
}

void call_half_close(struct rpc_call *call)
{
    call->method->on_half_close(call);
}

static void add_field(struct rpc_call *call, const char *name, const char *value)
{
    call->fields[call->head.nfields++] = (struct http_field){ str_of(name), str_of(value) };
}

struct rpc_call *call_begin(struct harness *h, const char *method, const ProtobufCMessage *msg,
                            const struct call_options *options)
{
    static const struct call_options none;
    const struct call_options *o = options ? options : &none;
    struct rpc_call *call = calloc(1, sizeof(*call));
    assert_non_null(call);
    call->harness = h;
    call->method = method_named(method);
    call->head.fields = call->fields;
    call->timeout_ms = o->timeout_ms;
    call->window = o->window ? o->window : SIZE_MAX;
    if (o->user) {
        struct buf text = { 0 };
        buf_puts(&text, "Basic ");
        AUTO_FREE char *name = NULL;
        assert_true(asprintf(&name, "%s:", o->user) > 0);
        base64_encode(&text, name, strlen(name), true);
        AUTO_FREE char *value = buf_take_text(&text);
        add_field(call, "authorization", arena_dup(&call->arena, str_of(value)));
    }
    if (o->header)
        add_field(call, o->header, o->value);
    list_push_back(&h->calls, &call->node);
    if (!msg)
        return call;
    if (call->method->kind == RPC_UNARY || call->method->kind == RPC_SERVER_STREAM)
        call->method->on_message(call, copy_message(msg, &call->arena));
    else
        call_message(call, msg);
    return call;
}

static void on_writable(struct deferred *d)
{
    struct rpc_call *call = container_of(d, struct rpc_call, writable);
    if (!call->finished)
        call->method->on_writable(call);
}

void call_open_window(struct rpc_call *call)
{
    call->window = SIZE_MAX;
    defer(&call->harness->envd.defer, &call->writable, on_writable);
}

void call_disconnect(struct rpc_call *call)
{
    defer_cancel(&call->close);
    defer_cancel(&call->writable);
    tell_close(call);
}

struct str data_of(const struct rpc_call *call, int which)
{
    return buf_str(&call->data[which]);
}

/* Requests. */

struct rpc_call *start_command(struct harness *h, const struct start_args *a,
                               const struct call_options *options)
{
    Process__ProcessConfig config = PROCESS__PROCESS_CONFIG__INIT;
    Process__ProcessConfig__EnvsEntry env = PROCESS__PROCESS_CONFIG__ENVS_ENTRY__INIT;
    Process__ProcessConfig__EnvsEntry *envs[] = { &env };
    Process__PTY pty = PROCESS__PTY__INIT;
    Process__PTY__Size size = PROCESS__PTY__SIZE__INIT;
    Process__StartRequest req = PROCESS__START_REQUEST__INIT;
    req.process = &config;
    config.cmd = (char *)(uintptr_t)a->cmd;
    config.args = (char **)(uintptr_t)a->args;
    while (a->args && a->args[config.n_args])
        config.n_args++;
    if (a->cwd) {
        config._cwd_case = PROCESS__PROCESS_CONFIG___CWD_CWD;
        config.cwd = (char *)(uintptr_t)a->cwd;
    }
    if (a->env_name) {
        env.key = (char *)(uintptr_t)a->env_name;
        env.value = (char *)(uintptr_t)a->env_value;
        config.envs = envs;
        config.n_envs = 1;
    }
    if (a->tag) {
        req._tag_case = PROCESS__START_REQUEST___TAG_TAG;
        req.tag = (char *)(uintptr_t)a->tag;
    }
    if (a->no_stdin) {
        req._stdin_case = PROCESS__START_REQUEST___STDIN_STDIN;
        req.stdin = false;
    }
    if (a->pty) {
        req._pty_case = PROCESS__START_REQUEST___PTY_PTY;
        req.pty = &pty;
        size.cols = a->cols;
        size.rows = a->rows;
        if (a->cols || a->rows)
            pty.size = &size;
    }
    return call_begin(h, "Start", &req.base, options);
}

struct rpc_call *start_script(struct harness *h, const char *script,
                              const struct call_options *options)
{
    const char *args[] = { "-c", script, NULL };
    return start_command(h, &(struct start_args){ .cmd = "/bin/sh", .args = args }, options);
}

struct rpc_call *run_script(struct harness *h, const char *script)
{
    struct rpc_call *call = start_script(h, script, NULL);
    run_until(h, &call->closed);
    return call;
}

static struct rpc_call *connect_to(struct harness *h, Process__ProcessSelector *selector,
                                   const struct call_options *options)
{
    Process__ConnectRequest req = PROCESS__CONNECT_REQUEST__INIT;
    req.process = selector;
    return call_begin(h, "Connect", &req.base, options);
}

static Process__ProcessSelector by_pid(uint32_t pid)
{
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = pid;
    return s;
}

struct rpc_call *connect_pid(struct harness *h, uint32_t pid, const struct call_options *options)
{
    Process__ProcessSelector s = by_pid(pid);
    return connect_to(h, &s, options);
}

struct rpc_call *connect_tag(struct harness *h, const char *tag)
{
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_TAG;
    s.tag = (char *)(uintptr_t)tag;
    return connect_to(h, &s, NULL);
}

static enum err_code answer(struct harness *h, struct rpc_call *call)
{
    run_until(h, &call->closed);
    return call->err.code;
}

static enum err_code send_input(struct harness *h, uint32_t pid, const char *text, bool pty)
{
    Process__ProcessSelector s = by_pid(pid);
    Process__ProcessInput input = PROCESS__PROCESS_INPUT__INIT;
    Process__SendInputRequest req = PROCESS__SEND_INPUT_REQUEST__INIT;
    ProtobufCBinaryData bytes = { .len = strlen(text), .data = (uint8_t *)(uintptr_t)text };
    req.process = &s;
    req.input = &input;
    input.input_case =
        pty ? PROCESS__PROCESS_INPUT__INPUT_PTY : PROCESS__PROCESS_INPUT__INPUT_STDIN;
    input.stdin = bytes;
    return answer(h, call_begin(h, "SendInput", &req.base, NULL));
}

enum err_code send_stdin(struct harness *h, uint32_t pid, const char *text)
{
    return send_input(h, pid, text, false);
}

enum err_code send_pty(struct harness *h, uint32_t pid, const char *text)
{
    return send_input(h, pid, text, true);
}

enum err_code send_signal(struct harness *h, uint32_t pid, int signum)
{
    Process__ProcessSelector s = by_pid(pid);
    Process__SendSignalRequest req = PROCESS__SEND_SIGNAL_REQUEST__INIT;
    req.process = &s;
    req.signal = (Process__Signal)signum;
    return answer(h, call_begin(h, "SendSignal", &req.base, NULL));
}

enum err_code close_stdin(struct harness *h, uint32_t pid)
{
    Process__ProcessSelector s = by_pid(pid);
    Process__CloseStdinRequest req = PROCESS__CLOSE_STDIN_REQUEST__INIT;
    req.process = &s;
    return answer(h, call_begin(h, "CloseStdin", &req.base, NULL));
}

enum err_code update_pty(struct harness *h, uint32_t pid, uint32_t cols, uint32_t rows)
{
    Process__ProcessSelector s = by_pid(pid);
    Process__PTY pty = PROCESS__PTY__INIT;
    Process__PTY__Size size = PROCESS__PTY__SIZE__INIT;
    Process__UpdateRequest req = PROCESS__UPDATE_REQUEST__INIT;
    req.process = &s;
    req._pty_case = PROCESS__UPDATE_REQUEST___PTY_PTY;
    req.pty = &pty;
    pty.size = &size;
    size.cols = cols;
    size.rows = rows;
    return answer(h, call_begin(h, "Update", &req.base, NULL));
}
