/*
 * Bodies of RPC requests in any pieces, compressed or not, and queries of Connect's GET. The input:
 * a byte that chooses method and content type, one for the size of the pieces, one for what the
 * handler does, then the body or the query. Whatever comes, the server answers once and in order,
 * and gives back every byte of credit.
 */
#include "common/rpc/rpc.h"
#include "process.pb-c.h"
#include "tests/support/fake_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MESSAGE_MAX 4096

/* What the handlers do, by bits. */
enum {
    DO_REPLY = 1,
    DO_FAIL = 2,
    DO_PAUSE = 4,
    DO_SEND_MORE = 8,
    DO_TIMEOUT = 16,
    DO_CUT = 32,
    DO_GZIP = 64,
};

struct fuzz {
    unsigned plan;
    struct rpc_call *paused;
    int open; /* calls that began and did not close */
};

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void answer(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__StreamInputRequest *in = (const void *)msg;
    Process__StreamInputRequest out = PROCESS__STREAM_INPUT_REQUEST__INIT;
    if (in)
        out = *in;
    rpc_send(call, &out.base);
}

static void on_message(struct rpc_call *call, ProtobufCMessage *msg)
{
    struct fuzz *f = rpc_call_server(call)->context;
    if (!rpc_call_user(call)) {
        rpc_call_set_user(call, f);
        f->open++;
    }
    if (f->plan & DO_SEND_MORE)
        answer(call, msg);
    if (f->plan & DO_PAUSE)
        rpc_pause(f->paused = call);
    if (f->plan & DO_FAIL)
        rpc_fail(call, ERR_ABORTED, "as planned");
    else if (f->plan & DO_REPLY)
        rpc_reply(call, msg);
}

static void on_half_close(struct rpc_call *call)
{
    struct fuzz *f = rpc_call_server(call)->context;
    if (!rpc_call_user(call)) {
        rpc_call_set_user(call, f);
        f->open++;
    }
    answer(call, NULL);
    rpc_finish(call, NULL);
}

static void on_close(struct rpc_call *call)
{
    struct fuzz *f = rpc_call_user(call);
    must(f && f->open == 1);
    f->open--;
    f->paused = NULL;
}

#define METHOD(name, kind_)                                                                        \
    {                                                                                              \
        .path = "/f.F/" name, .kind = kind_, .input = &process__stream_input_request__descriptor,  \
        .output = &process__stream_input_request__descriptor, .on_message = on_message,            \
        .on_half_close = on_half_close, .on_close = on_close                                       \
    }
static const struct rpc_method methods[] = {
    METHOD("Unary", RPC_UNARY),
    { .path = "/f.F/Get",
      .kind = RPC_UNARY,
      .idempotent = true,
      .input = &process__stream_input_request__descriptor,
      .output = &process__stream_input_request__descriptor,
      .on_message = on_message,
      .on_close = on_close },
    METHOD("Server", RPC_SERVER_STREAM),
    METHOD("Client", RPC_CLIENT_STREAM),
    METHOD("Bidi", RPC_BIDI),
    { .path = NULL },
};
static const struct rpc_method *const tables[] = { methods, NULL };

static const struct {
    const char *method, *content_type;
} targets[] = {
    { "/f.F/Unary", "application/json" },          { "/f.F/Unary", "application/proto" },
    { "/f.F/Server", "application/connect+json" }, { "/f.F/Server", "application/connect+proto" },
    { "/f.F/Client", "application/connect+json" }, { "/f.F/Client", "application/connect+proto" },
    { "/f.F/Bidi", "application/connect+json" },   { "/f.F/Bidi", "application/connect+proto" },
    { "/f.F/Unary", "application/grpc" },          { "/f.F/Server", "application/grpc+json" },
    { "/f.F/Client", "application/grpc+proto" },   { "/f.F/Bidi", "application/grpc" },
    { "/f.F/Unary", "application/grpc-web" },      { "/f.F/Server", "application/grpc-web+json" },
    { "/f.F/Bidi", "application/grpc-web+proto" }, { "/f.F/Get", NULL },
};

static bool is_connect(const char *content_type)
{
    return !content_type || !strstr(content_type, "grpc");
}

/* The response's envelopes must be whole; the last one, and only it, is the end: 2 in Connect, 0x80
 * in gRPC-Web, none in gRPC. */
