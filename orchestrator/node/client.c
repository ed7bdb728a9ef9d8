#include "orchestrator/node/client.h"

#include "common/base/cleanup.h"
#include "common/rpc/pbwire.h"
#include "orchestrator/node/socket_name.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct node_client {
    grpc_completion_queue *cq;
    grpc_channel *channel;
};

/* What a call has received. */
struct status {
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
};

struct node_stream {
    struct node_client *client;
    grpc_call *call;
    const ProtobufCMessageDescriptor *output;
    struct status status;
    bool over;
};

static void be_silent(gpr_log_func_args *args)
{
    (void)args; /* what matters comes as a status */
}

static int connect_to(const char *data_dir, struct err *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" NODE_SOCKET_NAME, data_dir);
    if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the data directory's path is too long: %s",
                       data_dir);
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
        fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return TAKE_FD(fd);
    int errnum = errno;
    if (errnum == ENOENT || errnum == ECONNREFUSED)
        return err_set(err, ERR_UNAVAILABLE, errnum,
                       "no daemon runs here: nobody answers at %s (--data-dir names another place)",
                       addr.sun_path);
    return err_set(err, ERR_UNAVAILABLE, errnum, "cannot connect to %s: %s", addr.sun_path,
                   strerror(errnum));
}

int node_client_open(struct node_client **out, const char *data_dir, struct err *err)
{
    int fd = connect_to(data_dir, err);
    if (fd < 0)
        return fd;
    struct node_client *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    }
    gpr_set_log_function(be_silent);
    grpc_init();
    grpc_arg any_size = { .type = GRPC_ARG_INTEGER,
                          .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                          .value.integer = -1 };
    grpc_channel_args args = { 1, &any_size };
    grpc_channel_credentials *none = grpc_insecure_credentials_create();
    c->cq = grpc_completion_queue_create_for_pluck(NULL);
    c->channel = grpc_channel_create_from_fd("node", fd, none, &args);
    grpc_channel_credentials_release(none);
    *out = c;
    return 0;
}

void node_client_close(struct node_client *c)
{
    grpc_channel_destroy(c->channel);
    grpc_completion_queue_shutdown(c->cq);
    grpc_completion_queue_destroy(c->cq);
    free(c);
    grpc_shutdown();
}

static void wait_for(struct node_client *c, void *tag)
{
    grpc_event event =
        grpc_completion_queue_pluck(c->cq, tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    assert(event.type == GRPC_OP_COMPLETE);
}

static void run_batch(struct node_client *c, grpc_call *call, const grpc_op *ops, size_t n)
{
    grpc_call_error rc = grpc_call_start_batch(call, ops, n, call, NULL);
    assert(rc == GRPC_CALL_OK);
    wait_for(c, call);
}

static void status_init(struct status *s)
{
    grpc_metadata_array_init(&s->initial);
    grpc_metadata_array_init(&s->trailing);
    s->code = GRPC_STATUS_UNKNOWN;
    s->details = grpc_empty_slice();
}

static void status_deinit(struct status *s)
{
    grpc_metadata_array_destroy(&s->initial);
    grpc_metadata_array_destroy(&s->trailing);
    grpc_slice_unref(s->details);
}

/* The codes are gRPC's own. No subcommand cancels a call that it waits for: such a status is
 * gRPC's, for a call that came while the server shut down and that no handler saw. */
static int status_fail(const struct status *s, struct err *err)
{
    if (s->code == GRPC_STATUS_CANCELLED)
        return err_set(err, ERR_UNAVAILABLE, EIO, "the daemon stopped before it took the call");
    return err_set(err, (enum err_code)s->code, EIO, "%.*s", (int)GRPC_SLICE_LENGTH(s->details),
                   (const char *)GRPC_SLICE_START_PTR(s->details));
}

static grpc_byte_buffer *pack(const ProtobufCMessage *msg)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(msg));
    protobuf_c_message_pack(msg, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

static const ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *type,
                                      grpc_byte_buffer *bytes, struct arena *arena, struct err *err)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, bytes)) {
        err_fill(err, ERR_INTERNAL, "the daemon's answer cannot be read");
        return NULL;
    }
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    struct str data = { (const char *)GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all) };
    const ProtobufCMessage *msg = pbwire_decode(type, data, arena, err);
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    return msg;
}

