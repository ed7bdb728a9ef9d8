/* A proxy in small: a server connection whose requests are spliced to a client connection. The test
 * is the client at one end (front) and the origin server at the other (back). */
#include "common/base/cleanup.h"
#include "common/http/http1.h"
#include "common/http/splice.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <errno.h>
#include <sys/socket.h>

struct proxy {
    struct test_loop t;
    struct http_acceptor acceptor;
    struct http_limits limits;
    struct test_peer front, back;
    struct http1_conn *conn;     /* NULL once gone */
    struct http1_client *client; /* the upstream, NULL when there is none */
    struct http_splice *splice;  /* NULL once done */
    struct http_head request;    /* as it came */
    bool wait;                   /* do not connect at once */
    bool answer_failed;          /* 502 in on_failed */
    int requests, failed, failed_errnum, done;
};

static void free_io(struct io *io)
{
    free(container_of(io, struct io_fd, io));
}

static void on_response(struct http_splice *s, struct http_head *head)
{
    struct http_field *fields =
        arena_alloc(&s->server->arena, (head->nfields + 1) * sizeof(*fields));
    assert_non_null(fields);
    for (size_t i = 0; i < head->nfields; i++)
        fields[i] = head->fields[i];
    fields[head->nfields] = (struct http_field){ STR("x-proxy"), STR("here") };
    head->fields = fields;
    head->nfields++;
}

static void on_failed(struct http_splice *s, int errnum)
{
    struct proxy *p = s->user;
    p->failed++;
    p->failed_errnum = errnum;
    if (p->answer_failed)
        http_respond(s->server, 502, "text/plain", "no", 2);
}

static void on_done(struct http_splice *s)
{
    struct proxy *p = s->user;
    assert_ptr_equal(p->splice, s);
    p->done++;
    p->splice = NULL;
}

static const struct http_splice_events events = { .on_response = on_response,
                                                  .on_failed = on_failed,
                                                  .on_done = on_done };

static void connect_back(struct proxy *p)
{
    if (!p->client) {
        int theirs;
        test_peer_pair(&p->back, &theirs);
        struct io_fd *fd = calloc(1, sizeof(*fd));
        assert_int_equal(io_fd_init(fd, &p->t.loop, theirs, IO_FD_STREAM, NULL), 0);
        p->client = http1_client_new(&p->t.loop, &p->t.defer, &fd->io, free_io, &p->limits);
    }
    struct http_stream *up = http1_client_stream(p->client, &HTTP_SPLICE_UPSTREAM, p->splice);
    assert_non_null(up);
    assert_int_equal(http_splice_connect(p->splice, up, &p->request), 0);
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    struct proxy *p = container_of(a, struct proxy, acceptor);
    p->requests++;
    p->request = *head;
    assert_null(p->splice);
    p->splice = http_splice_new(s, head, &events, p);
    assert_non_null(p->splice);
    if (!p->wait)
        connect_back(p);
}

static void on_gone(struct http1_conn *c, void *user)
{
    struct proxy *p = user;
    assert_ptr_equal(p->conn, c);
    p->conn = NULL;
}

static void start(struct proxy *p, size_t window)
{
    *p = (struct proxy){ .acceptor = { on_request }, .limits = HTTP_LIMITS_DEFAULT };
    if (window)
        p->limits.window = window;
    p->back.fd = -1;
    test_loop_init(&p->t);
    int theirs;
    test_peer_pair(&p->front, &theirs);
    struct http1_server_options options = { .acceptor = &p->acceptor, .limits = &p->limits };
    p->conn = http1_serve_fd(&p->t.loop, &p->t.defer, theirs, &options, on_gone, p);
}

static void stop(struct proxy *p)
{
    if (p->client)
        http1_client_close(p->client);
    if (p->conn)
        http1_conn_abort(p->conn);
    LOOP_UNTIL(&p->t, !p->conn && !p->splice);
    test_peer_close(&p->front);
    test_peer_close(&p->back);
    test_loop_deinit(&p->t);
    assert_int_equal(p->done, p->requests);
}

static void say(struct proxy *p, struct test_peer *peer, const char *text)
{
    assert_true(test_peer_send(peer, text, strlen(text)));
    test_loop_settle(&p->t);
}

#define GET "GET /a?b HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n"

