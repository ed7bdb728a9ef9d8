#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* A client connection; the test is the server at the other end. */
struct end {
    struct test_loop t;
    struct http_limits limits;
    struct http1_client *client; /* NULL once closed */
    struct io_fd *fd;            /* NULL once freed */
    struct test_peer peer;
    bool inside;
};

/* One request as its user sees it. */
struct call {
    struct end *e;
    struct http_stream *s; /* NULL once closed */
    int status;
    char fields[256], upgrade[32], trailer[64];
    int64_t content_length;
    struct buf body;
    size_t unconsumed;
    int heads, ends, closes, writables, errnum;
    bool hold, again; /* do not consume; start another request in on_close */
};

static struct end *current;

static void free_io(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    assert_ptr_equal(fd, current->fd);
    current->fd = NULL;
    free(fd);
}

static void start(struct end *e, bool tcp)
{
    *e = (struct end){ .limits = HTTP_LIMITS_DEFAULT };
    current = e;
    test_loop_init(&e->t);
    int theirs;
    if (tcp)
        test_peer_tcp(&e->peer, &theirs);
    else
        test_peer_pair(&e->peer, &theirs);
    e->fd = calloc(1, sizeof(*e->fd));
    assert_int_equal(io_fd_init(e->fd, &e->t.loop, theirs, IO_FD_STREAM, NULL), 0);
    e->client = http1_client_new(&e->t.loop, &e->t.defer, &e->fd->io, free_io, &e->limits);
    assert_non_null(e->client);
}

static void stop(struct end *e)
{
    e->inside = true;
    http1_client_close(e->client);
    e->inside = false;
    LOOP_UNTIL(&e->t, !e->fd);
    test_loop_settle(&e->t);
    test_peer_close(&e->peer);
    test_loop_deinit(&e->t);
}

static struct call *of(struct http_stream *s)
{
    struct call *c = s->user;
    assert_ptr_equal(c->s, s);
    assert_false(c->e->inside);
    assert_int_equal(c->closes, 0);
    return c;
}

static void on_head(struct http_stream *s, const struct http_head *head)
{
    struct call *c = of(s);
    assert_int_equal(c->ends, 0);
    c->heads++;
    c->status = head->status;
    c->content_length = head->content_length;
    str_copy(head->upgrade, c->upgrade, sizeof(c->upgrade));
    size_t at = 0;
    for (size_t i = 0; i < head->nfields && at < sizeof(c->fields); i++)
        at += (size_t)snprintf(c->fields + at, sizeof(c->fields) - at, "%.*s=%.*s;",
                               STR_ARG(head->fields[i].name), STR_ARG(head->fields[i].value));
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct call *c = of(s);
    assert_int_equal(c->heads, 1);
    assert_int_equal(c->ends, 0);
    buf_append(&c->body, data, n);
    c->unconsumed += n;
    assert_true(c->unconsumed <= c->e->limits.window);
    if (!c->hold) {
        c->unconsumed -= n;
        http_consume(s, n);
    }
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct call *c = of(s);
    assert_int_equal(c->heads, 1);
    c->ends++;
    if (n > 0)
        snprintf(c->trailer, sizeof(c->trailer), "%.*s=%.*s", STR_ARG(trailers[0].name),
                 STR_ARG(trailers[0].value));
}

static void on_writable(struct http_stream *s)
{
    of(s)->writables++;
}

static void begin(struct end *e, struct call *c, const char *method, int64_t length, bool end);

static void on_close(struct http_stream *s, int errnum)
{
    struct call *c = of(s);
    c->closes++;
    c->errnum = errnum;
    c->s = NULL;
    if (c->again) {
        struct call *next = c + 1;
        begin(c->e, next, "GET", 0, true);
    }
}

static const struct http_stream_events events = { on_head, on_data, on_end, on_writable, on_close };

