#include "tests/unit/common/rpc/rpc_fixture.h"

#include "everything.pb-c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct rpc_fixture *fixture_of(struct rpc_call *call)
{
    return rpc_call_server(call)->context;
}

static void echo(struct rpc_call *call, const Test__Everything *in)
{
    Test__Everything out = TEST__EVERYTHING__INIT;
    out.a_string = in->a_string;
    out.some_bytes = in->some_bytes;
    rpc_send(call, &out.base);
}

static void fail_with_details(struct rpc_call *call)
{
    rpc_call_add_detail(call, "test.A", "\1\2\3", 3);
    rpc_call_add_detail(call, "test.B", "", 0);
    rpc_fail(call, ERR_NOT_FOUND, "with details");
}

/* What the message's text asks for. false: it is an ordinary one. */
static bool obey(struct rpc_call *call, const Test__Everything *in)
{
    struct rpc_fixture *f = fixture_of(call);
    f->messages++;
    buf_printf(&f->log, "message %s;", in->a_string);
    rpc_call_set_user(call, f);
    if (strcmp(in->a_string, "fail") == 0)
        rpc_fail(call, ERR_NOT_FOUND, "no such \"thing\"");
    else if (strcmp(in->a_string, "details") == 0)
        fail_with_details(call);
    else if (strcmp(in->a_string, "none") == 0)
        rpc_finish(call, NULL);
    else if (strcmp(in->a_string, "hold") == 0)
        f->held = call;
    else if (strcmp(in->a_string, "pause") == 0)
        rpc_pause(f->held = call);
    else
        return false;
    return true;
}

static void on_unary(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Test__Everything *in = (const void *)msg;
    if (obey(call, in))
        return;
    rpc_call_add_header(call, "x-header", "one");
    rpc_call_add_trailer(call, "x-trailer", "two");
    echo(call, in);
    rpc_finish(call, NULL);
}

static void on_plain_unary(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Test__Everything *in = (const void *)msg;
    if (obey(call, in))
        return;
    echo(call, in);
    rpc_finish(call, NULL);
}

static void on_server_stream(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Test__Everything *in = (const void *)msg;
    if (obey(call, in))
        return;
    rpc_call_add_header(call, "x-header", "one");
    for (int i = 0; i < in->an_int32; i++)
        echo(call, in);
    rpc_call_add_trailer(call, "x-trailer", "two");
    rpc_call_add_trailer(call, "x-trailer", "three");
    rpc_finish(call, NULL);
}

static void on_client_stream(struct rpc_call *call, ProtobufCMessage *msg)
{
    obey(call, (const void *)msg);
}

static void on_bidi(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Test__Everything *in = (const void *)msg;
    if (!obey(call, in))
        echo(call, in);
}

static void on_client_half_close(struct rpc_call *call)
{
    struct rpc_fixture *f = fixture_of(call);
    Test__Everything out = TEST__EVERYTHING__INIT;
    buf_puts(&f->log, "half_close;");
    out.an_int32 = f->messages;
    rpc_reply(call, &out.base);
}

static void on_bidi_half_close(struct rpc_call *call)
{
    buf_puts(&fixture_of(call)->log, "half_close;");
    rpc_finish(call, NULL);
}

static void on_writable(struct rpc_call *call)
{
    buf_puts(&fixture_of(call)->log, "writable;");
}

static void on_deadline(struct rpc_call *call)
{
    buf_puts(&fixture_of(call)->log, "deadline;");
    rpc_fail(call, ERR_DEADLINE, "my own words");
}

static void on_close(struct rpc_call *call)
{
    struct rpc_fixture *f = fixture_of(call);
    buf_puts(&f->log, "close;");
    f->held = NULL;
}

#define EVERYTHING .input = &test__everything__descriptor, .output = &test__everything__descriptor

