#include "common/http/router.h"
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

#include <errno.h>
#include <stdio.h>

static void none(struct http_request *r)
{
    (void)r;
}

static const struct http_route table[] = {
    { "GET", "/", none, 1 },
    { "GET", "/a", none, 2 },
    { "POST", "/a", none, 3 },
    { "GET", "/a/{x}", none, 4 },
    { "DELETE", "/a/{x}", none, 5 },
    { "GET", "/a/fixed/b", none, 6 },
    { "GET", "/a/{x}/{y}", none, 7 },
    { "HEAD", "/h", none, 8 },
    { "GET", "/h", none, 9 },
    { "GET", "/long/{1}/{2}/{3}/{4}/{5}", none, 10 },
    { 0 },
};

struct lookup {
    struct http_stream stream;
    struct http_head head;
    struct http_request r;
    const struct http_route *route;
    int status;
    const char *allow;
};

static void look_up(struct lookup *l, const char *method, const char *target)
{
    *l = (struct lookup){ .head = { .method = str_of(method), .target = str_of(target) } };
    l->r = (struct http_request){ .stream = &l->stream, .head = &l->head };
    l->route = http_route_find(table, &l->r, &l->status, &l->allow);
}

static void finish(struct lookup *l)
{
    arena_deinit(&l->stream.arena);
}

/* The number of the route, or minus the status. */
static int found(const char *method, const char *target)
{
    struct lookup l;
    look_up(&l, method, target);
    int n = l.route ? (int)l.route->flags : -l.status;
    finish(&l);
    return n;
}

static void test_routes(void **state)
{
    (void)state;
    assert_int_equal(found("GET", "/"), 1);
    assert_int_equal(found("GET", "/a"), 2);
    assert_int_equal(found("POST", "/a?x=/b"), 3);
    assert_int_equal(found("GET", "/a/1"), 4);
    assert_int_equal(found("DELETE", "/a/1"), 5);
    assert_int_equal(found("GET", "/a/fixed/b"), 6);
    assert_int_equal(found("GET", "/a/other/b"), 7);
    assert_int_equal(found("HEAD", "/h"), 8);
    assert_int_equal(found("HEAD", "/a"), 2);
    assert_int_equal(found("GET", "/a/"), -404); /* a parameter is not empty */
    assert_int_equal(found("GET", "/a//b"), -404);
    assert_int_equal(found("GET", "//a"), -404);
    assert_int_equal(found("GET", "/A"), -404);
    assert_int_equal(found("GET", "/%61"), -404);
    assert_int_equal(found("GET", "/a/1/2/3"), -404);
    assert_int_equal(found("GET", "*"), -404);
    assert_int_equal(found("GET", ""), -404);
    assert_int_equal(found("PUT", "/a"), -405);
    assert_int_equal(found("get", "/a"), -405);
    assert_int_equal(found("GET", "/a/%"), -400);
    assert_int_equal(found("GET", "/a/%g0"), -400);
    assert_int_equal(found("GET", "/a/%00"), -400);
    assert_int_equal(found("GET", "/long/1/2/3/4/5"), -404); /* beyond ROUTE_PARAMS_MAX */
}

static void test_slash_inside_a_parameter(void **state)
{
    (void)state;
    struct lookup l;
    look_up(&l, "GET", "/a/b%2Fc%20d+e?q");
    assert_int_equal(l.route->flags, 4);
    assert_string_equal(l.r.params[0], "b/c d+e");
    assert_str(l.r.path, "/a/b%2Fc%20d+e");
    assert_str(l.r.query, "q");
    finish(&l);
    look_up(&l, "GET", "/a/..%2f..%2fx/y");
    assert_int_equal(l.route->flags, 7);
    assert_string_equal(l.r.params[0], "../../x");
    assert_string_equal(l.r.params[1], "y");
    finish(&l);
}

static void test_allow_lists_each_method_once(void **state)
{
    (void)state;
    struct lookup l;
    look_up(&l, "PUT", "/a/fixed");
    assert_null(l.route);
    assert_int_equal(l.status, 405);
    assert_string_equal(l.allow, "GET, DELETE");
    finish(&l);
    look_up(&l, "PUT", "/a/fixed/b");
    assert_string_equal(l.allow, "GET");
    finish(&l);
    look_up(&l, "PUT", "/none");
    assert_null(l.allow);
    finish(&l);
}