static void open_stream(struct end *e, struct call *c)
{
    *c = (struct call){ .e = e, .hold = c->hold, .again = c->again };
    e->inside = true;
    c->s = http1_client_stream(e->client, &events, c);
    e->inside = false;
    assert_non_null(c->s);
}

/* Send a request's head. */
static void begin(struct end *e, struct call *c, const char *method, int64_t length, bool end)
{
    open_stream(e, c);
    struct http_field field = { STR("x-one"), STR("1") };
    struct http_head head = { .method = str_of(method),
                              .target = STR("/t?q"),
                              .authority = STR("h:1"),
                              .content_length = length,
                              .fields = &field,
                              .nfields = 1 };
    bool was_inside = e->inside;
    e->inside = true;
    assert_int_equal(http_send_head(c->s, &head, end), 0);
    e->inside = was_inside;
}

static void answer(struct end *e, const char *text)
{
    assert_true(test_peer_send(&e->peer, text, strlen(text)));
    test_loop_settle(&e->t);
}

static void done(struct call *c)
{
    buf_deinit(&c->body);
}

static void test_requests_are_written_anew(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", -1, true);
    test_peer_pull(&e.peer);
    assert_str(buf_str(&e.peer.got), "GET /t?q HTTP/1.1\r\nhost: h:1\r\nx-one: 1\r\n\r\n");
    answer(&e, "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\nConnection: keep-alive, x-b\r\n"
               "X-B: 2\r\n\r\nhello");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.status, 200);
    assert_int_equal(c.content_length, 5);
    assert_string_equal(c.fields, "x-a=1;");
    assert_str(buf_str(&c.body), "hello");
    assert_true(http1_client_reusable(e.client));
    done(&c);
    stop(&e);
}

static void test_bodies_are_framed(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "POST", 5, false);
    http_send_data(c.s, "hel", 3);
    http_send_data(c.s, "lo", 2);
    http_send_end(c.s);
    assert_true(test_peer_has(&e.peer, "content-length: 5\r\n\r\nhello"));
    answer(&e, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.ends, 1);

    begin(&e, &c, "POST", -1, false);
    http_send_data(c.s, "hello", 5);
    const struct http_field trailer = { STR("x-t"), STR("v") };
    http_send_trailers(c.s, &trailer, 1);
    assert_true(test_peer_has(&e.peer, "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
                                       "x-t: v\r\n\r\n"));
    answer(&e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: w\r\n\r\n");
    assert_str(buf_str(&c.body), "abcde");
    assert_string_equal(c.trailer, "x-t=w");
    assert_int_equal(c.content_length, -1);
    done(&c);

    begin(&e, &c, "POST", 0, true);
    assert_true(test_peer_has(&e.peer, "content-length: 0\r\n\r\n"));
    answer(&e, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(http1_client_reusable(e.client));
    stop(&e);
}

static void test_a_file_is_a_body(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "PUT", 6, false);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    http_send_file(c.s, fd, 3, 4);
    http_send_data(c.s, "ab", 2);
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_has(&e.peer, "content-length: 6\r\n\r\n3456ab"));
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);
    stop(&e);
}

static void test_a_file_over_a_stream_that_cannot_send_files(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    struct io_ops plain = *e.fd->io.ops;
    plain.send_file = NULL;
    e.fd->io.ops = &plain;
    size_t n = 2000000;
    AUTO_FREE uint8_t *pattern = malloc(n);
    for (size_t i = 0; i < n; i++)
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, pattern, n), (ssize_t)n);

    begin(&e, &c, "PUT", (int64_t)n, false);
    test_peer_pull(&e.peer);
    buf_clear(&e.peer.got);
    e.inside = true;
    http_send_file(c.s, fd, 0, n - 3);
    http_send_data(c.s, "end", 3);
    http_send_end(c.s);
    e.inside = false;
    assert_true(io_pending(&e.fd->io) <= IO_HIGH_WATER + 65536); /* not the whole file */
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), buf_len(&e.peer.got) == n));
    assert_memory_equal(buf_head(&e.peer.got), pattern, n - 3);
    assert_memory_equal(buf_head(&e.peer.got) + n - 3, "end", 3);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);

    begin(&e, &c, "PUT", 100, false); /* shorter than promised */
    fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, "abc", 3), 3);
    http_send_file(c.s, fd, 0, 100);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, EIO);
    stop(&e);
}

