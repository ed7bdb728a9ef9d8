/* Calls of the control service. One that finds the link down waits for it, within its deadline; a
 * first call may be answered before the link is up. */
#include "orchestrator/link/link_internal.h"

#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/link/guest_protocol.h"
#include "common/rpc/pbwire.h"
#include "common/rpc/rpc_client.h"
#include "guest.pb-c.h"

#include <errno.h>
#include <stdlib.h>

struct guest_call {
    struct list node;
    struct guest_link *l; /* NULL once that was closed */
    uv_timer_t timer;     /* the deadline while waiting, and failures that are told later */
    uint64_t deadline;    /* by uv_now(); 0: none */
    struct rpc_request *request;
    char *method;
    uint8_t *packed; /* the message, while waiting */
    size_t packed_n;
    const ProtobufCMessageDescriptor *input, *output;
    uint8_t frame; /* of a first call: LINK_FRAME_*; 0: it is for the session */
    void (*done)(void *user, const ProtobufCMessage *response, const struct err *err);
    void *user;
    struct err failure;
    int errnum;
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct guest_call *c = container_of((uv_timer_t *)handle, struct guest_call, timer);
    free(c->method);
    free(c->packed);
    free(c);
}

static void call_free(struct guest_call *c)
{
    list_remove(&c->node);
    if (c->l && c->l->first == c)
        c->l->first = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

static void call_done(struct guest_call *c, const ProtobufCMessage *response, const struct err *err)
{
    list_remove(&c->node);
    c->done(c->user, response, err);
    call_free(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct guest_call *c = container_of(timer, struct guest_call, timer);
    if (!c->failure.code)
        c->errnum =
            err_set(&c->failure, ERR_DEADLINE, ETIMEDOUT, "the guest could not be reached in time");
    call_done(c, NULL, &c->failure);
}

static void fail_later(struct guest_call *c, enum err_code code, const char *why)
{
    c->errnum = err_set(&c->failure, code, EIO, "%s", why);
    uv_timer_start(&c->timer, on_timer, 0, 0);
}

static void on_response(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct guest_call *c = user;
    c->request = NULL;
    call_done(c, response, err);
}

static void call_send(struct guest_call *c, const ProtobufCMessage *msg)
{
    struct http2_session *h = guest_link_session(c->l);
    uint64_t now = uv_now(c->l->loop);
    unsigned left = 0;
    if (c->deadline > 0)
        left = c->deadline > now ? (unsigned)(c->deadline - now) : 1;
    uv_timer_stop(&c->timer);
    c->request =
        h ? rpc_client_call(h, c->l->loop, c->method, msg, c->output, left, on_response, c) : NULL;
    if (!c->request)
        fail_later(c, ERR_UNAVAILABLE, "the link to the guest takes no more calls");
}

/* The message of a call that waited; NULL when memory is out. A secret that the guest has already
 * is left out of it: the guest looks for that everywhere, and would find a marker in the message.
 */
static ProtobufCMessage *unpack(const struct guest_call *c)
{
    ProtobufCMessage *msg = protobuf_c_message_unpack(c->input, NULL, c->packed_n, c->packed);
    if (msg && c->input == &sandpit__guest__v1__configure_request__descriptor) {
        ProtobufCBinaryData *secret = &((Sandpit__Guest__V1__ConfigureRequest *)msg)->link_secret;
        if (secret->len == LINK_SECRET_SIZE &&
            memcmp(secret->data, link_marker_secret(c->l), LINK_SECRET_SIZE) == 0)
            secret->len = 0;
    }
    return msg;
}

void guest_calls_start(struct guest_link *l)
{
    list_for_each (node, &l->calls) {
        struct guest_call *c = container_of(node, struct guest_call, node);
        if (!c->packed)
            continue;
        ProtobufCMessage *msg = unpack(c);
        free(TAKE(c->packed));
        if (msg)
            call_send(c, msg);
        else
            fail_later(c, ERR_INTERNAL, "out of memory");
        if (msg)
            protobuf_c_message_free_unpacked(msg, NULL);
    }
}

void guest_calls_fail(struct guest_link *l)
{
    list_for_each_safe (node, &l->calls) {
        struct guest_call *c = container_of(node, struct guest_call, node);
        list_remove(&c->node);
        c->l = NULL;
        /* One that was sent hears from the session that it was lost. */
        if (!c->request)
            fail_later(c, ERR_UNAVAILABLE, "the link to the guest was closed");
    }
}

static struct guest_call *first_that_waits(struct guest_link *l)
{
    list_for_each (node, &l->calls) {
        struct guest_call *c = container_of(node, struct guest_call, node);
        if (c->packed && c->frame)
            return c;
    }
    return NULL;
}

static bool put_frame(const struct guest_call *c, struct buf *frame)
{
    struct buf packed = { 0 };
    ProtobufCMessage *msg = unpack(c);
    bool ok = msg && pbwire_encode(msg, &packed) &&
              link_frame_put(frame, (enum link_frame_type)c->frame, buf_str(&packed));
    if (msg)
        protobuf_c_message_free_unpacked(msg, NULL);
    buf_deinit(&packed);
    return ok;
}

void guest_calls_send_first(struct guest_link *l)
{
    if (sm_state(&l->sm) != LINK_ACKING || l->first_sent || l->first_refused)
        return;
    struct guest_call *c = first_that_waits(l);
    struct buf frame = { 0 };
    if (c && put_frame(c, &frame)) {
        io_write(&l->conn->fd.io, buf_head(&frame), buf_len(&frame));
        l->first = c;
        l->first_sent = true;
        l->told_next_secret = true;
    }
    buf_deinit(&frame);
}

void guest_calls_forget_first(struct guest_link *l)
{
    l->first = NULL;
    l->first_sent = false;
    link_frame_deinit(&l->answer);
}

void guest_calls_take_answer(struct guest_link *l)
{
    struct guest_call *c = TAKE(l->first);
    if (!c) /* given up meanwhile */
        return;
    uint8_t asked = c->frame;
    c->frame = 0;
    if (l->answer.type != asked) /* declined: it goes into the session */
        return;
    free(TAKE(c->packed));
    uv_timer_stop(&c->timer);
    struct arena arena = { 0 };
    struct err err;
    const ProtobufCMessage *response = pbwire_decode(c->output, l->answer.message, &arena, &err);
    if (!response)
        err_fill(&err, ERR_INTERNAL, "the guest's answer cannot be read");
    call_done(c, response, response ? NULL : &err);
    arena_deinit(&arena);
}

struct guest_call *
guest_link_call(struct guest_link *l, const char *method, const ProtobufCMessage *msg,
                const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
                void (*done)(void *user, const ProtobufCMessage *response, const struct err *err),
                void *user)
{
    struct guest_call *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->l = l;
    c->input = msg->descriptor;
    c->output = output;
    c->done = done;
    c->user = user;
    c->method = str_dup(str_of(method));
    c->packed_n = protobuf_c_message_get_packed_size(msg);
    c->packed = guest_link_is_up(l) ? NULL : malloc(c->packed_n + 1);
    if (!c->method || (!guest_link_is_up(l) && !c->packed) ||
        uv_timer_init(l->loop, &c->timer) != 0) {
        free(c->method);
        free(c->packed);
        free(c);
        return NULL;
    }
    list_push_back(&l->calls, &c->node);
    uv_update_time(l->loop);
    if (timeout_ms > 0)
        c->deadline = uv_now(l->loop) + timeout_ms;
    if (!c->packed) {
        call_send(c, msg);
        return c;
    }
    protobuf_c_message_pack(msg, c->packed);
    if (timeout_ms > 0)
        uv_timer_start(&c->timer, on_timer, timeout_ms, 0);
    return c;
}

struct guest_call *guest_link_call_first(struct guest_link *l, enum guest_link_first which,
                                         const ProtobufCMessage *msg, unsigned timeout_ms,
                                         void (*done)(void *user, const ProtobufCMessage *response,
                                                      const struct err *err),
                                         void *user)
{
    static const struct {
        uint8_t frame;
        const char *method;
        const ProtobufCMessageDescriptor *output;
    } first_calls[] = {
        [GUEST_LINK_FIRST_CONFIGURE] = { LINK_FRAME_CONFIGURE, GUEST_SERVICE "Configure",
                                         &sandpit__guest__v1__configure_response__descriptor },
        [GUEST_LINK_FIRST_REFRESH] = { LINK_FRAME_REFRESH, GUEST_SERVICE "Refresh",
                                       &sandpit__guest__v1__refresh_response__descriptor },
    };
    struct guest_call *c = guest_link_call(l, first_calls[which].method, msg,
                                           first_calls[which].output, timeout_ms, done, user);
    if (c && c->packed) {
        c->frame = first_calls[which].frame;
        guest_calls_send_first(l);
    }
    return c;
}

void guest_link_cancel(struct guest_call *c)
{
    if (c->request)
        rpc_request_cancel(TAKE(c->request));
    call_free(c);
}
