/* What a request on the wire may look like: a table of byte strings, each sent whole and byte by
 * byte. A refused one must end the connection, so that nothing after it is ever read as a request.
 */
#include "tests/support/test.h"
#include "tests/unit/common/http/h1_server.h"

struct wire {
    const char *bytes;
    int status;      /* of the last response */
    size_t requests; /* that reached the handler */
    size_t n;        /* length where bytes have a NUL inside, else 0 */
};

#define GET      "GET /ok HTTP/1.1\r\n"
#define HOST     "Host: a\r\n"
#define END      "\r\n"
#define NEXT     GET HOST END /* a request that must not be seen after a refused one */
#define NUL(s)   s, 400, 0, sizeof(s) - 1
#define REFUSED  400, 0
#define ACCEPTED 200

static const struct wire wires[] = {
    /* plain ones */
    { NEXT, ACCEPTED, 1 },
    { NEXT NEXT NEXT, ACCEPTED, 3 },
    { END NEXT, ACCEPTED, 1 },
    { END END NEXT, REFUSED },
    { "GET /ok HTTP/1.0\r\n" END, ACCEPTED, 1 },
    { "GET /ok HTTP/1.0\r\n" END NEXT, ACCEPTED, 1 },
    { GET "HOST:a" END END, ACCEPTED, 1 },
    { GET "Host: \t a \t" END END, ACCEPTED, 1 },
    { GET HOST "X-Empty:" END END, ACCEPTED, 1 },
    { GET HOST "X-High: \xc3\xa9\xff" END END, ACCEPTED, 1 },

    /* line ends, controls, folding */
    { "GET /ok HTTP/1.1\nHost: a\n\n", REFUSED },
    { GET "Host: a\n" END NEXT, REFUSED },
    { GET HOST "X: 1\n" END NEXT, REFUSED },
    { GET HOST "X: 1\r" END NEXT, REFUSED },
    { GET HOST "X: \rTransfer-Encoding: chunked" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "X: a\rb" END END NEXT, REFUSED },
    { GET HOST "X: a\r\rb" END END NEXT, REFUSED },
    { "GET /ok HTTP/1.1\r" HOST END, REFUSED },
    { "GET /ok HTTP/1.1\rX\r\n" HOST END, REFUSED },
    { GET HOST "X: 1\r\n folded" END END NEXT, REFUSED },
    { GET HOST "X: 1\r\n\tfolded" END END NEXT, REFUSED },
    { GET " Host: a" END END, REFUSED },
    { GET HOST "\r \r\n" NEXT, REFUSED },
    { GET HOST "X: \x01" END END, REFUSED },
    { GET HOST "X: \x7f" END END, REFUSED },
    { NUL("GET /ok HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n") },
    { NUL("GET /ok\0 HTTP/1.1\r\nHost: a\r\n\r\n") },
    { NUL("GET /ok HTTP/1.1\r\nHost\0: a\r\n\r\n") },
    { NUL("\0GET /ok HTTP/1.1\r\nHost: a\r\n\r\n") },

    /* the request line */
    { "GET  /ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok  HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/1.1 \r\n" HOST END, REFUSED },
    { " GET /ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET\t/ok\tHTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/1.1\t\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/01.1\r\n" HOST END, REFUSED },
    { "GET /ok http/1.1\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/1.1x\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/x.1\r\n" HOST END, REFUSED },
    { "GET /ok HTTP/2.0\r\n" HOST END, 505, 0 },
    { "GET /ok HTTP/1.2\r\n" HOST END, 505, 0 },
    { "GET /ok HTTP/0.9\r\n" HOST END, 505, 0 },
    { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 0 },
    { "FROB /ok HTTP/1.1\r\n" HOST END, 501, 0 },
    { "get /ok HTTP/1.1\r\n" HOST END, 501, 0 },
    { "G(T /ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "G\x80T /ok HTTP/1.1\r\n" HOST END, REFUSED },

    /* targets */
    { "GET ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET * HTTP/1.1\r\n" HOST END, REFUSED },
    { "OPTIONS * HTTP/1.1\r\n" HOST END, 404, 1 },
    { "GET http://b/ok HTTP/1.1\r\n" HOST END, ACCEPTED, 1 },
    { "GET HTTPS://b:1/ok HTTP/1.1\r\n" HOST END, ACCEPTED, 1 },
    { "GET http://b/ok HTTP/1.1\r\n" END, REFUSED },
    { "GET http://u@b/ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET http:///ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET http://b\\c/ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET ftp://b/ok HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok#x HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok\x80 HTTP/1.1\r\n" HOST END, REFUSED },
    { "GET /ok?a=%00 HTTP/1.1\r\n" HOST END, ACCEPTED, 1 },
    { "CONNECT a:1 HTTP/1.1\r\n" HOST END NEXT, 501, 0 },
    { "CONNECT a HTTP/1.1\r\n" HOST END NEXT, 501, 0 },

    /* Host */
    { GET END, REFUSED },
    { GET HOST HOST END, REFUSED },
    { GET HOST "host: b" END END, REFUSED },
    { GET "Host: a b" END END, REFUSED },
    { GET "Host: a/b" END END, REFUSED },
    { GET "Host: u@a" END END, REFUSED },
    { GET "Host: a, b" END END, REFUSED },
    { GET "Host:" END END, ACCEPTED, 1 },
    { GET "Host: [::1]:80" END END, ACCEPTED, 1 },
    { "GET /ok HTTP/1.0\r\n" HOST HOST END, REFUSED },

    /* names */
    { GET HOST "X : 1" END END, REFUSED },
    { GET HOST "X\t: 1" END END, REFUSED },
    { GET "Host : a" END END, REFUSED },
    { GET HOST ": 1" END END, REFUSED },
    { GET HOST "X" END END, REFUSED },
    { GET HOST "X Y: 1" END END, REFUSED },
    { GET HOST "X(: 1" END END, REFUSED },
    { GET HOST "X\x80: 1" END END, REFUSED },
    { GET HOST "Content-Length : 3" END END "abc", REFUSED },

    /* two ideas of the body's length */
    { GET HOST "Content-Length: 0" END END NEXT, ACCEPTED, 2 },
    { GET HOST "Content-Length: 3" END END "abc" NEXT, ACCEPTED, 2 },
    { GET HOST "Content-Length: 3" END "Content-Length: 3" END END "abc", REFUSED },
    { GET HOST "Content-Length: 3" END "Content-Length: 4" END END "abc", REFUSED },
    { GET HOST "Content-Length: 3, 3" END END "abc", REFUSED },
    { GET HOST "Content-Length: +3" END END "abc", REFUSED },
    { GET HOST "Content-Length: -3" END END "abc", REFUSED },
    { GET HOST "Content-Length: 0x3" END END "abc", REFUSED },
    { GET HOST "Content-Length: 3 " END END "abc", ACCEPTED, 1 },
    { GET HOST "Content-Length: 3 3" END END "abc", REFUSED },
    { GET HOST "Content-Length:" END END, REFUSED },
    { GET HOST "Content-Length: 99999999999999999999" END END, REFUSED },
    { GET HOST "Content-Length: 9223372036854775808" END END, REFUSED },
    { GET HOST "Transfer-Encoding: chunked" END "Content-Length: 3" END END "0\r\n\r\n" NEXT,
      REFUSED },
    { GET HOST "Content-Length: 3" END "Transfer-Encoding: chunked" END END "0\r\n\r\n" NEXT,
      REFUSED },
    { GET HOST "Transfer-Encoding: chunked" END END "0\r\n\r\n" NEXT, ACCEPTED, 2 },
    { GET HOST "Transfer-Encoding: Chunked" END END "0\r\n\r\n" NEXT, ACCEPTED, 2 },
    { GET HOST "Transfer-Encoding: xchunked" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: chunked, chunked" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: gzip, chunked" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: chunked, gzip" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: chunked;q=1" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: \"chunked\"" END END "0\r\n\r\n" NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: identity" END END NEXT, REFUSED },
    { GET HOST "Transfer-Encoding:" END END NEXT, REFUSED },
    { GET HOST "Transfer-Encoding: chunked" END "Transfer-Encoding: chunked" END END "0\r\n\r\n",
      REFUSED },
    { GET HOST "Transfer-Encoding: chunked" END "Transfer-Encoding: x" END END "0\r\n\r\n",
      REFUSED },
    { "GET /ok HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked" END END "0\r\n\r\n", REFUSED },

    /* expectations */
    { GET HOST "Expect: 200-maybe" END "Content-Length: 3" END END, 417, 0 },
};

/* Chunked bodies of POST /echo, which is answered when the body has ended well. */
static const struct wire bodies[] = {
    { "3\r\nabc\r\n0\r\n\r\n", ACCEPTED, 1 },
    { "3\r\nabc\r\n0\r\n\r\n" NEXT, ACCEPTED, 2 },
    { "0\r\n\r\n", ACCEPTED, 1 },
    { "00\r\n\r\n", ACCEPTED, 1 },
    { "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", ACCEPTED, 1 },
    { "3;x=y\r\nabc\r\n0;z\r\n\r\n", ACCEPTED, 1 },
    { "0\r\nX: 1\r\nY: 2\r\n\r\n" NEXT, ACCEPTED, 2 },
    { "3\nabc\r\n0\r\n\r\n", 400, 1 },
    { "3\r\nabc\n0\r\n\r\n", 400, 1 },
    { "3\r\nabc0\r\n\r\n", 400, 1 },
    { "3\r\nabcd\r\n0\r\n\r\n", 400, 1 },
    { "3\r\nabc\r\n0\n\n", 400, 1 },
    { "3\rabc\r\n0\r\n\r\n", 400, 1 },
    { "3 \r\nabc\r\n0\r\n\r\n", 400, 1 },
    { " 3\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "+3\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "-3\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "0x3\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "\r\n\r\n" NEXT, 400, 1 },
    { ";x\r\n\r\n" NEXT, 400, 1 },
    { ";x\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "g\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "3;a\nb\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "3;a\rb\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "10000000000000000\r\nabc", 400, 1 },
    { "ffffffffffffffff\r\nabc", 400, 1 },
    { "0000000000000003\r\nabc\r\n0\r\n\r\n", 400, 1 },
    { "0\r\nX : 1\r\n\r\n", 400, 1 },
    { "0\r\n folded\r\n\r\n", 400, 1 },
    { "0\r\nX: 1\n\r\n", 400, 1 },
    { "0\r\nX: a\rb\r\n\r\n", 400, 1 },
};

static void check_answer(struct h1_server *v, const struct wire *w)
{
    if (h1_last_status(v) != w->status || v->requests != w->requests)
        fail_msg("status %d, %zu requests for <%s>", h1_last_status(v), v->requests, w->bytes);
    if (w->status < 400 || w->status == 404)
        return;
    /* Refused for good: the answer says so, and the end follows. */
    assert_true(test_peer_has(&v->peer, "connection: close\r\n"));
    LOOP_UNTIL(&v->t, test_peer_ended(&v->peer));
    assert_int_equal(v->requests, w->requests);
}

static void run(const char *before, const struct wire *w, bool whole)
{
    struct h1_server v;
    h1_start(&v, NULL);
    h1_send(&v, before);
    size_t n = w->n ? w->n : strlen(w->bytes);
    if (whole) {
        h1_send_bytes(&v, w->bytes, n);
    } else {
        for (size_t i = 0; i < n && !v.peer.eof; i++) {
            test_peer_send(&v.peer, w->bytes + i, 1);
            test_loop_settle(&v.t);
            test_peer_pull(&v.peer);
        }
    }
    check_answer(&v, w);
    h1_stop(&v);
}

static void test_heads_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++)
        run("", &wires[i], true);
}

static void test_heads_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wires) / sizeof(wires[0]); i++)
        run("", &wires[i], false);
}

static const char post[] = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

static void test_bodies_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        run(post, &bodies[i], true);
}

static void test_bodies_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        run(post, &bodies[i], false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_whole),
        cmocka_unit_test(test_heads_byte_by_byte),
        cmocka_unit_test(test_bodies_whole),
        cmocka_unit_test(test_bodies_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
