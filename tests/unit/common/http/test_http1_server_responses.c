/* What a response looks like on the wire. */
#include "common/base/cleanup.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>

static void test_http10_gets_no_chunks(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, "GET /hold HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    h1_head(&v, &v.seen[0], 200, -1, false);
    h1_data(&v, &v.seen[0], "abc", 3);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\nabc"));
    assert_false(test_peer_has(&v.peer, "chunked"));
    h1_end(&v, &v.seen[0]);
    LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
    assert_int_equal(v.seen[0].errnum, 0);
    h1_stop(&v);
}

static void test_response_data_is_not_held_back(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold") H1_GET("/ok"));
    struct h1_seen *r = &v.seen[0];
    assert_true(r->ended);
    h1_head(&v, r, 200, -1, false);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "transfer-encoding: chunked\r\n"));
    h1_data(&v, r, "hello", 5);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\n5\r\nhello\r\n"));
    h1_data(&v, r, "", 0);
    h1_data(&v, r, "!", 1);
    const struct http_field trailer = { STR("x-sum"), STR("7") };
    http_send_trailers(r->s, &trailer, 1);
    assert_false(r->closed);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "hello\r\n1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n"));
    LOOP_UNTIL(&v.t, v.requests == 2 && v.seen[1].closed);
    assert_int_equal(r->errnum, 0);
    h1_stop(&v);
}

/* Status, announced length, end at once; what must and must not be in the answer's head. */
static void check_framing(const char *request, int status, int64_t length, bool end,
                          const char *has, const char *has_not)
{
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, request);
    assert_int_equal(h1_head(&v, &v.seen[0], status, length, end), 0);
    if (!end) {
        h1_data(&v, &v.seen[0], "abcdef", 6);
        h1_end(&v, &v.seen[0]);
    }
    h1_send(&v, H1_GET("/ok"));
    assert_int_equal(v.requests, 2);
    if (has && !test_peer_has(&v.peer, has))
        fail_msg("no <%s> in <%.*s>", has, STR_ARG(buf_str(&v.peer.got)));
    if (has_not)
        assert_false(test_peer_has(&v.peer, has_not));
    h1_stop(&v);
}

static void test_framing_of_responses(void **state)
{
    (void)state;
    const char *get = H1_GET("/hold"), *head = "HEAD /hold HTTP/1.1\r\nHost: a\r\n\r\n";
    check_framing(get, 200, 6, false, "content-length: 6\r\n\r\nabcdefHTTP/1.1 200", NULL);
    check_framing(get, 200, 4, false, "content-length: 4\r\n\r\nabcdHTTP/1.1 200", NULL);
    check_framing(get, 200, -1, false, "6\r\nabcdef\r\n0\r\n\r\nHTTP/1.1 200", "content-length: 6");
    check_framing(get, 200, -1, true, "content-length: 0\r\n\r\nHTTP/1.1 200", "chunked");
    check_framing(get, 204, -1, true, "\r\n\r\nHTTP/1.1 200", "chunked");
    check_framing(get, 204, 6, false, "\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(get, 304, -1, false, "\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, 6, false, "content-length: 6\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, -1, false, "chunked\r\n\r\nHTTP/1.1 200", "abcdef");
    check_framing(head, 200, 6, true, "content-length: 6\r\n\r\nHTTP/1.1 200", NULL);
    check_framing(head, 200, -1, true, "\r\n\r\nHTTP/1.1 200", "content-length: 0");
}

static void test_short_response_is_not_taken_for_whole(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    h1_head(&v, &v.seen[0], 200, 10, false);
    h1_data(&v, &v.seen[0], "abc", 3);
    h1_end(&v, &v.seen[0]);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(v.seen[0].errnum, EPROTO);
    h1_stop(&v);
}

static void test_heads_that_cannot_be_expressed(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    struct h1_seen *r = &v.seen[0];
    const struct http_field bad[] = {
        { STR("x"), STR("a\r\nb: c") },
        { STR("x"), STR("a\nb") },
        { STR("x"), STR("a\rb") },
        { STR("x"), STR("a\0b") },
        { STR("x y"), STR("1") },
        { STR("x:"), STR("1") },
        { STR(""), STR("1") },
        { STR("x\r\n"), STR("1") },
        { STR("connection"), STR("x") },
        { STR("Host"), STR("x") },
        { STR("content-length"), STR("3") },
        { STR("Transfer-Encoding"), STR("chunked") },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct http_head head = { .status = 200,
                                  .fields = (struct http_field *)(uintptr_t)&bad[i],
                                  .nfields = 1 };
        assert_int_equal(http_send_head(r->s, &head, true), -EINVAL);
    }
    assert_int_equal(h1_head(&v, r, 100, 0, true), -EINVAL);
    assert_int_equal(h1_head(&v, r, 1000, 0, true), -EINVAL);
    assert_int_equal(h1_head(&v, r, 101, 0, false), -EINVAL);
    assert_int_equal(h1_head(&v, r, 200, 3, true), -EINVAL);
    test_peer_pull(&v.peer);
    assert_int_equal(buf_len(&v.peer.got), 0);
    assert_int_equal(h1_head(&v, r, 200, 0, false), 0);
    assert_int_equal(h1_head(&v, r, 200, 0, false), -EINVAL);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, r->closed);
    h1_stop(&v);
}