static void test_request_and_response_pass(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    for (int i = 1; i <= 3; i++) {
        say(&p, &p.front, GET);
        test_peer_pull(&p.back);
        assert_str(buf_str(&p.back.got), "GET /a?b HTTP/1.1\r\nhost: h\r\nx-one: 1\r\n\r\n");
        buf_clear(&p.back.got);
        say(&p, &p.back, "HTTP/1.1 201 Created\r\nX-Two: 2\r\nContent-Length: 5\r\n\r\nhello");
        assert_true(
            test_peer_has(&p.front, "HTTP/1.1 201 Created\r\nx-two: 2\r\nx-proxy: here\r\n"));
        assert_true(test_peer_has(&p.front, "content-length: 5\r\n\r\nhello"));
        buf_clear(&p.front.got);
        assert_int_equal(p.done, i);
        assert_true(http1_client_reusable(p.client)); /* both connections live on */
        assert_non_null(p.conn);
    }
    stop(&p);
}

static void test_bodies_and_trailers_pass_as_they_come(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front,
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_true(test_peer_has(&p.back, "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"));
    say(&p, &p.back, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nup\r\n");
    assert_true(
        test_peer_has(&p.front, "chunked\r\n\r\n2\r\nup\r\n")); /* before the request ends */
    say(&p, &p.front, "1\r\nd\r\n0\r\nX-T: 1\r\n\r\n");
    assert_true(test_peer_has(&p.back, "1\r\nd\r\n0\r\nx-t: 1\r\n\r\n"));
    say(&p, &p.back, "0\r\nX-U: 2\r\n\r\n");
    assert_true(test_peer_has(&p.front, "0\r\nx-u: 2\r\n\r\n"));
    assert_int_equal(p.done, 1);
    assert_true(http1_client_reusable(p.client));

    say(&p, &p.front, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab");
    assert_true(test_peer_has(&p.back, "content-length: 4\r\n\r\nab"));
    say(&p, &p.front, "cd");
    say(&p, &p.back, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(p.done, 2);
    stop(&p);
}

static void test_response_until_the_end_becomes_chunked(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, GET);
    say(&p, &p.back, "HTTP/1.0 200 OK\r\n\r\nabc");
    shutdown(p.back.fd, SHUT_WR);
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_true(test_peer_has(&p.front, "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
    stop(&p);
}

static void test_head_request(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    say(&p, &p.back, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    assert_true(test_peer_has(&p.front, "content-length: 7\r\n\r\n"));
    assert_int_equal(p.done, 1);
    stop(&p);
}

static void test_request_waits_for_its_upstream(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 1000);
    p.wait = true;
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n");
    static char body[3001];
    memset(body, 'x', 3000);
    say(&p, &p.front, body);
    assert_int_equal(buf_len(&p.splice->held), 1000); /* the window, no more */
    connect_back(&p);
    LOOP_UNTIL(&p.t, test_peer_has(&p.back, body));
    say(&p, &p.back, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(p.done, 1);

    /* One that ended before is sent whole. */
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    connect_back(&p);
    assert_true(test_peer_has(&p.back, "content-length: 0\r\n\r\n"));
    say(&p, &p.back, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(p.done, 2);
    stop(&p);
}

static void test_waiting_request_is_given_up(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    p.wait = true;
    say(&p, &p.front, GET);
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, p.done == 1); /* told, so that connecting is stopped */
    assert_int_equal(p.failed, 0);
    stop(&p);
}

static void test_waiting_request_is_answered_by_the_caller(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    p.wait = true;
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    http_respond(p.splice->server, 503, NULL, "x", 1);
    say(&p, &p.front, "abc");
    assert_true(test_peer_has(&p.front, "HTTP/1.1 503"));
    assert_int_equal(p.done, 1);
    stop(&p);
}

/* Push at `from` until nothing is taken any more; how much was. */
static size_t push_until_stuck(struct proxy *p, struct test_peer *from)
{
    static uint8_t piece[16384];
    size_t sent = 0;
    for (int stuck = 0; stuck < 100; stuck++) {
        ssize_t n = send(from->fd, piece, sizeof(piece), MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            stuck = 0;
        }
        assert_true(sent < 64 * 1024 * 1024);
        test_loop_turn(&p->t);
    }
    return sent;
}

static size_t count_z(struct test_peer *peer)
{
    test_peer_pull(peer);
    size_t n = 0;
    for (size_t i = 0; i < buf_len(&peer->got); i++)
        n += buf_head(&peer->got)[i] == 0;
    return n;
}

/* A bound on what sockets and the proxy may hold for one direction. */
#define HELD_MAX (4 * 1024 * 1024)

static void test_slow_reader_holds_the_origin_back(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, GET);
    say(&p, &p.back, "HTTP/1.1 200 OK\r\n\r\n");
    size_t sent = push_until_stuck(&p, &p.back);
    assert_in_range(sent, 1, HELD_MAX);
    LOOP_UNTIL(&p.t, count_z(&p.front) == sent); /* and it flows again */
    sent += push_until_stuck(&p, &p.back);
    shutdown(p.back.fd, SHUT_WR);
    LOOP_UNTIL(&p.t, count_z(&p.front) == sent);
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_true(test_peer_has(&p.front, "\r\n0\r\n\r\n"));
    stop(&p);
}

static void test_slow_origin_holds_the_client_back(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    size_t sent = push_until_stuck(&p, &p.front);
    assert_in_range(sent, 1, HELD_MAX);
    LOOP_UNTIL(&p.t, count_z(&p.back) == sent);
    stop(&p);
}

static void test_client_abort_reaches_the_origin(void **state)
{
    (void)state;
    struct proxy p;

    start(&p, 0); /* while the origin works */
    say(&p, &p.front, GET);
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_int_equal(p.failed, 0);
    stop(&p);

    start(&p, 0); /* in the middle of the response */
    say(&p, &p.front, GET);
    say(&p, &p.back, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    LOOP_UNTIL(&p.t, p.done == 1);
    stop(&p);

    start(&p, 0); /* in the middle of the request */
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    LOOP_UNTIL(&p.t, p.done == 1);
    stop(&p);
}

static void test_origin_failure_before_the_response(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    p.answer_failed = true;
    say(&p, &p.front, GET);
    test_peer_close(&p.back);
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_int_equal(p.failed, 1);
    assert_int_equal(p.failed_errnum, ECONNRESET);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 502 Bad Gateway"));
    assert_non_null(p.conn);
    stop(&p);

    start(&p, 0); /* nonsense instead of a response, in the middle of an upload */
    p.answer_failed = true;
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    say(&p, &p.back, "SSH-2.0-x\r\n");
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_int_equal(p.failed_errnum, EPROTO);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 502"));
    stop(&p);
}

static void test_answer_to_a_failure_may_come_later(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 1000);
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n");
    test_peer_close(&p.back);
    LOOP_UNTIL(&p.t, p.failed == 1);
    static char body[3001];
    memset(body, 'x', 3000);
    say(&p, &p.front, body); /* thrown away */
    assert_int_equal(p.done, 0);
    http_respond(p.splice->server, 502, NULL, NULL, 0);
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 502"));
    p.wait = true;
    say(&p, &p.front, GET);
    assert_int_equal(p.requests, 2); /* its whole body was passed over */
    stop(&p);
}

static void test_cut_response_is_never_whole(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, GET);
    say(&p, &p.back, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    test_peer_close(&p.back);
    LOOP_UNTIL(&p.t, test_peer_ended(&p.front));
    assert_int_equal(p.done, 1);
    assert_int_equal(p.failed, 0);
    assert_false(test_peer_has(&p.front, "\r\n0\r\n\r\n"));
    stop(&p);
}

static void test_early_response_ends_the_upload(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    say(&p, &p.back, "HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig");
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 413"));
    assert_false(http1_client_reusable(p.client));
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    stop(&p);
}

#define WEBSOCKET "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#define SWITCHED                                                                                   \
    "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-K: v\r\n\r\n"

static void test_upgrade_passes_raw_bytes(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, WEBSOCKET "early");
    test_peer_pull(&p.back);
    assert_str(buf_str(&p.back.got),
               "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    say(&p, &p.back, SWITCHED "hello");
    assert_true(test_peer_has(&p.front, "HTTP/1.1 101 Switching Protocols\r\nx-k: v\r\n"));
    assert_true(test_peer_has(&p.front, "connection: upgrade\r\nupgrade: websocket\r\n\r\nhello"));
    assert_true(test_peer_has(&p.back, "\r\n\r\nearly"));
    say(&p, &p.front, GET);
    assert_true(test_peer_has(&p.back, "early" GET));

    size_t sent = push_until_stuck(&p, &p.front);
    assert_in_range(sent, 1, HELD_MAX);
    LOOP_UNTIL(&p.t, count_z(&p.back) == sent);

    shutdown(p.front.fd, SHUT_WR); /* one side ends, the other goes on */
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    assert_int_equal(p.done, 0);
    say(&p, &p.back, "bye");
    assert_true(test_peer_has(&p.front, "hellobye"));
    shutdown(p.back.fd, SHUT_WR);
    LOOP_UNTIL(&p.t, p.done == 1 && test_peer_ended(&p.front));
    stop(&p);
}

static void test_upgraded_streams_break_together(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, WEBSOCKET);
    say(&p, &p.back, SWITCHED);
    test_peer_close(&p.back);
    /* An end of the origin; the client's own end, or its next bytes, finish it. */
    LOOP_UNTIL(&p.t, test_peer_ended(&p.front));
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, p.done == 1);
    stop(&p);

    start(&p, 0);
    say(&p, &p.front, WEBSOCKET);
    say(&p, &p.back, SWITCHED);
    test_peer_close(&p.front);
    LOOP_UNTIL(&p.t, test_peer_ended(&p.back));
    test_peer_close(&p.back);
    LOOP_UNTIL(&p.t, p.done == 1);
    stop(&p);
}

static void test_upgrade_refused_by_the_origin(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 0);
    say(&p, &p.front, WEBSOCKET);
    say(&p, &p.back, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    assert_int_equal(p.done, 1);
    assert_true(test_peer_has(&p.front, "HTTP/1.1 403"));
    say(&p, &p.front, GET);
    assert_int_equal(p.requests, 2); /* the connection is still HTTP */
    stop(&p);
}

static void test_request_that_cannot_be_expressed(void **state)
{
    (void)state;
    struct proxy p;
    start(&p, 1000);
    p.wait = true;
    say(&p, &p.front, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n");
    static char body[3001];
    memset(body, 'x', 3000);
    say(&p, &p.front, body);
    assert_int_equal(buf_len(&p.splice->held), 1000);
    int theirs;
    test_peer_pair(&p.back, &theirs);
    struct io_fd *fd = calloc(1, sizeof(*fd));
    assert_int_equal(io_fd_init(fd, &p.t.loop, theirs, IO_FD_STREAM, NULL), 0);
    p.client = http1_client_new(&p.t.loop, &p.t.defer, &fd->io, free_io, NULL);
    struct http_stream *up = http1_client_stream(p.client, &HTTP_SPLICE_UPSTREAM, p.splice);
    struct http_head bad = p.request;
    bad.target = STR("/a b");
    assert_int_equal(http_splice_connect(p.splice, up, &bad), -EINVAL);
    LOOP_UNTIL(&p.t, p.splice->request_ended); /* the body is thrown away */
    http_respond(p.splice->server, 400, NULL, NULL, 0);
    LOOP_UNTIL(&p.t, p.done == 1);
    assert_int_equal(p.failed, 0);
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_response_pass),
        cmocka_unit_test(test_bodies_and_trailers_pass_as_they_come),
        cmocka_unit_test(test_response_until_the_end_becomes_chunked),
        cmocka_unit_test(test_head_request),
        cmocka_unit_test(test_request_waits_for_its_upstream),
        cmocka_unit_test(test_waiting_request_is_given_up),
        cmocka_unit_test(test_waiting_request_is_answered_by_the_caller),
        cmocka_unit_test(test_slow_reader_holds_the_origin_back),
        cmocka_unit_test(test_slow_origin_holds_the_client_back),
        cmocka_unit_test(test_client_abort_reaches_the_origin),
        cmocka_unit_test(test_origin_failure_before_the_response),
        cmocka_unit_test(test_answer_to_a_failure_may_come_later),
        cmocka_unit_test(test_cut_response_is_never_whole),
        cmocka_unit_test(test_early_response_ends_the_upload),
        cmocka_unit_test(test_upgrade_passes_raw_bytes),
        cmocka_unit_test(test_upgraded_streams_break_together),
        cmocka_unit_test(test_upgrade_refused_by_the_origin),
        cmocka_unit_test(test_request_that_cannot_be_expressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
