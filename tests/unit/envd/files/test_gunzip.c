#include "envd/files/gunzip.h"

#include "common/base/buf.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>

static int take(void *user, const uint8_t *data, size_t n)
{
    buf_append(user, data, n);
    return 0;
}

static void add_member(struct buf *out, struct str text)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (const Bytef *)text.p;
    z.avail_in = (uInt)text.n;
    z.next_out = buf_reserve(out, 65536);
    z.avail_out = 65536;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, 65536 - z.avail_out);
    deflateEnd(&z);
}

/* Feed in pieces of this size; what comes out is compared. */
static void check(const struct buf *in, size_t piece, struct str want, int want_rc)
{
    struct gunzip g;
    struct err err = { 0 };
    struct buf out = { 0 };
    assert_int_equal(gunzip_init(&g, &err), 0);
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < buf_len(in); at += piece) {
        size_t n = buf_len(in) - at < piece ? buf_len(in) - at : piece;
        rc = gunzip_feed(&g, buf_head(in) + at, n, take, &out, &err);
    }
    if (rc == 0)
        rc = gunzip_finish(&g, &err);
    assert_int_equal(rc, want_rc);
    assert_int_equal(err.code, want_rc ? ERR_INVALID : ERR_OK);
    if (want_rc == 0) {
        assert_int_equal(buf_len(&out), want.n);
        assert_memory_equal(buf_str(&out).p, want.p, want.n);
    }
    gunzip_deinit(&g);
    buf_deinit(&out);
}

static void test_members_in_any_pieces(void **state)
{
    (void)state;
    struct buf in = { 0 };
    add_member(&in, STR("first "));
    add_member(&in, STR(""));
    add_member(&in, STR("second"));
    for (size_t piece = 1; piece <= buf_len(&in); piece++)
        check(&in, piece, STR("first second"), 0);
    buf_deinit(&in);
}

/* Much more comes out than one output buffer holds. */
static void test_a_dense_member(void **state)
{
    (void)state;
    struct buf in = { 0 };
    size_t n = 1000000;
    char *zeros = calloc(1, n);
    add_member(&in, (struct str){ zeros, n });
    assert_true(buf_len(&in) < 2000);
    check(&in, buf_len(&in), (struct str){ zeros, n }, 0);
    check(&in, 100, (struct str){ zeros, n }, 0);
    free(zeros);
    buf_deinit(&in);
}

static void test_malformed(void **state)
{
    (void)state;
    struct buf in = { 0 };
    check(&in, 1, STR(""), -EPROTO); /* nothing at all */
    add_member(&in, STR("text"));
    for (size_t cut = 1; cut < buf_len(&in); cut++) {
        struct buf part = in;
        part.len = cut;
        check(&part, 1000, STR(""), -EPROTO);
    }
    buf_puts(&in, "behind");
    check(&in, 1000, STR(""), -EPROTO);
    in.len -= 6;
    in.data[in.len - 6] ^= 1; /* the checksum */
    check(&in, 1000, STR(""), -EPROTO);
    buf_deinit(&in);
}

static int refuse(void *user, const uint8_t *data, size_t n)
{
    (void)user;
    (void)data;
    (void)n;
    return -ENOSPC;
}

static void test_the_taker_may_refuse(void **state)
{
    (void)state;
    struct gunzip g;
    struct err err = { 0 };
    struct buf in = { 0 };
    add_member(&in, STR("text"));
    assert_int_equal(gunzip_init(&g, &err), 0);
    assert_int_equal(gunzip_feed(&g, buf_head(&in), buf_len(&in), refuse, NULL, &err), -ENOSPC);
    gunzip_deinit(&g);
    buf_deinit(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_in_any_pieces),
        cmocka_unit_test(test_a_dense_member),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_the_taker_may_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
