/* From a request to a call: which method, which protocol, and what is refused before one begins. */
#include "common/rpc/call.h"
#include "common/rpc/metadata.h"

#include <stdio.h>

static const struct content_type {
    const char *name; /* of the request and of the response */
    const struct rpc_protocol *protocol;
    const struct rpc_codec *codec;
} content_types[] = {
    { "application/json", &rpc_connect_unary, &rpc_codec_json },
    { "application/proto", &rpc_connect_unary, &rpc_codec_proto },
    { "application/connect+json", &rpc_connect_stream, &rpc_codec_json },
    { "application/connect+proto", &rpc_connect_stream, &rpc_codec_proto },
    { "application/grpc", &rpc_grpc, &rpc_codec_proto },
    { "application/grpc+proto", &rpc_grpc, &rpc_codec_proto },
    { "application/grpc+json", &rpc_grpc, &rpc_codec_json },
    { "application/grpc-web", &rpc_grpc_web, &rpc_codec_proto },
    { "application/grpc-web+proto", &rpc_grpc_web, &rpc_codec_proto },
    { "application/grpc-web+json", &rpc_grpc_web, &rpc_codec_json },
};

#define CONTENT_TYPES (sizeof(content_types) / sizeof(content_types[0]))

static const struct content_type *find_content_type(struct str name)
{
    for (size_t i = 0; i < CONTENT_TYPES; i++)
        if (str_eq_nocase(name, str_of(content_types[i].name)))
            return &content_types[i];
    return NULL;
}

/* How the request was written; NULL when it is none of ours. */
static const struct content_type *content_type_of(struct rpc_call *call)
{
    char name[64];
    if (!call->by_get)
        return find_content_type(metadata_media_type(http_field_get(call->head, "content-type")));
    struct str encoding = rpc_connect_get_encoding(call);
    int n = snprintf(name, sizeof(name), "application/%.*s",
                     (int)(encoding.n < 32 ? encoding.n : 32), encoding.p ? encoding.p : "");
    const struct content_type *type = find_content_type((struct str){ name, (size_t)n });
    return type && type->protocol == &rpc_connect_unary ? type : NULL;
}

static struct str path_of(struct str target)
{
    return str_split(&target, '?');
}

static const struct rpc_method *find_method(const struct rpc_server *server, struct str path)
{
    for (const struct rpc_method *const *table = server->tables; *table; table++)
        for (const struct rpc_method *m = *table; m->path; m++)
            if (str_eq(path, str_of(m->path)))
                return m;
    return NULL;
}

/* "/process.Process/" of "/process.Process/Start", empty when the path has not two slashes. */
static struct str service_of(struct str path)
{
    ptrdiff_t slash = path.n > 1 && path.p[0] == '/' ? str_find(str_from(path, 1), '/') : -1;
    return slash < 0 ? (struct str){ "", 0 } : (struct str){ path.p, (size_t)slash + 2 };
}

bool rpc_server_has_service(const struct rpc_server *server, struct str path)
{
    struct str service = service_of(path_of(path));
    if (service.n == 0)
        return false;
    for (const struct rpc_method *const *table = server->tables; *table; table++)
        for (const struct rpc_method *m = *table; m->path; m++)
            if (str_starts(str_of(m->path), service))
                return true;
    return false;
}

void rpc_server_deinit(struct rpc_server *server)
{
    buf_deinit(&server->scratch);
    buf_deinit(&server->packed);
}

/* Whether a method can be called by the protocol: unary ones have a form of their own in Connect.
 */
static bool fits(const struct rpc_protocol *protocol, const struct rpc_method *method)
{
    if (protocol == &rpc_connect_unary)
        return method->kind == RPC_UNARY;
    return protocol != &rpc_connect_stream || method->kind != RPC_UNARY;
}

/* Answer over plain HTTP and be done: the handler never knows. A client that cannot be understood
 * cannot be told an error of its protocol. */
