/* One call of the conformance service: answers as its first request asks for. */
#include "common/base/cleanup.h"
#include "common/rpc/pbwire.h"
#include "tests/conformance/conformance.h"

#include <stdlib.h>

#define TYPE_PREFIX "type.googleapis.com/"

struct exchange *exchange_of(struct rpc_call *call)
{
    struct exchange *x = rpc_call_user(call);
    if (x)
        return x;
    x = calloc(1, sizeof(*x));
    if (!x) {
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return NULL;
    }
    x->call = call;
    uv_timer_init(rpc_call_server(call)->loop, &x->timer);
    rpc_call_set_user(call, x);
    return x;
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct exchange, timer));
}

void exchange_close(struct rpc_call *call)
{
    struct exchange *x = rpc_call_user(call);
    if (!x)
        return;
    x->call = NULL;
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

/* The message in its binary form, in the call's arena. */
static ProtobufCBinaryData pack(struct exchange *x, const ProtobufCMessage *msg)
{
    ProtobufCBinaryData out = { .len = protobuf_c_message_get_packed_size(msg) };
    out.data = arena_alloc(rpc_call_arena(x->call), out.len + 1);
    if (!out.data)
        abort();
    protobuf_c_message_pack(msg, out.data);
    return out;
}

ProtobufCMessage *exchange_keep(struct exchange *x, const ProtobufCMessage *msg)
{
    if (!msg)
        return NULL;
    ProtobufCBinaryData packed = pack(x, msg);
    struct str bytes = { (const char *)packed.data, packed.len };
    return pbwire_decode(msg->descriptor, bytes, rpc_call_arena(x->call), NULL);
}

void exchange_add_request(struct exchange *x, const ProtobufCMessage *msg)
{
    struct arena *arena = rpc_call_arena(x->call);
    struct request_list *list = &x->requests;
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 4;
        Google__Protobuf__Any **items = arena_alloc(arena, cap * sizeof(*items));
        if (!items)
            abort();
        if (list->n)
            memcpy(items, list->items, list->n * sizeof(*items));
        list->items = items;
        list->cap = cap;
    }
    Google__Protobuf__Any *any = arena_alloc(arena, sizeof(*any));
    if (!any)
        abort();
    google__protobuf__any__init(any);
    any->type_url = arena_printf(arena, TYPE_PREFIX "%s", msg->descriptor->name);
    any->value = pack(x, msg);
    list->items[list->n++] = any;
    x->received++;
}

static void add_metadata(struct exchange *x, conf_header **headers, size_t n,
                         void (*add)(struct rpc_call *, const char *, const char *))
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < headers[i]->n_value; k++)
            add(x->call, headers[i]->name, headers[i]->value[k]);
}

/* End with the error that was asked for, its details and, with `info`, the request. */
static void fail(struct exchange *x, const conf_error *error, bool info)
{
    for (size_t i = 0; i < error->n_details; i++) {
        const Google__Protobuf__Any *any = error->details[i];
        const char *slash = strrchr(any->type_url, '/');
        rpc_call_add_detail(x->call, slash ? slash + 1 : any->type_url, any->value.data,
                            any->value.len);
    }
    if (info) {
        const ProtobufCMessage *seen = &request_info(x, true)->base;
        ProtobufCBinaryData packed = pack(x, seen);
        rpc_call_add_detail(x->call, seen->descriptor->name, packed.data, packed.len);
    }
    rpc_fail(x->call, (enum err_code)error->code, "%s", error->message ? error->message : "");
}

/* Send a response: every type of them has the payload alone. */
static void respond(struct exchange *x, const ProtobufCBinaryData *data, bool whole)
{
    conf_conformance_payload payload = CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__INIT;
    if (data)
        payload.data = *data;
    if (whole || x->full_duplex)
        payload.request_info = request_info(x, whole);
    x->requests = (struct request_list){ 0 };
    const ProtobufCMessageDescriptor *type = rpc_call_method(x->call)->output;
    conf_unary_response response;
    protobuf_c_message_init(type, &response);
    response.payload = &payload;
    rpc_send(x->call, &response.base);
}

static void answer(struct exchange *x)
{
    const conf_unary_response_definition *unary = x->unary;
    if (unary && unary->response_case ==
                     CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_ERROR) {
        fail(x, unary->error, true);
        return;
    }
    bool has_data =
        unary && unary->response_case ==
                     CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_RESPONSE_DATA;
    respond(x, has_data ? &unary->response_data : NULL, true);
    rpc_finish(x->call, NULL);
}

static void on_answer_due(uv_timer_t *timer)
{
    struct exchange *x = container_of(timer, struct exchange, timer);
    if (x->call)
        answer(x);
}

void exchange_answer(struct exchange *x)
{
    if (x->unary) {
        add_metadata(x, x->unary->response_headers, x->unary->n_response_headers,
                     rpc_call_add_header);
        add_metadata(x, x->unary->response_trailers, x->unary->n_response_trailers,
                     rpc_call_add_trailer);
    }
    if (x->unary && x->unary->response_delay_ms)
        uv_timer_start(&x->timer, on_answer_due, x->unary->response_delay_ms, 0);
    else
        answer(x);
}

static void send_next(struct exchange *x)
{
    bool whole = x->sent == 0;
    respond(x, &x->stream->response_data[x->sent++], whole);
}

static void on_response_due(uv_timer_t *timer)
{
    struct exchange *x = container_of(timer, struct exchange, timer);
    if (!x->call)
        return;
    send_next(x);
    rpc_resume(x->call);
    exchange_pump(x);
}

static void finish(struct exchange *x)
{
    if (x->stream && x->stream->error)
        fail(x, x->stream->error, x->sent == 0);
    else
        rpc_finish(x->call, NULL);
}

static void send_headers(struct exchange *x)
{
    x->told_headers = true;
    add_metadata(x, x->stream->response_headers, x->stream->n_response_headers,
                 rpc_call_add_header);
    add_metadata(x, x->stream->response_trailers, x->stream->n_response_trailers,
                 rpc_call_add_trailer);
    if (x->stream->n_response_data)
        rpc_send_headers(x->call);
}

/* In full duplex each request brings one response; the others come when the requests have ended. */
void exchange_pump(struct exchange *x)
{
    size_t total = x->stream ? x->stream->n_response_data : 0;
    if (x->stream && !x->told_headers)
        send_headers(x);
    while (x->sent < total && (x->half_closed || (x->full_duplex && x->sent < x->received))) {
        if (x->stream->response_delay_ms) {
            rpc_pause(x->call);
            uv_timer_start(&x->timer, on_response_due, x->stream->response_delay_ms, 0);
            return;
        }
        send_next(x);
    }
    if (x->half_closed || (x->full_duplex && x->received > total))
        finish(x);
}