static const struct rpc_method methods[] = {
    { .path = "/test.Service/Unary",
      .kind = RPC_UNARY,
      EVERYTHING,
      .on_message = on_unary,
      .on_close = on_close },
    { .path = "/test.Service/Idempotent",
      .kind = RPC_UNARY,
      EVERYTHING,
      .idempotent = true,
      .on_message = on_plain_unary,
      .on_close = on_close },
    { .path = "/test.Service/ServerStream",
      .kind = RPC_SERVER_STREAM,
      EVERYTHING,
      .on_message = on_server_stream,
      .on_writable = on_writable,
      .on_close = on_close },
    { .path = "/test.Service/OwnDeadline",
      .kind = RPC_SERVER_STREAM,
      EVERYTHING,
      .own_deadline = true,
      .on_message = on_server_stream,
      .on_deadline = on_deadline,
      .on_close = on_close },
    { .path = "/test.Service/ClientStream",
      .kind = RPC_CLIENT_STREAM,
      EVERYTHING,
      .on_message = on_client_stream,
      .on_half_close = on_client_half_close,
      .on_close = on_close },
    { .path = "/test.Service/Bidi",
      .kind = RPC_BIDI,
      EVERYTHING,
      .on_message = on_bidi,
      .on_half_close = on_bidi_half_close,
      .on_close = on_close },
    { .path = "/test.Service/Trusted",
      .kind = RPC_UNARY,
      EVERYTHING,
      .trusted_only = true,
      .on_message = on_unary,
      .on_close = on_close },
    { .path = NULL },
};

static const struct rpc_method *const tables[] = { methods, NULL };

static bool authorize(struct rpc_call *call, struct err *err)
{
    if (!fixture_of(call)->deny)
        return true;
    return err_set(err, ERR_UNAUTHENTICATED, EACCES, "who are you") == 0;
}

int rpc_fixture_setup(void **state)
{
    struct rpc_fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    defer_queue_init(&f->defer, &f->loop);
    f->server = (struct rpc_server){ .loop = &f->loop,
                                     .defer = &f->defer,
                                     .tables = tables,
                                     .message_max = 100000,
                                     .authorize = authorize,
                                     .context = f };
    fake_stream_init(&f->stream, "POST", "/");
    *state = f;
    return 0;
}

int rpc_fixture_teardown(void **state)
{
    struct rpc_fixture *f = *state;
    fake_stream_deinit(&f->stream);
    defer_queue_close(&f->defer);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    rpc_server_deinit(&f->server);
    buf_deinit(&f->log);
    free(f);
    return 0;
}

void rpc_fixture_request(struct rpc_fixture *f, const char *target, const char *content_type)
{
    fake_stream_deinit(&f->stream);
    rpc_fixture_turn(f);
    buf_clear(&f->log);
    f->messages = 0;
    fake_stream_init(&f->stream, "POST", target);
    if (content_type)
        fake_stream_add(&f->stream, "content-type", content_type);
}

void rpc_fixture_accept(struct rpc_fixture *f)
{
    f->stream.s.is_http2 = true;
    rpc_server_accept(&f->server, &f->stream.s, &f->stream.request);
}

void rpc_fixture_turn(struct rpc_fixture *f)
{
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

void rpc_fixture_call(struct rpc_fixture *f, const char *target, const char *content_type,
                      struct str body)
{
    rpc_fixture_request(f, target, content_type);
    rpc_fixture_accept(f);
    fake_stream_data(&f->stream, body.p, body.n);
    fake_stream_end(&f->stream);
    rpc_fixture_turn(f);
}

void rpc_fixture_envelope(struct rpc_fixture *f, uint8_t flags, struct str payload)
{
    struct buf out = { 0 };
    uint8_t head[5] = { flags, (uint8_t)(payload.n >> 24), (uint8_t)(payload.n >> 16),
                        (uint8_t)(payload.n >> 8), (uint8_t)payload.n };
    buf_append(&out, head, sizeof(head));
    buf_append_str(&out, payload);
    fake_stream_data(&f->stream, buf_head(&out), buf_len(&out));
    buf_deinit(&out);
}

void rpc_fixture_expect_envelope(struct rpc_fixture *f, uint8_t flags, const char *payload)
{
    struct buf *body = &f->stream.body;
    size_t n = strlen(payload);
    assert_true(buf_len(body) >= n + 5);
    const uint8_t *p = buf_head(body);
    assert_int_equal(p[0], flags);
    assert_int_equal((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4], n);
    char *text = str_dup((struct str){ (const char *)p + 5, n });
    assert_string_equal(text, payload);
    free(text);
    buf_consume(body, n + 5);
}

void rpc_fixture_expect_log(struct rpc_fixture *f, const char *want)
{
    char *log = buf_take_text(&f->log);
    assert_string_equal(log, want);
    free(log);
}

void rpc_fixture_expect_body(struct rpc_fixture *f, const char *want)
{
    char *text = str_dup(buf_str(&f->stream.body));
    assert_string_equal(text, want);
    free(text);
}