static void check_envelopes(const struct fake_stream *s, uint8_t end, bool gzip)
{
    struct str rest = buf_str(&s->body);
    int ends = 0;
    while (rest.n) {
        must(rest.n >= 5 && ends == 0);
        const uint8_t *p = (const uint8_t *)rest.p;
        size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        must(p[0] == 0 || (gzip && p[0] == 1) || (end && p[0] == end));
        must(n <= rest.n - 5);
        ends += end && p[0] == end;
        rest = str_from(rest, n + 5);
    }
    must(ends == (end && s->ended));
}

static void check_response(const struct fake_stream *s, const char *content_type, bool gzip)
{
    must(!s->was_reset && (!s->ended || s->status));
    if (!content_type || strcmp(content_type, "application/json") == 0 ||
        strcmp(content_type, "application/proto") == 0) {
        must(!s->ended || gzip || !fake_stream_header(s, "content-encoding"));
    } else if (strstr(content_type, "connect")) {
        check_envelopes(s, 2, gzip);
    } else if (strstr(content_type, "web")) {
        check_envelopes(s, 0x80, gzip);
    } else {
        must(!s->ended || fake_stream_trailer(s, "grpc-status") ||
             fake_stream_header(s, "grpc-status"));
        check_envelopes(s, 0, gzip);
    }
}

/* Say in every protocol's words that messages may be compressed. */
static void offer_gzip(struct fake_stream *s)
{
    static const char *const names[] = {
        "content-encoding",        "accept-encoding", "connect-content-encoding",
        "connect-accept-encoding", "grpc-encoding",   "grpc-accept-encoding"
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        fake_stream_add(s, names[i], "gzip");
}

static void serve(struct rpc_server *server, struct fuzz *f, const uint8_t *data, size_t size)
{
    size_t which = data[0] % (sizeof(targets) / sizeof(targets[0])), piece = data[1] + 1U;
    const char *type = targets[which].content_type;
    char target[2 * MESSAGE_MAX];
    struct fake_stream s;
    snprintf(target, sizeof(target), "%s", targets[which].method);
    if (!type)
        snprintf(target, sizeof(target), "%s?%.*s", targets[which].method, (int)(size - 3),
                 (const char *)data + 3);
    fake_stream_init(&s, type ? "POST" : "GET", target);
    if (type)
        fake_stream_add(&s, "content-type", type);
    else
        size = 3;
    if (f->plan & DO_GZIP)
        offer_gzip(&s);
    if (f->plan & DO_TIMEOUT)
        fake_stream_add(&s, is_connect(type) ? "connect-timeout-ms" : "grpc-timeout",
                        is_connect(type) ? "60000" : "60S");
    s.s.is_http2 = true;
    if (data[1] & 1)
        s.request.content_length = (int64_t)size - 3;
    rpc_server_accept(server, &s.s, &s.request);
    for (size_t at = 3; at < size; at += piece)
        fake_stream_data(&s, data + at, size - at < piece ? size - at : piece);
    if (!(f->plan & DO_CUT))
        fake_stream_end(&s);
    for (int turns = 0; f->paused && turns < 10000; turns++) {
        rpc_resume(f->paused);
        uv_run(server->loop, UV_RUN_NOWAIT);
    }
    uv_run(server->loop, UV_RUN_NOWAIT);
    must(s.given == s.consumed);
    check_response(&s, type, f->plan & DO_GZIP);
    /* Every request with a plan to answer was answered. */
    if (!(f->plan & DO_CUT) && (f->plan & (DO_REPLY | DO_FAIL)))
        must(s.ended);
    fake_stream_deinit(&s);
    must(f->open == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    uv_loop_t loop;
    struct defer_queue defer;
    struct fuzz f = { .plan = data[2] };
    must(uv_loop_init(&loop) == 0);
    defer_queue_init(&defer, &loop);
    struct rpc_server server = { .loop = &loop,
                                 .defer = &defer,
                                 .tables = tables,
                                 .message_max = MESSAGE_MAX,
                                 .gzip_min = 1,
                                 .context = &f };
    serve(&server, &f, data, size);
    defer_queue_close(&defer);
    uv_run(&loop, UV_RUN_DEFAULT);
    must(uv_loop_close(&loop) == 0);
    rpc_server_deinit(&server);
    return 0;
}
