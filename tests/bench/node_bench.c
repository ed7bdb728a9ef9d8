/*
 * Unary gRPC calls over a unix socket, measured:
 *
 *   node_bench echo SOCKET                             a server that echoes, and nothing else
 *   node_bench barest SOCKET                           the same, the method registered with gRPC
 *   node_bench load SOCKET METHOD BYTES CALLS AT_ONCE  prints calls per second, p50 and p99 in us
 *
 * The echo servers have one thread that does everything. "echo" takes calls of any method and then
 * asks for their message, as a bare server on the C core does; "barest" registers its method, so
 * that the message comes with the call (the node service does that too), and stands for what the
 * library allows.
 */
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AWAITED 64

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void __attribute__((noreturn)) die(const char *what)
{
    fprintf(stderr, "node_bench: %s\n", what);
    exit(1);
}

static void run_batch(grpc_call *call, const grpc_op *ops, size_t n, void *tag)
{
    if (grpc_call_start_batch(call, ops, n, tag, NULL) != GRPC_CALL_OK)
        die("a batch was refused");
}

/* One call of the echo server. */
struct echo {
    grpc_call *call;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details;
    grpc_byte_buffer *payload;
    int cancelled, asked, answered;
};

static void await(grpc_server *server, void *method, grpc_completion_queue *cq)
{
    struct echo *e = calloc(1, sizeof(*e));
    grpc_metadata_array_init(&e->metadata);
    grpc_call_details_init(&e->details);
    e->asked = method != NULL;
    grpc_call_error rc =
        method ? grpc_server_request_registered_call(server, method, &e->call, &e->deadline,
                                                     &e->metadata, &e->payload, cq, cq, e)
               : grpc_server_request_call(server, &e->call, &e->details, &e->metadata, cq, cq, e);
    if (rc != GRPC_CALL_OK)
        die("cannot wait for calls");
}

/* Ask for the message of a call that came without. */
static void ask(struct echo *e)
{
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &e->payload;
    e->asked = 1;
    run_batch(e->call, &op, 1, e);
}

static void answer(struct echo *e)
{
    grpc_op ops[4];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = e->payload;
    ops[2].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[3].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[3].data.recv_close_on_server.cancelled = &e->cancelled;
    e->answered = 1;
    run_batch(e->call, ops, 4, e);
}

static int echo(const char *path, int barest)
{
    char address[256];
    snprintf(address, sizeof(address), "unix:%s", path);
    grpc_server *server = grpc_server_create(NULL, NULL);
    grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server, cq, NULL);
    void *method = NULL;
    if (barest)
        method = grpc_server_register_method(server, "/bench.Bench/Echo", NULL,
                                             GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
    grpc_server_credentials *none = grpc_insecure_server_credentials_create();
    if (!grpc_server_add_http2_port(server, address, none))
        die("cannot listen");
    grpc_server_start(server);
    for (int i = 0; i < AWAITED; i++)
        await(server, method, cq);
    for (;;) {
        grpc_event event = grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct echo *e = event.tag;
        if (!e->asked && event.success) {
            await(server, method, cq);
            ask(e);
            continue;
        }
        if (!e->answered && event.success) {
            if (method)
                await(server, method, cq);
            answer(e);
            continue;
        }
        if (e->payload)
            grpc_byte_buffer_destroy(e->payload);
        grpc_metadata_array_destroy(&e->metadata);
        grpc_call_details_destroy(&e->details);
        grpc_call_unref(e->call);
        free(e);
    }
}

/* One call of the load. */
struct request {
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *got;
    grpc_status_code code;
    grpc_slice details;
    double began;
};

struct load {
    grpc_channel *channel;
    grpc_completion_queue *cq;
    grpc_byte_buffer *message;
    const char *method;
};

static void begin(struct load *l)
{
    struct request *r = calloc(1, sizeof(*r));
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    grpc_metadata_array_init(&r->initial);
    grpc_metadata_array_init(&r->trailing);
    r->began = now_us();
    r->call = grpc_channel_create_call(l->channel, NULL, GRPC_PROPAGATE_DEFAULTS, l->cq,
                                       grpc_slice_from_static_string(l->method), NULL,
                                       gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = l->message;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &r->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &r->got;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &r->trailing;
    ops[5].data.recv_status_on_client.status = &r->code;
    ops[5].data.recv_status_on_client.status_details = &r->details;
    run_batch(r->call, ops, 6, r);
}

static double end(struct request *r)
{
    double took = now_us() - r->began;
    if (r->code != GRPC_STATUS_OK) {
        fprintf(stderr, "status %d: %.*s\n", (int)r->code, (int)GRPC_SLICE_LENGTH(r->details),
                (const char *)GRPC_SLICE_START_PTR(r->details));
        exit(1);
    }
    grpc_metadata_array_destroy(&r->initial);
    grpc_metadata_array_destroy(&r->trailing);
    grpc_byte_buffer_destroy(r->got);
    grpc_slice_unref(r->details);
    grpc_call_unref(r->call);
    free(r);
    return took;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int load(const char *path, const char *method, size_t bytes, size_t calls, size_t at_once)
{
    char address[256];
    snprintf(address, sizeof(address), "unix:%s", path);
    grpc_channel_credentials *none = grpc_insecure_credentials_create();
    grpc_slice zeros = grpc_slice_malloc(bytes);
    memset(GRPC_SLICE_START_PTR(zeros), 0, bytes);
    struct load l = { .channel = grpc_channel_create(address, none, NULL),
                      .cq = grpc_completion_queue_create_for_next(NULL),
                      .message = grpc_raw_byte_buffer_create(&zeros, 1),
                      .method = method };
    double *took = calloc(calls, sizeof(*took));
    size_t begun = 0, warm = calls / 10;
    double from = 0;
    while (begun < at_once) {
        begin(&l);
        begun++;
    }
    /* The first tenth does not count. */
    for (size_t ended = 0; ended < warm + calls; ended++) {
        grpc_event event =
            grpc_completion_queue_next(l.cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        double us = end(event.tag);
        if (ended + 1 == warm)
            from = now_us();
        if (ended >= warm)
            took[ended - warm] = us;
        if (begun < warm + calls) {
            begin(&l);
            begun++;
        }
    }
    double seconds = (now_us() - from) / 1e6;
    qsort(took, calls, sizeof(*took), by_size);
    printf("%.0f %.1f %.1f\n", (double)calls / seconds, took[calls / 2], took[calls * 99 / 100]);
    return 0;
}

int main(int argc, char **argv)
{
    grpc_init();
    if (argc == 3 && strcmp(argv[1], "echo") == 0)
        return echo(argv[2], 0);
    if (argc == 3 && strcmp(argv[1], "barest") == 0)
        return echo(argv[2], 1);
    if (argc == 7 && strcmp(argv[1], "load") == 0)
        return load(argv[2], argv[3], (size_t)atoi(argv[4]), (size_t)atoi(argv[5]),
                    (size_t)atoi(argv[6]));
    die("see the top of node_bench.c");
}