static void test_last_response_is_sent_whole(void **state)
{
    (void)state;
    struct h1_server v;
    AUTO_FREE uint8_t *big = calloc(1, 1000000);
    for (int half_close = 0; half_close < 2; half_close++) {
        h1_start(&v, NULL);
        h1_send(&v, "GET /hold HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        h1_head(&v, &v.seen[0], 200, 1000000, false);
        h1_data(&v, &v.seen[0], big, 1000000);
        h1_end(&v, &v.seen[0]);
        test_loop_settle(&v.t);
        assert_true(v.seen[0].closed);
        if (half_close)
            shutdown(v.peer.fd, SHUT_WR);
        test_loop_settle(&v.t);
        assert_int_equal(v.gone, 0); /* it waits for the reader */
        LOOP_UNTIL(&v.t, test_peer_ended(&v.peer));
        assert_true(buf_len(&v.peer.got) > 1000000);
        /* And then for the peer's end, but not for ever. */
        LOOP_UNTIL(&v.t, v.gone == 1);
        h1_stop(&v);
    }
}

static int memory_file(const char *text)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void test_files_keep_their_place(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold") H1_GET("/ok"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 200, -1, false);
    h1_data(&v, r, "a", 1);
    http_send_file(r->s, memory_file("0123456789"), 2, 5);
    h1_data(&v, r, "b", 1);
    http_send_file(r->s, memory_file("xyz"), 0, 3);
    h1_end(&v, r);
    LOOP_UNTIL(&v.t, v.requests == 2 && v.seen[1].closed);
    LOOP_UNTIL(&v.t, test_peer_has(&v.peer, "\r\n\r\nok"));
    assert_true(test_peer_has(&v.peer, "\r\n\r\n1\r\na\r\n5\r\n23456\r\n1\r\nb\r\n3\r\nxyz\r\n0\r\n"
                                       "\r\nHTTP/1.1 200 OK"));
    h1_stop(&v);
}

static void test_file_that_is_too_short_ends_the_connection(void **state)
{
    (void)state;
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, H1_GET("/hold"));
    struct h1_seen *r = &v.seen[0];
    h1_head(&v, r, 200, 100, false);
    http_send_file(r->s, memory_file("0123456789"), 0, 100);
    LOOP_UNTIL(&v.t, v.gone == 1);
    assert_int_equal(r->errnum, ECONNRESET);
    h1_stop(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http10_gets_no_chunks),
        cmocka_unit_test(test_response_data_is_not_held_back),
        cmocka_unit_test(test_framing_of_responses),
        cmocka_unit_test(test_short_response_is_not_taken_for_whole),
        cmocka_unit_test(test_heads_that_cannot_be_expressed),
        cmocka_unit_test(test_last_response_is_sent_whole),
        cmocka_unit_test(test_files_keep_their_place),
        cmocka_unit_test(test_file_that_is_too_short_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