static void test_interim_responses_are_passed_over(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    assert_int_equal(c.heads, 0);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(c.status, 200);
    assert_int_equal(c.errnum, 0);
    done(&c);

    begin(&e, &c, "GET", 0, true);
    for (int i = 0; i < 20 && c.closes == 0; i++)
        answer(&e, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, EPROTO);
    stop(&e);
}

static void test_responses_without_a_body(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "HEAD", 0, true);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.content_length, 500);
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
    assert_int_equal(c.closes, 1);
    begin(&e, &c, "HEAD", 0, true);
    answer(&e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(http1_client_reusable(e.client));
    stop(&e);
}

static void test_body_until_the_end(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.0 200 OK\r\n\r\nabc");
    answer(&e, "def");
    assert_int_equal(c.ends, 0);
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.ends, 1);
    assert_str(buf_str(&c.body), "abcdef");
    assert_false(http1_client_reusable(e.client));
    assert_null(http1_client_stream(e.client, &events, &c));
    done(&c);
    stop(&e);
}

static void check_cut(const char *text, int errnum, int heads)
{
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", 0, true);
    answer(&e, text);
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    if (c.errnum != errnum || c.heads != heads)
        fail_msg("errnum %d, %d heads after <%s>", c.errnum, c.heads, text);
    assert_int_equal(c.ends, 0);
    assert_false(http1_client_reusable(e.client));
    done(&c);
    stop(&e);
}

static void test_cut_responses(void **state)
{
    (void)state;
    check_cut("", ECONNRESET, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Le", ECONNRESET, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", ECONNRESET, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ECONNRESET, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", ECONNRESET,
              1);
}

static void test_broken_responses(void **state)
{
    (void)state;
    check_cut("hello\r\n\r\n", EPROTO, 0);
    check_cut("SSH-2.0", EPROTO, 0);
    check_cut("HTTP/2.0 200 OK\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 20 OK\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\n\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", EPROTO,
              0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", EPROTO, 0);
    check_cut("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
              EPROTO, 0);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", EPROTO, 1);
    check_cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nx", EPROTO, 1);
}

static void test_head_limit(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    e.limits.head_bytes = 500;
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 30 && c.closes == 0; i++)
        answer(&e, "X-Field: 0123456789\r\n");
    assert_int_equal(c.errnum, EPROTO);
    stop(&e);
}

static void test_bytes_that_answer_nothing(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false); /* before any request */
    answer(&e, "HTTP/1.1 200 OK\r\n\r\n");
    assert_false(http1_client_reusable(e.client));
    stop(&e);

    start(&e, false); /* behind a response */
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(c.errnum, 0);
    assert_str(buf_str(&c.body), "ok");
    assert_false(http1_client_reusable(e.client));
    done(&c);
    stop(&e);

    start(&e, false); /* before the head was sent */
    open_stream(&e, &c);
    answer(&e, "HTTP/1.1 200 OK\r\n\r\n");
    assert_int_equal(c.errnum, EPROTO);
    stop(&e);
}

static void test_lost_connections(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };

    start(&e, false); /* before the request: it had no effect */
    open_stream(&e, &c);
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNREFUSED);
    stop(&e);

    start(&e, true); /* after it: who knows */
    begin(&e, &c, "GET", 0, true);
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNRESET);
    stop(&e);

    start(&e, false); /* an idle one is not offered again */
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, !http1_client_reusable(e.client));
    assert_null(http1_client_stream(e.client, &events, &c));
    stop(&e);
}

