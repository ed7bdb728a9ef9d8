/*
 * A server under the Connect project's conformance runner: reads a ServerCompatRequest from stdin,
 * listens, tells on stdout where, serves until SIGTERM.
 */
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/http/listener.h"
#include "common/rpc/pbwire.h"
#include "tests/conformance/conformance.h"

#include "connectrpc/conformance/v1/server_compat.pb-c.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define HOST        "127.0.0.1"
#define REQUEST_MAX 65536

struct program {
    uv_loop_t loop;
    struct defer_queue defer;
    struct http_acceptor acceptor;
    struct rpc_server rpc;
    struct http_listener *listener;
    uv_signal_t on_term;
};

static const struct rpc_method *const tables[] = { conformance_methods, NULL };

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct program *p = container_of(a, struct program, acceptor);
    if (rpc_server_has_service(&p->rpc, head->target))
        rpc_server_accept(&p->rpc, s, head);
    else
        http_respond(s, 404, "text/plain", STR("no such path\n").p, STR("no such path\n").n);
}

static void on_listener_closed(void *user)
{
    struct program *p = user;
    defer_queue_close(&p->defer);
    uv_close((uv_handle_t *)&p->on_term, NULL);
}

static void on_term(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct program *p = container_of(handle, struct program, on_term);
    uv_signal_stop(handle);
    http_listener_close(p->listener, 0, on_listener_closed, p);
}

static bool read_all(uint8_t *to, size_t n)
{
    for (ssize_t got; n > 0; to += got, n -= (size_t)got) {
        got = read(STDIN_FILENO, to, n);
        if (got <= 0)
            return false;
    }
    return true;
}

static bool write_all(const uint8_t *from, size_t n)
{
    for (ssize_t put; n > 0; from += put, n -= (size_t)put) {
        put = write(STDOUT_FILENO, from, n);
        if (put <= 0)
            return false;
    }
    return true;
}

/* Messages on stdin and stdout: the length in four bytes, big-endian, then the message. */
static bool read_options(struct arena *arena, conf_server_compat_request **out)
{
    static uint8_t text[REQUEST_MAX];
    uint8_t head[4];
    struct err err;
    if (!read_all(head, sizeof(head)))
        return false;
    size_t n = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (n > sizeof(text) || !read_all(text, n))
        return false;
    *out = (void *)pbwire_decode(&connectrpc__conformance__v1__server_compat_request__descriptor,
                                 (struct str){ (const char *)text, n }, arena, &err);
    return *out != NULL;
}

static bool tell_port(uint16_t port)
{
    conf_server_compat_response response =
        CONNECTRPC__CONFORMANCE__V1__SERVER_COMPAT_RESPONSE__INIT;
    char host[] = HOST;
    response.host = host;
    response.port = port;
    struct buf out = { 0 };
    bool ok = pbwire_encode(&response.base, &out);
    size_t n = buf_len(&out);
    const uint8_t head[4] = { 0, 0, (uint8_t)(n >> 8), (uint8_t)n };
    ok = ok && write_all(head, sizeof(head)) && write_all(buf_head(&out), n);
    buf_deinit(&out);
    return ok;
}

static int serve(struct program *p, const conf_server_compat_request *options)
{
    struct err err;
    uv_loop_init(&p->loop);
    defer_queue_init(&p->defer, &p->loop);
    uv_signal_init(&p->loop, &p->on_term);
    uv_signal_start(&p->on_term, on_term, SIGTERM);
    p->acceptor.on_request = on_request;
    p->rpc = (struct rpc_server){ .loop = &p->loop,
                                  .defer = &p->defer,
                                  .tables = tables,
                                  .message_max = options->message_receive_limit,
                                  .gzip_min = 1,
                                  .types = conformance_types };
    struct http_listener_options listen = { .host = HOST,
                                            .server = { .acceptor = &p->acceptor, .h2c = true } };
    if (http_listener_new(&p->listener, &p->loop, &p->defer, &listen, &err) < 0) {
        log_error("cannot listen", LOG_STR("reason", err.msg));
        return 1;
    }
    if (!tell_port(http_listener_port(p->listener)))
        return 1;
    uv_run(&p->loop, UV_RUN_DEFAULT);
    rpc_server_deinit(&p->rpc);
    return uv_loop_close(&p->loop) == 0 ? 0 : 1;
}

int main(void)
{
    static struct program program;
    struct arena arena = { 0 };
    conf_server_compat_request *options;
    log_setup(LOG_LEVEL_INFO, "conformance_server");
    signal(SIGPIPE, SIG_IGN);
    int rc = 1;
    if (!read_options(&arena, &options))
        log_error("cannot read the request on stdin");
    else if (options->use_tls)
        log_error("TLS was asked for, which this server has not");
    else
        rc = serve(&program, options);
    arena_deinit(&arena);
    return rc;
}