static void respond(struct rpc_call *call, int status, struct http_field *field, const char *text)
{
    call->finished = call->over = true;
    http_respond_fields(call->stream, status, "text/plain; charset=utf-8", field, field ? 1 : 0,
                        text, strlen(text));
}

static void refuse_content_type(struct rpc_call *call)
{
    const struct rpc_protocol *connect =
        call->method->kind == RPC_UNARY ? &rpc_connect_unary : &rpc_connect_stream;
    struct http_field accept = { .name = STR("accept-post") };
    char text[256];
    int n = snprintf(text, sizeof(text), "%s, %s, %s", connect->accept, rpc_grpc.accept,
                     rpc_grpc_web.accept);
    accept.value = (struct str){ text, (size_t)n };
    respond(call, 415, &accept, "the content type is none that Accept-Post names\n");
}

static void refuse(struct rpc_call *call, int status, const struct err *err)
{
    call->finished = call->over = true;
    call->protocol->refuse(call, status, err);
}

static void refuse_method(struct rpc_call *call)
{
    struct err err;
    struct str path = path_of(call->head->target);
    err_fill(&err, ERR_UNIMPLEMENTED, "there is no method %.*s", (int)(path.n < 128 ? path.n : 128),
             path.p);
    if (call->protocol) {
        refuse(call, 404, &err);
        return;
    }
    call->finished = call->over = true;
    rpc_connect_respond_error(call, 404, NULL, 0, &err);
}

static void refuse_verb(struct rpc_call *call)
{
    struct http_field allow = { STR("allow"), STR("POST") };
    if (call->method->idempotent)
        allow.value = STR("GET, POST");
    respond(call, 405, &allow, "the method is not called by this verb\n");
}

/* What the headers say of the call, and of a GET the message. */
static int read_request(struct rpc_call *call, struct err *err)
{
    int rc = call->protocol->begin(call, err);
    if (rc == 0)
        rc = rpc_call_agree_compression(call, err);
    if (rc == 0 && call->by_get)
        rc = rpc_connect_get_begin(call, err);
    return rc;
}

static void begin(struct rpc_call *call)
{
    struct str verb = call->head->method;
    struct err err = { 0 };

    call->method = find_method(call->server, path_of(call->head->target));
    call->by_get = call->method && call->method->idempotent && str_eq(verb, STR("GET"));
    const struct content_type *type = content_type_of(call);
    if (type) {
        call->protocol = type->protocol;
        call->codec = type->codec;
        call->content_type = type->name;
    }
    if (!call->method || (call->method->trusted_only && !call->stream->trusted))
        refuse_method(call);
    else if (!call->by_get && !str_eq(verb, STR("POST")))
        refuse_verb(call);
    else if (!type || !fits(type->protocol, call->method))
        refuse_content_type(call);
    else if (type->protocol->over_http2 && !call->stream->is_http2)
        respond(call, 505, NULL, "gRPC needs HTTP/2\n");
    else if (call->server->authorize && !call->server->authorize(call, &err))
        refuse(call, err_code_http(err.code), &err);
    else if (read_request(call, &err) < 0)
        rpc_finish(call, &err);
    else if (!type->protocol->enveloped && call->head->content_length > (int64_t)rpc_wire_max(call))
        rpc_fail(call, ERR_EXHAUSTED, "message is larger than the limit of %zu bytes",
                 rpc_message_max(call));
    else
        rpc_call_set_deadline(call);
}

void rpc_server_accept(struct rpc_server *server, struct http_stream *s,
                       const struct http_head *head)
{
    struct rpc_call *call = arena_zalloc(&s->arena, sizeof(*call));
    if (!call) {
        s->events = &HTTP_EVENTS_NONE;
        http_reset(s);
        return;
    }
    call->magic = RPC_CALL_MAGIC;
    call->server = server;
    call->stream = s;
    call->head = head;
    s->user = call;
    s->events = &rpc_call_events;
    begin(call);
}