static void test_answer_before_the_upload_failed(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, true);
    begin(&e, &c, "POST", 50000000, false);
    static uint8_t piece[100000];
    for (int i = 0; i < 100; i++)
        http_send_data(c.s, piece, sizeof(piece));
    /* The server answers, reads nothing and closes: its bytes must not be lost in the reset. */
    static const char text[] =
        "HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    assert_true(test_peer_send(&e.peer, text, sizeof(text) - 1));
    test_loop_settle(&e.t);
    assert_int_equal(c.status, 413);
    assert_str(buf_str(&c.body), "big");
    test_peer_close(&e.peer);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECONNRESET);
    done(&c);
    stop(&e);
}

static void test_held_response_outlives_its_connection(void **state)
{
    (void)state;
    struct end e;
    struct call c = { .hold = true };
    start(&e, false);
    e.limits.window = 50000;
    begin(&e, &c, "GET", 0, true);
    static char text[60000] = "HTTP/1.1 200 OK\r\nContent-Length: 59958\r\n\r\n";
    assert_true(test_peer_send(&e.peer, text, sizeof(text)));
    test_loop_settle(&e.t);
    assert_int_equal(buf_len(&c.body), 50000);
    test_peer_close(&e.peer); /* the request was not read: a reset */
    test_loop_settle(&e.t);
    assert_int_equal(c.closes, 0);
    c.unconsumed = 0;
    http_consume(c.s, 50000);
    c.hold = false;
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.ends, 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(buf_len(&c.body), 59958);
    done(&c);
    stop(&e);
}

static void test_window_and_writable(void **state)
{
    (void)state;
    struct end e;
    struct call c = { .hold = true };
    start(&e, false);
    e.limits.window = 50000;
    begin(&e, &c, "POST", -1, false);
    static uint8_t piece[20000];
    size_t sent = 0;
    while (http_writable(c.s)) {
        http_send_data(c.s, piece, sizeof(piece));
        sent += sizeof(piece);
        assert_true(sent < 16000000);
    }
    test_loop_settle(&e.t);
    assert_int_equal(c.writables, 0);
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), c.writables == 1));
    http_send_end(c.s);

    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 120000\r\n\r\n");
    for (int i = 0; i < 6; i++)
        test_peer_send(&e.peer, piece, sizeof(piece));
    shutdown(e.peer.fd, SHUT_WR); /* what is still held is delivered all the same */
    test_loop_settle(&e.t);
    assert_int_equal(buf_len(&c.body), 50000);
    while (c.s && c.unconsumed > 0) {
        size_t n = c.unconsumed;
        c.unconsumed = 0;
        e.inside = true;
        http_consume(c.s, n);
        e.inside = false;
        test_loop_settle(&e.t);
    }
    assert_int_equal(buf_len(&c.body), 120000);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, 0);
    done(&c);
    stop(&e);
}

static void start_upgrade(struct end *e, struct call *c)
{
    open_stream(e, c);
    struct http_head head = { .method = STR("GET"),
                              .target = STR("/ws"),
                              .authority = STR("h"),
                              .upgrade = STR("websocket"),
                              .content_length = 0 };
    assert_int_equal(http_send_head(c->s, &head, false), 0);
    assert_true(test_peer_has(&e->peer, "host: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                                        "\r\n"));
}

static void test_upgrade(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    start_upgrade(&e, &c);
    assert_false(http_writable(c.s));
    answer(&e, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
               "\r\nraw");
    assert_int_equal(c.status, 101);
    assert_string_equal(c.upgrade, "WebSocket");
    assert_str(buf_str(&c.body), "raw");
    http_send_data(c.s, "up", 2);
    assert_true(test_peer_has(&e.peer, "\r\n\r\nup"));
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    answer(&e, "down");
    assert_str(buf_str(&c.body), "rawdown");
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.ends, 1);
    done(&c);
    stop(&e);
}

static void test_raw_bytes_are_sent_after_the_peers_end(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    start_upgrade(&e, &c);
    buf_clear(&e.peer.got);
    answer(&e, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, c.ends == 1);
    AUTO_FREE uint8_t *big = calloc(1, 2000000);
    http_send_data(c.s, big, 2000000);
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_int_equal(buf_len(&e.peer.got), 2000000);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, 0);
    stop(&e);
}