static grpc_call *create_call(struct node_client *c, const char *path, unsigned timeout_s)
{
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_s)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_seconds(timeout_s, GPR_TIMESPAN));
    grpc_slice method = grpc_slice_from_static_string(path);
    return grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->cq, method, NULL,
                                    deadline, NULL);
}

/* The operations that send a request and begin to receive. */
#define OPENING 4
static void open_ops(grpc_op ops[static OPENING], grpc_byte_buffer *request, struct status *status)
{
    memset(ops, 0, OPENING * sizeof(*ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &status->initial;
}

static grpc_op status_op(struct status *status)
{
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op.data.recv_status_on_client.trailing_metadata = &status->trailing;
    op.data.recv_status_on_client.status = &status->code;
    op.data.recv_status_on_client.status_details = &status->details;
    return op;
}

static grpc_op message_op(grpc_byte_buffer **message)
{
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = message;
    return op;
}

int node_client_call(struct node_client *c, const char *path, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *output, unsigned timeout_s,
                     struct arena *arena, const ProtobufCMessage **answer, struct err *err)
{
    grpc_op ops[OPENING + 2];
    grpc_byte_buffer *sent = pack(request), *got = NULL;
    struct status status;
    int rc = 0;
    status_init(&status);
    grpc_call *call = create_call(c, path, timeout_s);
    open_ops(ops, sent, &status);
    ops[OPENING] = message_op(&got);
    ops[OPENING + 1] = status_op(&status);
    run_batch(c, call, ops, OPENING + 2);
    if (status.code != GRPC_STATUS_OK) {
        rc = status_fail(&status, err);
    } else if (!got) {
        rc = err_set(err, ERR_INTERNAL, EIO, "the daemon gave no answer");
    } else {
        *answer = unpack(output, got, arena, err);
        rc = *answer ? 0 : -EIO;
    }
    grpc_byte_buffer_destroy(sent);
    if (got)
        grpc_byte_buffer_destroy(got);
    status_deinit(&status);
    grpc_call_unref(call);
    return rc;
}

struct node_stream *node_client_stream(struct node_client *c, const char *path,
                                       const ProtobufCMessage *request,
                                       const ProtobufCMessageDescriptor *output)
{
    struct node_stream *s = calloc(1, sizeof(*s));
    assert(s);
    s->client = c;
    s->output = output;
    status_init(&s->status);
    s->call = create_call(c, path, 0);
    grpc_byte_buffer *sent = pack(request);
    grpc_op ops[OPENING];
    open_ops(ops, sent, &s->status);
    run_batch(c, s->call, ops, OPENING);
    grpc_byte_buffer_destroy(sent);
    return s;
}

static void read_status(struct node_stream *s)
{
    grpc_op op = status_op(&s->status);
    run_batch(s->client, s->call, &op, 1);
    s->over = true;
}

int node_stream_read(struct node_stream *s, struct arena *arena, const ProtobufCMessage **message,
                     struct err *err)
{
    grpc_byte_buffer *got = NULL;
    grpc_op op = message_op(&got);
    run_batch(s->client, s->call, &op, 1);
    if (!got) {
        read_status(s);
        return s->status.code == GRPC_STATUS_OK ? 0 : status_fail(&s->status, err);
    }
    *message = unpack(s->output, got, arena, err);
    grpc_byte_buffer_destroy(got);
    return *message ? 1 : -EIO;
}

void node_stream_close(struct node_stream *s)
{
    if (!s->over) {
        grpc_call_cancel(s->call, NULL);
        read_status(s);
    }
    grpc_call_unref(s->call);
    status_deinit(&s->status);
    free(s);
}
