/* The service over a real connection: HTTP/1.1 on loopback, Connect with protobuf, a client that
 * blocks in a thread of its own. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "common/http/listener.h"
#include "envd/process/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#undef stdin
#undef stdout

/* Server. */

struct fixture {
    uv_loop_t loop;
    struct envd envd;
    struct rpc_server rpc;
    struct http_acceptor acceptor;
    struct http_listener *listener;
    uv_signal_t child;
    uv_timer_t patience;
    uv_async_t done;
    bool finished, closed;
    uint16_t port;
};

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    rpc_server_accept(&container_of(a, struct fixture, acceptor)->rpc, s, head);
}

static void on_child(uv_signal_t *handle, int signum)
{
    (void)signum;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        process_registry_reaped(container_of(handle, struct fixture, child)->envd.processes, pid,
                                status);
}

static void on_impatient(uv_timer_t *timer)
{
    (void)timer;
    print_error("the client has not finished in time\n");
    abort();
}

static void on_done(uv_async_t *async)
{
    container_of(async, struct fixture, done)->finished = true;
}

static void on_flag(void *user)
{
    *(bool *)user = true;
}

static void fixture_open(struct fixture *f, const struct process_limits *limits)
{
    static const struct rpc_method *const tables[] = { process_methods, NULL };
    struct err err;
    memset(f, 0, sizeof(*f));
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&f->loop);
    f->envd.loop = &f->loop;
    f->envd.cgroup_user = f->envd.cgroup_ptys = -1;
    snprintf(f->envd.path_env, sizeof(f->envd.path_env), "/usr/bin:/bin");
    snprintf(f->envd.default_workdir, sizeof(f->envd.default_workdir), "/");
    user_name_of(geteuid(), f->envd.default_user);
    defer_queue_init(&f->envd.defer, &f->loop);
    f->rpc = (struct rpc_server){
        .loop = &f->loop, .defer = &f->envd.defer, .tables = tables, .context = &f->envd
    };
    f->acceptor.on_request = on_request;
    f->envd.processes = process_registry_new(&f->envd);
    process_registry_set_limits(f->envd.processes, limits);
    struct http_listener_options o = { .host = "127.0.0.1",
                                       .server = { .acceptor = &f->acceptor } };
    assert_int_equal(http_listener_new(&f->listener, &f->loop, &f->envd.defer, &o, &err), 0);
    f->port = http_listener_port(f->listener);
    uv_signal_init(&f->loop, &f->child);
    uv_signal_start(&f->child, on_child, SIGCHLD);
    uv_timer_init(&f->loop, &f->patience);
    uv_timer_start(&f->patience, on_impatient, 30000, 0);
    uv_async_init(&f->loop, &f->done, on_done);
}