static void test_upgrade_refused(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    start_upgrade(&e, &c);
    answer(&e, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    assert_int_equal(c.status, 403);
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, 0);
    assert_true(http1_client_reusable(e.client));
    done(&c);
    stop(&e);
}

static void test_reset(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", 0, true);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    e.inside = true;
    http_reset(c.s);
    e.inside = false;
    assert_int_equal(c.closes, 0);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, ECANCELED);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_false(http1_client_reusable(e.client));
    done(&c);
    stop(&e);
}

static void test_close_with_a_request_in_flight(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    begin(&e, &c, "GET", 0, true);
    e.inside = true;
    http1_client_close(e.client);
    e.inside = false;
    LOOP_UNTIL(&e.t, c.closes == 1 && !e.fd);
    assert_int_equal(c.errnum, ECANCELED);
    test_peer_close(&e.peer);
    test_loop_deinit(&e.t);
}

static void test_next_request_from_on_close(void **state)
{
    (void)state;
    struct end e;
    struct call c[2] = { { .again = true }, { 0 } };
    start(&e, false);
    begin(&e, &c[0], "GET", 0, true);
    assert_null(http1_client_stream(e.client, &events, &c[1])); /* one at a time */
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_int_equal(c[0].closes, 1);
    answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_int_equal(c[1].closes, 1);
    assert_str(buf_str(&c[1].body), "2");
    done(&c[0]);
    done(&c[1]);
    stop(&e);
}

static void test_heads_that_cannot_be_expressed(void **state)
{
    (void)state;
    struct end e;
    struct call c = { 0 };
    start(&e, false);
    open_stream(&e, &c);
    struct http_field field = { STR("x"), STR("a\r\nb: c") };
    struct http_head good = { .method = STR("GET"), .target = STR("/"), .authority = STR("h") };
    struct http_head head = good;
    head.fields = &field;
    head.nfields = 1;
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head = good;
    head.target = STR("/a b");
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head.target = STR("/a\r\nx: y");
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head.target = STR("");
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head = good;
    head.method = STR("GET /x HTTP/1.1\r\n");
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head = good;
    head.authority = STR("h\r\nx: y");
    assert_int_equal(http_send_head(c.s, &head, true), -EINVAL);
    head = good;
    head.upgrade = STR("a\r\nx: y");
    assert_int_equal(http_send_head(c.s, &head, false), -EINVAL);
    test_peer_pull(&e.peer);
    assert_int_equal(buf_len(&e.peer.got), 0);
    assert_int_equal(http_send_head(c.s, &good, true), 0);
    stop(&e);
    assert_int_equal(c.errnum, ECANCELED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_are_written_anew),
        cmocka_unit_test(test_bodies_are_framed),
        cmocka_unit_test(test_a_file_is_a_body),
        cmocka_unit_test(test_a_file_over_a_stream_that_cannot_send_files),
        cmocka_unit_test(test_interim_responses_are_passed_over),
        cmocka_unit_test(test_responses_without_a_body),
        cmocka_unit_test(test_body_until_the_end),
        cmocka_unit_test(test_cut_responses),
        cmocka_unit_test(test_broken_responses),
        cmocka_unit_test(test_head_limit),
        cmocka_unit_test(test_bytes_that_answer_nothing),
        cmocka_unit_test(test_lost_connections),
        cmocka_unit_test(test_answer_before_the_upload_failed),
        cmocka_unit_test(test_held_response_outlives_its_connection),
        cmocka_unit_test(test_window_and_writable),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_raw_bytes_are_sent_after_the_peers_end),
        cmocka_unit_test(test_upgrade_refused),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_close_with_a_request_in_flight),
        cmocka_unit_test(test_next_request_from_on_close),
        cmocka_unit_test(test_heads_that_cannot_be_expressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
