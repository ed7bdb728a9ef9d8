/*
 * A call, from the request for one to the end of its status:
 *
 *   WAITING -> SERVING -> ENDING -> ENDED      unary
 *              SERVING <-> SENDING             a stream: idle, or a message under way
 *
 * A call whose client left goes to ENDED from anywhere. It is freed when the handler has let it go
 * and nothing of it is under way in gRPC.
 */
#include "orchestrator/node/call.h"

#include "common/base/cleanup.h"
#include "common/base/sm.h"
#include "common/rpc/pbwire.h"
#include "orchestrator/node/server_internal.h"

#include <assert.h>
#include <grpc/byte_buffer_reader.h>
#include <string.h>

enum call_state { CALL_WAITING, CALL_SERVING, CALL_SENDING, CALL_ENDING, CALL_ENDED, CALL_NR };

static const struct sm_rule rules[CALL_NR] = {
    [CALL_WAITING] = { "waiting", SM_TO(CALL_SERVING) | SM_TO(CALL_ENDED) },
    [CALL_SERVING] = { "serving", SM_TO(CALL_SENDING) | SM_TO(CALL_ENDING) | SM_TO(CALL_ENDED) },
    [CALL_SENDING] = { "sending", SM_TO(CALL_SERVING) | SM_TO(CALL_ENDING) | SM_TO(CALL_ENDED) },
    [CALL_ENDING] = { "ending", SM_TO(CALL_ENDED) },
    [CALL_ENDED] = { "ended", 0 },
};

struct own {
    struct node_call pub; /* what handlers see */
    struct node_server *server;
    struct list node; /* of server->waiting, then active */
    struct sm sm;
    const struct node_method *method; /* NULL: not in the table */
    int number;                       /* of the method; -1 */
    grpc_call *call;
    grpc_call_details details; /* of a call that is not in the table */
    gpr_timespec deadline;     /* kept by gRPC, which cancels */
    grpc_metadata_array metadata;
    grpc_byte_buffer *payload;
    const struct node_stream_events *events; /* NULL: unary */
    struct node_op started, sent, ended, closed;
    unsigned under_way; /* operations */
    bool held;          /* the handler has yet to end it */
    bool end_wanted;    /* with `status`, once the message under way has gone */
    struct err status;
    int cancelled;
};

static struct own *own_of(struct node_call *c)
{
    return container_of(c, struct own, pub);
}

static void free_if_over(struct own *o)
{
    struct node_server *s = o->server;
    if (o->held || o->under_way || sm_state(&o->sm) != CALL_ENDED)
        return;
    list_remove(&o->node);
    if (o->call) {
        s->nactive--;
        if (o->events)
            s->nstreams--;
        grpc_call_unref(o->call);
    }
    if (o->payload)
        grpc_byte_buffer_destroy(o->payload);
    grpc_metadata_array_destroy(&o->metadata);
    grpc_call_details_destroy(&o->details);
    arena_deinit(&o->pub.arena);
    free(o);
    node_server_check(s);
}

static void start_batch(struct own *o, const grpc_op *ops, size_t n, struct node_op *op)
{
    o->under_way++;
    node_queue_begin(&o->server->queue);
    grpc_call_error rc = grpc_call_start_batch(o->call, ops, n, op, NULL);
    node_queue_end(&o->server->queue);
    assert(rc == GRPC_CALL_OK); /* anything else is a wrong order of operations */
}

static void on_ended(struct node_op *op)
{
    struct own *o = container_of(op, struct own, ended);
    o->under_way--;
    if (sm_state(&o->sm) != CALL_ENDED)
        sm_move(&o->sm, CALL_ENDED);
    free_if_over(o);
}

