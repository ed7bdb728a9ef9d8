/*
 * HTTP/1 connections fed with anything. The first byte chooses the role (bit 0: client) and how the
 * rest is cut into pieces. What is proved besides memory safety: a connection whose peer has gone
 * always ends, every stream gets its on_close, nothing that could split a head gets into one, and a
 * request that was accepted and is written anew is read again as the same.
 */
#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/http/http1_head.h"
#include "common/io/io_fd.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#define INPUT_MAX 16384
#define TURNS_MAX 10000

static uv_loop_t loop;
static struct defer_queue defer_q;
static int open_streams, gone;

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void check_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        must(s.p[i] != '\r' && s.p[i] != '\n' && s.p[i] != '\0');
}

static void check_head(const struct http_head *head)
{
    for (size_t i = 0; i < head->nfields; i++) {
        must(head->fields[i].name.n > 0);
        for (size_t j = 0; j < head->fields[i].name.n; j++) {
            char c = head->fields[i].name.p[j];
            must(http1_is_token((uint8_t)c) && !(c >= 'A' && c <= 'Z'));
        }
        check_text(head->fields[i].value);
    }
    must(http1_check_fields(head->fields, head->nfields) == 0);
    must(head->content_length >= -1);
    check_text(head->upgrade);
    check_text(head->authority);
}

static enum http1_framing framing_of(const struct http_head *head)
{
    if (head->content_length == 0)
        return HTTP1_NONE;
    return head->content_length > 0 ? HTTP1_LENGTH : HTTP1_CHUNKED;
}

/* Write the request as a proxy would, and read it back. */
static void check_round_trip(const struct http_head *head)
{
    struct buf text = { 0 };
    must(http1_write_request(&text, head, framing_of(head)) == 0);
    struct http1_scan scan = { 0 };
    must(http1_scan_head(&scan, buf_head(&text), buf_len(&text)) == HTTP1_SCAN_DONE);
    must(scan.off == buf_len(&text) && scan.begin == 0);
    struct arena arena = { 0 };
    struct http1_message m;
    const char *why;
    must(http1_parse_request(&arena, buf_head(&text), buf_len(&text), 200, &m, &why) == 0);
    must(str_eq(m.head.method, head->method) && str_eq(m.head.target, head->target));
    must(str_eq(m.head.authority, head->authority) && str_eq(m.head.upgrade, head->upgrade));
    must(m.head.content_length == head->content_length && m.head.nfields == head->nfields);
    for (size_t i = 0; i < head->nfields; i++)
        must(str_eq(m.head.fields[i].name, head->fields[i].name) &&
             str_eq(m.head.fields[i].value, head->fields[i].value));
    arena_deinit(&arena);
    buf_deinit(&text);
}

static void on_head(struct http_stream *s, const struct http_head *head)
{
    (void)s;
    check_head(head);
    must(head->status >= 101);
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    (void)data;
    http_consume(s, n);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    must(http1_check_fields(trailers, n) == 0);
    if (s->user) /* a request to be answered */
        http_respond(s, 200, "text/plain", "ok", 2);
}

static void on_writable(struct http_stream *s)
{
    (void)s;
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)s;
    (void)errnum;
    open_streams--;
}

static const struct http_stream_events events = { on_head, on_data, on_end, on_writable, on_close };

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    check_head(head);
    must(head->target.n > 0 && (head->target.p[0] == '/' || head->target.p[0] == '*'));
    check_round_trip(head);
    open_streams++;
    s->events = &events;
    s->user = a;
    if (head->upgrade.n > 0 && head->target.n % 2 == 0) {
        s->may_upgrade = true;
        must(http_send_head(s, &(struct http_head){ .status = 101 }, false) == 0);
        http_send_end(s);
        s->user = NULL;
    }
}

static struct http_acceptor acceptor = { on_request };

static void on_gone(struct http1_conn *c, void *user)
{
    (void)c;
    (void)user;
    gone++;
}

static void free_io(struct io *io)
{
    free(container_of(io, struct io_fd, io));
    gone++;
}

static void turns(int fd, int n)
{
    uint8_t sink[4096];
    for (int i = 0; i < n; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
            ;
    }
}

static struct http1_client *start_client(int fd)
{
    struct io_fd *io = calloc(1, sizeof(*io));
    must(io && io_fd_init(io, &loop, fd, IO_FD_STREAM, NULL) == 0);
    struct http1_client *c = http1_client_new(&loop, &defer_q, &io->io, free_io, NULL);
    struct http_stream *s = http1_client_stream(c, &events, NULL);
    must(s != NULL);
    open_streams++;
    struct http_head head = { .method = STR("GET"), .target = STR("/"), .authority = STR("a") };
    must(http_send_head(s, &head, true) == 0);
    return c;
}

static void start_loop(void)
{
    static bool started;
    if (started)
        return;
    started = true;
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&loop);
    defer_queue_init(&defer_q, &loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > INPUT_MAX)
        return 0;
    start_loop();
    int fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    gone = 0;
    struct http1_client *client = NULL;
    struct http1_server_options options = { .acceptor = &acceptor };
    if (data[0] & 1)
        client = start_client(fds[1]);
    else
        must(http1_serve_fd(&loop, &defer_q, fds[1], &options, on_gone, NULL) != NULL);

    size_t piece = data[0] >> 1 ? (size_t)(data[0] >> 1) * (data[0] >> 1) : INPUT_MAX;
    for (size_t at = 1; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (send(fds[0], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
            break;
        turns(fds[0], 2);
    }
    shutdown(fds[0], SHUT_WR);
    turns(fds[0], 3);
    if (client)
        http1_client_close(client);
    close(fds[0]);
    for (int i = 0; i < TURNS_MAX && (!gone || open_streams); i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    must(gone == 1 && open_streams == 0);
    return 0;
}