static void test_query(void **state)
{
    (void)state;
    struct lookup l;
    bool bad;
    look_up(&l, "GET", "/a?x=1&y=a+b%2Bc&x=2&empty=&flag&%7Aed=3&bad=%zz&nul=%00&a=b=c&&=v");
    assert_string_equal(http_query_get(&l.r, "x", &bad), "1");
    assert_string_equal(http_query_get(&l.r, "y", &bad), "a b+c");
    assert_string_equal(http_query_get(&l.r, "empty", &bad), "");
    assert_string_equal(http_query_get(&l.r, "flag", &bad), "");
    assert_string_equal(http_query_get(&l.r, "zed", &bad), "3");
    assert_string_equal(http_query_get(&l.r, "a", &bad), "b=c");
    assert_false(bad);
    assert_null(http_query_get(&l.r, "none", &bad));
    assert_false(bad);
    assert_null(http_query_get(&l.r, "bad", &bad));
    assert_true(bad);
    assert_null(http_query_get(&l.r, "nul", &bad));
    assert_true(bad);
    finish(&l);
    look_up(&l, "GET", "/a");
    assert_null(http_query_get(&l.r, "x", &bad));
    assert_null(http_query_get(&l.r, "", &bad));
    assert_false(bad);
    finish(&l);
}

/* ---- collecting a body ---- */

static struct {
    int told, closes, errnum;
    struct buf body;
    bool answer;
    struct http_request *r;
} collected;

static void on_body(struct http_request *r, const uint8_t *body, size_t n, int errnum)
{
    collected.told++;
    collected.errnum = errnum;
    collected.r = r;
    if (errnum == 0) {
        assert_int_equal(body[n], 0);
        buf_append(&collected.body, body, n);
    }
    if (errnum == EFBIG)
        http_respond(r->stream, 413, NULL, NULL, 0);
    else if (collected.answer)
        http_respond(r->stream, 200, NULL, "yes", 3);
}

static void on_body_close(struct http_request *r)
{
    assert_ptr_equal(r, collected.r);
    collected.closes++;
}

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    (void)a;
    struct http_request r = { .stream = s, .head = head };
    http_collect_body(&r, 10, on_body, on_body_close);
}

static void start(struct h1_server *v, bool answer)
{
    buf_deinit(&collected.body);
    memset(&collected, 0, sizeof(collected));
    collected.answer = answer;
    h1_start(v, NULL);
    v->acceptor.on_request = on_request;
}

static void test_collect(void **state)
{
    (void)state;
    struct h1_server v;
    start(&v, true);
    h1_send(&v, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n");
    assert_int_equal(collected.told, 1);
    assert_str(buf_str(&collected.body), "helloworld");
    assert_int_equal(collected.closes, 1);
    assert_int_equal(h1_last_status(&v), 200);
    h1_send(&v, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); /* no body */
    assert_int_equal(collected.told, 2);
    assert_int_equal(collected.errnum, 0);
    assert_int_equal(buf_len(&collected.body), 10);
    h1_stop(&v);
}

static void test_collect_refuses_too_much(void **state)
{
    (void)state;
    struct h1_server v;
    start(&v, true); /* told beforehand: nothing is asked for */
    h1_send(&v, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_int_equal(collected.told, 1);
    assert_int_equal(h1_last_status(&v), 413);
    assert_int_equal(h1_count(&v, "100 Continue"), 0);
    h1_stop(&v);

    start(&v, true); /* found out on the way */
    h1_send(&v, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                "a\r\n0123456789\r\n1\r\nx\r\n4\r\nmore\r\n0\r\n\r\n");
    assert_int_equal(collected.told, 1);
    assert_int_equal(collected.errnum, EFBIG);
    assert_int_equal(h1_last_status(&v), 413);
    h1_send(&v, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(collected.told, 2);
    h1_stop(&v);
}

static void test_collect_tells_of_an_abort(void **state)
{
    (void)state;
    struct h1_server v;
    start(&v, true); /* before the end */
    h1_send(&v, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, collected.closes == 1);
    assert_int_equal(collected.told, 1);
    assert_int_equal(collected.errnum, ECONNRESET);
    h1_stop(&v);

    start(&v, false); /* while the handler thinks */
    h1_send(&v, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    assert_int_equal(collected.errnum, 0);
    assert_int_equal(collected.closes, 0);
    test_peer_close(&v.peer);
    LOOP_UNTIL(&v.t, collected.closes == 1);
    assert_int_equal(collected.told, 1);
    h1_stop(&v);
    buf_deinit(&collected.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_slash_inside_a_parameter),
        cmocka_unit_test(test_allow_lists_each_method_once),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_collect),
        cmocka_unit_test(test_collect_refuses_too_much),
        cmocka_unit_test(test_collect_tells_of_an_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