static grpc_byte_buffer *pack(const ProtobufCMessage *msg)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(msg));
    protobuf_c_message_pack(msg, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

/* Send the status, and what must come with it. */
static void end(struct own *o, const ProtobufCMessage *msg, const struct err *status)
{
    grpc_op ops[4];
    size_t n = 0;
    grpc_metadata reason;
    grpc_slice details = grpc_slice_from_copied_string(status ? status->msg : "");
    grpc_byte_buffer *bytes = NULL;
    memset(ops, 0, sizeof(ops));
    if (!o->events) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[n].data.recv_close_on_server.cancelled = &o->cancelled;
        ops[n++].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    }
    if (msg) {
        bytes = pack(msg);
        ops[n].data.send_message.send_message = bytes;
        ops[n++].op = GRPC_OP_SEND_MESSAGE;
    }
    /* The codes are gRPC's own. */
    ops[n].data.send_status_from_server.status = (grpc_status_code)(status ? status->code : ERR_OK);
    ops[n].data.send_status_from_server.status_details = status ? &details : NULL;
    if (status && status->reason) {
        memset(&reason, 0, sizeof(reason));
        reason.key = grpc_slice_from_static_string(NODE_REASON_KEY);
        reason.value = grpc_slice_from_static_string(status->reason);
        ops[n].data.send_status_from_server.trailing_metadata_count = 1;
        ops[n].data.send_status_from_server.trailing_metadata = &reason;
    }
    ops[n++].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    sm_move(&o->sm, CALL_ENDING);
    start_batch(o, ops, n, &o->ended);
    if (bytes)
        grpc_byte_buffer_destroy(bytes);
    grpc_slice_unref(details);
}

/* The handler's last word. */
static void let_go(struct own *o, const ProtobufCMessage *msg, const struct err *status)
{
    assert(o->held);
    o->held = false;
    if (sm_state(&o->sm) == CALL_SENDING) {
        o->end_wanted = true;
        o->status = status ? *status : (struct err){ 0 };
    } else {
        end(o, msg, status);
    }
}

void node_call_reply(struct node_call *c, const ProtobufCMessage *msg)
{
    assert(!own_of(c)->events);
    let_go(own_of(c), msg, NULL);
}

void node_call_fail(struct node_call *c, const struct err *err)
{
    let_go(own_of(c), NULL, err);
}

void node_stream_end(struct node_call *c)
{
    assert(own_of(c)->events);
    let_go(own_of(c), NULL, NULL);
}

static void on_sent(struct node_op *op)
{
    struct own *o = container_of(op, struct own, sent);
    o->under_way--;
    if (sm_state(&o->sm) != CALL_SENDING) {
        free_if_over(o);
    } else if (o->end_wanted) {
        end(o, NULL, o->status.code ? &o->status : NULL);
    } else {
        /* One that failed is followed by on_closed(), which ends the call. */
        sm_move(&o->sm, CALL_SERVING);
        if (op->ok)
            o->events->on_ready(&o->pub);
    }
}

/* The client has nothing more to say: the call was ended, or it is cancelled. */
static void on_closed(struct node_op *op)
{
    struct own *o = container_of(op, struct own, closed);
    o->under_way--;
    if (o->cancelled && sm_state(&o->sm) != CALL_ENDING && sm_state(&o->sm) != CALL_ENDED) {
        sm_move(&o->sm, CALL_ENDED);
        if (o->held) {
            o->held = false;
            o->events->on_gone(&o->pub);
        }
    }
    free_if_over(o);
}

void node_stream_open(struct node_call *c, const struct node_stream_events *events)
{
    struct own *o = own_of(c);
    struct node_server *s = o->server;
    if (s->stopping || s->nstreams >= NODE_STREAMS_MAX) {
        struct err err;
        if (s->stopping)
            err_fill(&err, ERR_UNAVAILABLE, "the daemon is stopping");
        else
            err_fill(&err, ERR_EXHAUSTED, "there are %d streams already", NODE_STREAMS_MAX);
        events->on_gone(c);
        node_call_fail(c, &err);
        return;
    }
    grpc_op op;
    memset(&op, 0, sizeof(op));
    o->events = events;
    s->nstreams++;
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &o->cancelled;
    start_batch(o, &op, 1, &o->closed);
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_INITIAL_METADATA;
    sm_move(&o->sm, CALL_SENDING);
    start_batch(o, &op, 1, &o->sent);
}

