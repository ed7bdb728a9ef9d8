#include "orchestrator/node/server.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "orchestrator/node/server_internal.h"
#include "orchestrator/node/tls.h"

#include <assert.h>
#include <errno.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <stdio.h>
#include <string.h>

/* Requests for calls that lie ready for each method, so that a burst need not wait for the loop. */
#define AWAITED_PER_METHOD 16

/* A peer that does not answer a ping for this long is gone. */
#define KEEPALIVE_MS         60000
#define KEEPALIVE_TIMEOUT_MS 20000
/* How often a client may ping. */
#define PING_INTERVAL_MIN_MS 10000

/* gRPC writes to standard error in a form of its own; ours is JSON. */
static void on_grpc_log(gpr_log_func_args *args)
{
    if (args->severity == GPR_LOG_SEVERITY_ERROR)
        log_warn("grpc", LOG_STR("file", args->file), LOG_INT("line", args->line),
                 LOG_STR("text", args->message));
}

static grpc_arg number(const char *key, int value)
{
    return (grpc_arg){ .type = GRPC_ARG_INTEGER,
                       .key = (char *)(uintptr_t)key,
                       .value.integer = value };
}

static grpc_server *create_server(void)
{
    grpc_arg args[] = {
        number(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, NODE_MESSAGE_MAX),
        number(GRPC_ARG_MAX_METADATA_SIZE, NODE_METADATA_MAX),
        number(GRPC_ARG_MAX_CONCURRENT_STREAMS, NODE_CALLS_PER_CONNECTION),
        number(GRPC_ARG_ALLOW_REUSEPORT, 0),
        number(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS),
        number(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        number(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_INTERVAL_MIN_MS),
        /* No compression: what a message inflates to would have no bound. */
        number(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE),
        number(GRPC_ARG_ENABLE_CHANNELZ, 0),
    };
    const grpc_channel_args all = { ARRAY_LEN(args), args };
    return grpc_server_create(&all, NULL);
}

static void on_connected(void *user, int fd)
{
    struct node_server *s = user;
    grpc_server_credentials *none = grpc_insecure_server_credentials_create();
    grpc_server_add_channel_from_fd(s->server, fd, none);
    grpc_server_credentials_release(none);
}

static int listen_tls(struct node_server *s, const struct node_server_options *o, struct err *err)
{
    grpc_server_credentials *creds = NULL;
    int rc = node_tls_credentials(&creds, &o->tls, err);
    if (rc < 0)
        return rc;
    char address[96];
    snprintf(address, sizeof(address), strchr(o->host, ':') ? "[%s]:%u" : "%s:%u", o->host,
             (unsigned)o->port);
    int port = grpc_server_add_http2_port(s->server, address, creds);
    grpc_server_credentials_release(creds);
    if (port == 0)
        return err_set(err, ERR_UNAVAILABLE, EADDRINUSE,
                       "cannot listen on %s for the node service: the port is in use, or the "
                       "certificate and its key do not fit (what gRPC said before tells which)",
                       address);
    s->port = (uint16_t)port;
    return 0;
}

static void on_shut_down(struct node_op *op)
{
    struct node_server *s = container_of(op, struct node_server, shutdown);
    s->shut_down = true;
    node_server_check(s);
}

int node_server_new(struct node_server **out, const struct node_server_options *options,
                    struct err *err)
{
    struct node_server *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    s->methods = options->methods;
    s->user = options->user;
    s->shutdown = NODE_OP_INIT(on_shut_down, false);
    list_init(&s->waiting);
    list_init(&s->active);
    gpr_set_log_function(on_grpc_log);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    grpc_init();
    int rc = node_queue_init(&s->queue, options->turn);
    if (rc < 0) {
        grpc_shutdown();
        free(s);
        return err_set(err, ERR_INTERNAL, -rc, "cannot make a wake-up: %s", uv_strerror(rc));
    }
    uv_timer_init(options->turn->loop, &s->grace);
    s->server = create_server();
    grpc_server_register_completion_queue(s->server, s->queue.cq, NULL);
    int methods = 0;
    for (; s->methods[methods].path; methods++) {
        assert(methods < NODE_METHODS_MAX);
        s->registered[methods] =
            grpc_server_register_method(s->server, s->methods[methods].path, NULL,
                                        GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    }
    if (options->host)
        rc = listen_tls(s, options, err);
    grpc_server_start(s->server);
    for (int i = 0; i < AWAITED_PER_METHOD; i++)
        for (int method = -1; method < methods; method++)
            node_call_await(s, method);
    if (rc == 0 && options->socket_path)
        rc = node_socket_new(&s->socket, options->turn->loop, options->socket_path, on_connected, s,
                             err);
    *out = s;
    return rc;
}

uint16_t node_server_port(const struct node_server *s)
{
    return s->port;
}

static void tell_stopped(struct node_server *s)
{
    s->stop_told = true;
    uv_timer_stop(&s->grace);
    s->stopped(s->stopped_user);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct node_server *s = container_of(timer, struct node_server, grace);
    grpc_server_cancel_all_calls(s->server);
    tell_stopped(s);
}

void node_server_stop(struct node_server *s, unsigned grace_ms, void (*stopped)(void *user),
                      void *user)
{
    struct err why;
    assert(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_user = user;
    /* The end of the last call starts timers and closes handles. */
    node_queue_nothing_quick(&s->queue);
    if (s->socket)
        node_socket_close(TAKE(s->socket));
    grpc_server_shutdown_and_notify(s->server, s->queue.cq, &s->shutdown);
    err_fill(&why, ERR_UNAVAILABLE, "the daemon is stopping");
    node_call_end_streams(s, &why);
    uv_timer_start(&s->grace, on_grace_over, s->nactive ? grace_ms : 0, 0);
}

static void on_grace_closed(uv_handle_t *handle)
{
    struct node_server *s = container_of((uv_timer_t *)handle, struct node_server, grace);
    void (*freed)(void *user) = s->freed;
    void *user = s->freed_user;
    free(s);
    grpc_shutdown();
    freed(user);
}

static void on_queue_closed(struct node_queue *q)
{
    struct node_server *s = container_of(q, struct node_server, queue);
    uv_close((uv_handle_t *)&s->grace, on_grace_closed);
}

void node_server_check(struct node_server *s)
{
    if (s->stopping && !s->stop_told && s->nactive == 0)
        uv_timer_start(&s->grace, on_grace_over, 0, 0);
    if (!s->freed || !s->shut_down || s->nactive || !list_empty(&s->waiting) || !s->server)
        return;
    grpc_server_destroy(TAKE(s->server));
    node_queue_close(&s->queue, on_queue_closed);
}

void node_server_free(struct node_server *s, void (*freed)(void *user), void *user)
{
    assert(s->stop_told);
    s->freed = freed;
    s->freed_user = user;
    node_server_check(s);
}