static void run_until(struct fixture *f, const bool *flag)
{
    while (!*flag)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void fixture_close(struct fixture *f)
{
    bool stopped = false;
    process_registry_stop_all(f->envd.processes, 100, on_flag, &stopped);
    run_until(f, &stopped);
    process_registry_free(f->envd.processes);
    http_listener_close(f->listener, 0, on_flag, &f->closed);
    run_until(f, &f->closed);
    uv_close((uv_handle_t *)&f->child, NULL);
    uv_close((uv_handle_t *)&f->patience, NULL);
    uv_close((uv_handle_t *)&f->done, NULL);
    defer_queue_close(&f->envd.defer);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    rpc_server_deinit(&f->rpc);
    assert_int_equal(uv_loop_close(&f->loop), 0);
}

/* Client. A failure is remembered and told by the main thread. */

struct client {
    struct fixture *f;
    FILE *in;
    int fd;
    size_t chunk;    /* bytes left of the chunk that is being read */
    char head[2048]; /* of the response */
    const char *failure;
    /* What it has found. */
    uint32_t pid;
    uint64_t got, offset, total;
    bool ended, wrong;
    char text[64];
};

static bool failed(struct client *c, const char *why)
{
    if (!c->failure)
        c->failure = why;
    return false;
}

static bool connect_client(struct client *c)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(c->f->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { .tv_sec = 20 };
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(c->fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return failed(c, "connect");
    c->in = fdopen(c->fd, "r");
    c->chunk = 0;
    return true;
}

static bool send_all(struct client *c, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return failed(c, "send");
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* One envelope as one chunk. */
static bool send_message(struct client *c, const ProtobufCMessage *msg)
{
    size_t n = protobuf_c_message_get_packed_size(msg);
    AUTO_FREE uint8_t *bytes = malloc(n + 5);
    char size[16];
    bytes[0] = 0;
    for (int i = 0; i < 4; i++)
        bytes[1 + i] = (uint8_t)(n >> (24 - 8 * i));
    protobuf_c_message_pack(msg, bytes + 5);
    snprintf(size, sizeof(size), "%zx\r\n", n + 5);
    return send_all(c, size, strlen(size)) && send_all(c, bytes, n + 5) && send_all(c, "\r\n", 2);
}

static bool send_head(struct client *c, const char *method, const char *more)
{
    char head[512];
    snprintf(head, sizeof(head),
             "POST /process.Process/%s HTTP/1.1\r\nHost: localhost\r\n"
             "Content-Type: application/connect+proto\r\nTransfer-Encoding: chunked\r\n%s\r\n",
             method, more);
    return send_all(c, head, strlen(head));
}

static bool read_head(struct client *c)
{
    size_t used = 0;
    c->head[0] = '\0';
    for (;;) {
        if (!fgets(c->head + used, (int)(sizeof(c->head) - used), c->in))
            return failed(c, "no response");
        if (strcmp(c->head + used, "\r\n") == 0)
            break;
        used += strlen(c->head + used);
    }
    return strncmp(c->head, "HTTP/1.1 200 ", 13) == 0 || failed(c, "status");
}

static bool request(struct client *c, const char *method, const char *more,
                    const ProtobufCMessage *msg)
{
    return connect_client(c) && send_head(c, method, more) && send_message(c, msg) &&
           send_all(c, "0\r\n\r\n", 5) && read_head(c);
}

static bool read_body(struct client *c, void *to, size_t n)
{
    char *p = to, line[64];
    while (n > 0) {
        if (c->chunk == 0) {
            if (!fgets(line, sizeof(line), c->in))
                return failed(c, "the response was cut off");
            if (strcmp(line, "\r\n") == 0 && !fgets(line, sizeof(line), c->in))
                return failed(c, "the response was cut off");
            c->chunk = strtoul(line, NULL, 16);
            if (c->chunk == 0)
                return failed(c, "the response is over");
        }
        size_t now = n < c->chunk ? n : c->chunk;
        if (fread(p, 1, now, c->in) != now)
            return failed(c, "the response was cut off");
        p += now;
        n -= now;
        c->chunk -= now;
    }
    return true;
}

/* The next message, NULL at the end of the stream, which must be a good one. */
static ProtobufCMessage *read_message(struct client *c, const ProtobufCMessageDescriptor *type)
{
    uint8_t prefix[5];
    if (!read_body(c, prefix, 5))
        return NULL;
    size_t n =
        (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    AUTO_FREE uint8_t *bytes = malloc(n + 1);
    if (!read_body(c, bytes, n))
        return NULL;
    if (prefix[0] & 2) {
        if (memmem(bytes, n, "error", 5))
            failed(c, "the stream ended with an error");
        return NULL;
    }
    ProtobufCMessage *msg = protobuf_c_message_unpack(type, NULL, n, bytes);
    if (!msg)
        failed(c, "malformed message");
    return msg;
}

static void close_client(struct client *c)
{
    fclose(c->in);
}

/* Requests and events. */

/* Prints seven-digit numbers from 1 on: any missing or doubled byte shows. */
#define LINES 1250000
#define BYTES ((uint64_t)LINES * 8)

static void check_bytes(struct client *c, uint64_t offset, const ProtobufCBinaryData *data)
{
    for (size_t i = 0; i < data->len; i++) {
        uint64_t at = offset + i;
        static const uint32_t tens[] = { 1000000, 100000, 10000, 1000, 100, 10, 1 };
        char want = at % 8 == 7 ? '\n' : (char)('0' + (at / 8 + 1) / tens[at % 8] % 10);
        c->wrong |= data->data[i] != (uint8_t)want;
    }
}

static bool take_event(struct client *c, const Process__ProcessEvent *event)
{
    if (event->event_case == PROCESS__PROCESS_EVENT__EVENT_START) {
        c->pid = event->start->pid;
    } else if (event->event_case == PROCESS__PROCESS_EVENT__EVENT_END) {
        c->ended = true;
    } else if (event->event_case == PROCESS__PROCESS_EVENT__EVENT_DATA) {
        check_bytes(c, c->offset + c->got, &event->data->stdout);
        c->got += event->data->stdout.len;
        memcpy(c->text, event->data->stdout.data,
               event->data->stdout.len < 63 ? event->data->stdout.len : 63);
    }
    return true;
}

static bool start(struct client *c, const char *script)
{
    char *args[] = { (char *)(uintptr_t) "-c", (char *)(uintptr_t)script };
    Process__ProcessConfig config = PROCESS__PROCESS_CONFIG__INIT;
    Process__StartRequest req = PROCESS__START_REQUEST__INIT;
    config.cmd = (char *)(uintptr_t) "/bin/sh";
    config.args = args;
    config.n_args = 2;
    req.process = &config;
    return request(c, "Start", "", &req.base);
}

/* Read events of a Start until `most` bytes of output came, or all. */
static void read_start(struct client *c, uint64_t most)
{
    while (!c->ended && c->got < most) {
        Process__StartResponse *msg =
            (Process__StartResponse *)read_message(c, &process__start_response__descriptor);
        if (!msg)
            return;
        take_event(c, msg->event);
        process__start_response__free_unpacked(msg, NULL);
    }
}

/* gate: a file to create once the server has answered; may be NULL. */
static bool reconnect(struct client *c, const char *more, const char *gate)
{
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    Process__ConnectRequest req = PROCESS__CONNECT_REQUEST__INIT;
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = c->pid;
    req.process = &s;
    if (!request(c, "Connect", more, &req.base))
        return false;
    const char *offset = strcasestr(c->head, "sandpit-offset: ");
    c->offset = offset ? strtoull(offset + 16, NULL, 10) : UINT64_MAX;
    c->got = 0;
    if (gate)
        close(open(gate, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    for (;;) {
        Process__ConnectResponse *msg =
            (Process__ConnectResponse *)read_message(c, &process__connect_response__descriptor);
        if (!msg)
            return c->ended;
        take_event(c, msg->event);
        process__connect_response__free_unpacked(msg, NULL);
    }
}

static void run_client(struct fixture *f, struct client *c, void *(*body)(void *))
{
    pthread_t thread;
    *c = (struct client){ .f = f };
    assert_int_equal(pthread_create(&thread, NULL, body, c), 0);
    run_until(f, &f->finished);
    pthread_join(thread, NULL);
    f->finished = false;
    if (c->failure)
        fail_msg("client: %s", c->failure);
}

static void *leave_and_return(void *arg)
{
    struct client *c = arg;
    char header[64];
    if (start(c, "seq -f %07.0f 1 1250000")) {
        read_start(c, 3000000);
        /* In the middle: the server goes on sending into a socket that is then closed. */
        close_client(c);
        uint64_t had = c->got;
        snprintf(header, sizeof(header), "Sandpit-Replay: %llu\r\n", (unsigned long long)had);
        if (reconnect(c, header, NULL) && c->offset != had)
            failed(c, "another offset than asked for");
        c->total = had + c->got;
        close_client(c);
    }
    uv_async_send(&c->f->done);
    return NULL;
}

static void client_that_returns_misses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.ring_bytes = limits.ring_budget = 64U << 20;
    fixture_open(&f, &limits);
    run_client(&f, &c, leave_and_return);
    assert_true(c.total == BYTES);
    assert_false(c.wrong);
    assert_true(c.ended);
    fixture_close(&f);
}

static void *leave_between(void *arg)
{
    struct client *c = arg;
    char dir[] = "/tmp/sandpit-test-XXXXXX", gate[64], script[256];
    snprintf(gate, sizeof(gate), "%s/gate", mkdtemp(dir));
    snprintf(script, sizeof(script),
             "seq -f %%07.0f 1 375000; until [ -e %s ]; do sleep 0.05; done; "
             "seq -f %%07.0f 375001 1250000",
             gate);
    if (start(c, script)) {
        /* All that was sent so far was read when the client leaves: no header needed. */
        read_start(c, 3000000);
        close_client(c);
        uint64_t had = c->got;
        if (reconnect(c, "", gate) && c->offset != had)
            failed(c, "another offset than where the first stream ended");
        c->total = had + c->got;
        close_client(c);
    }
    unlink(gate);
    rmdir(dir);
    uv_async_send(&c->f->done);
    return NULL;
}

static void unmodified_client_that_returns_misses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    struct process_limits limits = PROCESS_LIMITS_DEFAULT;
    limits.ring_bytes = limits.ring_budget = 64U << 20;
    fixture_open(&f, &limits);
    run_client(&f, &c, leave_between);
    assert_true(c.total == BYTES);
    assert_false(c.wrong);
    fixture_close(&f);
}

static void *read_slowly(void *arg)
{
    struct client *c = arg;
    if (start(c, "seq -f %07.0f 1 1250000")) {
        while (!c->ended && !c->failure) {
            read_start(c, c->got + 500000);
            usleep(20000);
        }
        c->total = c->got;
        close_client(c);
    }
    uv_async_send(&c->f->done);
    return NULL;
}

static void slow_client_gets_everything(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_open(&f, &PROCESS_LIMITS_DEFAULT);
    run_client(&f, &c, read_slowly);
    assert_true(c.total == BYTES);
    assert_false(c.wrong);
    fixture_close(&f);
}

/* Two connections: output on one, input on the other. */
static void *stream_input(void *arg)
{
    struct client *c = arg, in = { .f = c->f };
    static uint8_t piece[50000];
    Process__ProcessSelector s = PROCESS__PROCESS_SELECTOR__INIT;
    Process__ProcessInput input = PROCESS__PROCESS_INPUT__INIT;
    Process__StreamInputRequest__StartEvent first =
        PROCESS__STREAM_INPUT_REQUEST__START_EVENT__INIT;
    Process__StreamInputRequest__DataEvent data = PROCESS__STREAM_INPUT_REQUEST__DATA_EVENT__INIT;
    Process__StreamInputRequest req = PROCESS__STREAM_INPUT_REQUEST__INIT;
    bool ok = start(c, "sleep 0.2; head -c 5000000 | wc -c; exit 0");
    Process__StartResponse *started =
        ok ? (Process__StartResponse *)read_message(c, &process__start_response__descriptor) : NULL;
    if (started) {
        take_event(c, started->event);
        process__start_response__free_unpacked(started, NULL);
    }
    s.selector_case = PROCESS__PROCESS_SELECTOR__SELECTOR_PID;
    s.pid = c->pid;
    first.process = &s;
    req.event_case = PROCESS__STREAM_INPUT_REQUEST__EVENT_START;
    req.start = &first;
    ok = ok && connect_client(&in) && send_head(&in, "StreamInput", "") &&
         send_message(&in, &req.base);
    input.input_case = PROCESS__PROCESS_INPUT__INPUT_STDIN;
    input.stdin = (ProtobufCBinaryData){ .len = sizeof(piece), .data = piece };
    data.input = &input;
    req.event_case = PROCESS__STREAM_INPUT_REQUEST__EVENT_DATA;
    req.data = &data;
    for (int i = 0; i < 100 && ok; i++)
        ok = send_message(&in, &req.base);
    ok = ok && send_all(&in, "0\r\n\r\n", 5) && read_head(&in);
    ProtobufCMessage *reply =
        ok ? read_message(&in, &process__stream_input_response__descriptor) : NULL;
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    else
        failed(&in, "no reply");
    if (ok)
        read_start(c, UINT64_MAX);
    if (in.failure)
        failed(c, in.failure);
    close_client(&in);
    close_client(c);
    uv_async_send(&c->f->done);
    return NULL;
}

static void stream_input_is_slowed_down_and_complete(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    fixture_open(&f, &PROCESS_LIMITS_DEFAULT);
    run_client(&f, &c, stream_input);
    assert_string_equal(c.text, "5000000\n");
    assert_true(c.ended);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_that_returns_misses_nothing),
        cmocka_unit_test(unmodified_client_that_returns_misses_nothing),
        cmocka_unit_test(slow_client_gets_everything),
        cmocka_unit_test(stream_input_is_slowed_down_and_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
