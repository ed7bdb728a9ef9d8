#include "common/base/cleanup.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_client.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

static void test_requests_are_written_anew(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", -1, true);
    test_peer_pull(&e.peer);
    assert_str(buf_str(&e.peer.got), "GET /t?q HTTP/1.1\r\nhost: h:1\r\nx-one: 1\r\n\r\n");
    h1_client_answer(
        &e, "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\nConnection: keep-alive, x-b\r\n"
            "X-B: 2\r\n\r\nhello");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, 0);
    assert_int_equal(c.status, 200);
    assert_int_equal(c.content_length, 5);
    assert_string_equal(c.fields, "x-a=1;");
    assert_str(buf_str(&c.body), "hello");
    assert_true(http1_client_reusable(e.client));
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_bodies_are_framed(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "POST", 5, false);
    http_send_data(c.s, "hel", 3);
    http_send_data(c.s, "lo", 2);
    http_send_end(c.s);
    assert_true(test_peer_has(&e.peer, "content-length: 5\r\n\r\nhello"));
    h1_client_answer(&e, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.ends, 1);

    h1_call_begin(&e, &c, "POST", -1, false);
    http_send_data(c.s, "hello", 5);
    const struct http_field trailer = { STR("x-t"), STR("v") };
    http_send_trailers(c.s, &trailer, 1);
    assert_true(test_peer_has(&e.peer, "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
                                       "x-t: v\r\n\r\n"));
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-T: w\r\n\r\n");
    assert_str(buf_str(&c.body), "abcde");
    assert_string_equal(c.trailer, "x-t=w");
    assert_int_equal(c.content_length, -1);
    h1_call_done(&c);

    h1_call_begin(&e, &c, "POST", 0, true);
    assert_true(test_peer_has(&e.peer, "content-length: 0\r\n\r\n"));
    h1_client_answer(&e, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(http1_client_reusable(e.client));
    h1_client_stop(&e);
}

static void test_a_file_is_a_body(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "PUT", 6, false);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    http_send_file(c.s, fd, 3, 4);
    http_send_data(c.s, "ab", 2);
    http_send_end(c.s);
    LOOP_UNTIL(&e.t, test_peer_has(&e.peer, "content-length: 6\r\n\r\n3456ab"));
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);
    h1_client_stop(&e);
}

static void test_a_file_over_a_stream_that_cannot_send_files(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    struct io_ops plain = *e.fd->io.ops;
    plain.send_file = NULL;
    e.fd->io.ops = &plain;
    size_t n = 2000000;
    AUTO_FREE uint8_t *pattern = malloc(n);
    for (size_t i = 0; i < n; i++)
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, pattern, n), (ssize_t)n);

    h1_call_begin(&e, &c, "PUT", (int64_t)n, false);
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
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(c.closes, 1);

    h1_call_begin(&e, &c, "PUT", 100, false); /* shorter than promised */
    fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, "abc", 3), 3);
    http_send_file(c.s, fd, 0, 100);
    LOOP_UNTIL(&e.t, c.closes == 1);
    assert_int_equal(c.errnum, EIO);
    h1_client_stop(&e);
}

static void test_interim_responses_are_passed_over(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e,
                     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    assert_int_equal(c.heads, 0);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(c.status, 200);
    assert_int_equal(c.errnum, 0);
    h1_call_done(&c);

    h1_call_begin(&e, &c, "GET", 0, true);
    for (int i = 0; i < 20 && c.closes == 0; i++)
        h1_client_answer(&e, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.errnum, EPROTO);
    h1_client_stop(&e);
}

static void test_responses_without_a_body(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c, "HEAD", 0, true);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_int_equal(c.content_length, 500);
    h1_call_begin(&e, &c, "GET", 0, true);
    h1_client_answer(&e, "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
    assert_int_equal(c.closes, 1);
    h1_call_begin(&e, &c, "HEAD", 0, true);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(c.closes, 1);
    assert_true(http1_client_reusable(e.client));
    h1_client_stop(&e);
}

static void test_window_and_writable(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { .hold = true };
    h1_client_start(&e, false);
    e.limits.window = 50000;
    h1_call_begin(&e, &c, "POST", -1, false);
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

    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 120000\r\n\r\n");
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
    h1_call_done(&c);
    h1_client_stop(&e);
}

static void test_next_request_from_on_close(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c[2] = { { .again = true }, { 0 } };
    h1_client_start(&e, false);
    h1_call_begin(&e, &c[0], "GET", 0, true);
    assert_null(http1_client_stream(e.client, &h1_call_events, &c[1])); /* one at a time */
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    assert_int_equal(c[0].closes, 1);
    h1_client_answer(&e, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    assert_int_equal(c[1].closes, 1);
    assert_str(buf_str(&c[1].body), "2");
    h1_call_done(&c[0]);
    h1_call_done(&c[1]);
    h1_client_stop(&e);
}

static void test_heads_that_cannot_be_expressed(void **state)
{
    (void)state;
    struct h1_client_end e;
    struct h1_call c = { 0 };
    h1_client_start(&e, false);
    h1_call_open(&e, &c);
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
    h1_client_stop(&e);
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
        cmocka_unit_test(test_window_and_writable),
        cmocka_unit_test(test_next_request_from_on_close),
        cmocka_unit_test(test_heads_that_cannot_be_expressed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