void node_stream_send(struct node_call *c, const ProtobufCMessage *msg)
{
    struct own *o = own_of(c);
    grpc_byte_buffer *bytes = pack(msg);
    grpc_op op;
    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = bytes;
    sm_move(&o->sm, CALL_SENDING);
    start_batch(o, &op, 1, &o->sent);
    grpc_byte_buffer_destroy(bytes);
}

void node_call_end_streams(struct node_server *s, const struct err *why)
{
    list_for_each_safe (node, &s->active) {
        struct own *o = container_of(node, struct own, node);
        if (!o->events || !o->held)
            continue;
        o->events->on_gone(&o->pub);
        let_go(o, NULL, why);
    }
}

/* The request's message into the arena. */
static bool read_request(struct own *o, struct err *err)
{
    if (!o->payload) {
        err_fill(err, ERR_INVALID, "the call came without a message");
        return false;
    }
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, o->payload)) {
        err_fill(err, ERR_INVALID, "the message cannot be read");
        return false;
    }
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    struct str data = { (const char *)GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all) };
    o->pub.request = pbwire_decode(o->method->input, data, &o->pub.arena, err);
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(TAKE(o->payload));
    return o->pub.request != NULL;
}

static void serve(struct own *o)
{
    struct err err;
    if (!o->method) {
        char path[96] = { 0 };
        size_t n = GRPC_SLICE_LENGTH(o->details.method);
        memcpy(path, GRPC_SLICE_START_PTR(o->details.method),
               n < sizeof(path) ? n : sizeof(path) - 1);
        err_fill(&err, ERR_UNIMPLEMENTED, "there is no method %s", path);
        node_call_fail(&o->pub, &err);
    } else if (o->server->nactive > NODE_CALLS_MAX) {
        err_fill(&err, ERR_EXHAUSTED, "there are %d calls already", NODE_CALLS_MAX);
        node_call_fail(&o->pub, &err);
    } else if (!read_request(o, &err)) {
        node_call_fail(&o->pub, &err);
    } else {
        o->method->start(&o->pub);
    }
}

static void on_started(struct node_op *op)
{
    struct own *o = container_of(op, struct own, started);
    struct node_server *s = o->server;
    o->under_way--;
    list_remove(&o->node);
    if (!op->ok) { /* the server shuts down, and this is no call */
        sm_move(&o->sm, CALL_ENDED);
        free_if_over(o);
        return;
    }
    list_push_back(&s->active, &o->node);
    s->nactive++;
    if (!s->stopping)
        node_call_await(s, o->number);
    sm_move(&o->sm, CALL_SERVING);
    o->held = true;
    serve(o);
}

void node_call_await(struct node_server *s, int method)
{
    struct own *o = calloc(1, sizeof(*o));
    assert(o); /* a method that nobody waits for would leave its clients without an answer */
    o->server = s;
    o->number = method;
    o->method = method < 0 ? NULL : &s->methods[method];
    o->pub.service = s->user;
    bool quick = o->method && o->method->quick;
    o->started = NODE_OP_INIT(on_started, quick);
    o->sent = NODE_OP_INIT(on_sent, quick);
    o->ended = NODE_OP_INIT(on_ended, true);
    o->closed = NODE_OP_INIT(on_closed, quick);
    grpc_metadata_array_init(&o->metadata);
    grpc_call_details_init(&o->details);
    const char *name = o->method ? strrchr(o->method->path, '.') + 1 : "unknown";
    sm_init(&o->sm, "node_call", name, rules, CALL_WAITING);
    list_push_back(&s->waiting, &o->node);
    o->under_way = 1;
    grpc_call_error rc =
        method < 0 ? grpc_server_request_call(s->server, &o->call, &o->details, &o->metadata,
                                              s->queue.cq, s->queue.cq, &o->started)
                   : grpc_server_request_registered_call(s->server, s->registered[method], &o->call,
                                                         &o->deadline, &o->metadata, &o->payload,
                                                         s->queue.cq, s->queue.cq, &o->started);
    assert(rc == GRPC_CALL_OK);
}
