#include "common/rpc/gzip.h"

#include "tests/support/test.h"

#include <stdlib.h>

static struct buf packed, plain;

static int teardown(void **state)
{
    (void)state;
    buf_deinit(&packed);
    buf_deinit(&plain);
    return 0;
}

static void assert_refused(struct str data, size_t max, enum err_code code)
{
    struct err err = { 0 };
    buf_clear(&plain);
    assert_true(gzip_inflate(data, max, &plain, &err) < 0);
    assert_int_equal(err.code, code);
    assert_true(buf_len(&plain) <= max);
}

static void assert_inflates(struct str data, size_t max, struct str want)
{
    struct err err = { 0 };
    buf_clear(&plain);
    if (gzip_inflate(data, max, &plain, &err) < 0)
        fail_msg("%s", err.msg);
    assert_true(str_eq(buf_str(&plain), want));
}

static void test_round_trip(void **state)
{
    (void)state;
    static char text[100000];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * i >> 5);
    static const size_t sizes[] = { 0, 1, 100, 4096, 65536, sizeof(text) };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct str data = { text, sizes[i] };
        buf_clear(&packed);
        assert_true(gzip_deflate(data, &packed));
        assert_true(buf_len(&packed) <= gzip_bound(data.n));
        assert_inflates(buf_str(&packed), data.n, data);
        if (data.n)
            assert_refused(buf_str(&packed), data.n - 1, ERR_EXHAUSTED);
    }
}

static void test_a_bomb_is_bounded(void **state)
{
    (void)state;
    size_t n = 50U << 20;
    char *zeros = calloc(1, n);
    assert_true(gzip_deflate((struct str){ zeros, n }, &packed));
    assert_true(buf_len(&packed) < n / 100);
    assert_refused(buf_str(&packed), 1000, ERR_EXHAUSTED);
    assert_true(plain.cap < 65536);
    free(zeros);
}

static void test_what_is_no_gzip(void **state)
{
    (void)state;
    assert_true(gzip_deflate(STR("some text"), &packed));
    struct str whole = buf_str(&packed);
    for (size_t n = 0; n < whole.n; n++) /* cut off anywhere */
        assert_refused((struct str){ whole.p, n }, 1000, ERR_INVALID);
    assert_refused(STR("some text"), 1000, ERR_INVALID);

    struct buf twice = { 0 };
    buf_append_str(&twice, whole);
    buf_append_str(&twice, whole);
    assert_inflates(buf_str(&twice), 1000, STR("some textsome text"));
    assert_refused(buf_str(&twice), 17, ERR_EXHAUSTED);
    buf_putc(&twice, 'x');
    assert_refused(buf_str(&twice), 1000, ERR_INVALID);
    twice.data[twice.off + whole.n - 5] ^= 1; /* the checksum */
    assert_refused((struct str){ (const char *)buf_head(&twice), whole.n }, 1000, ERR_INVALID);
    buf_deinit(&twice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_round_trip, teardown),
        cmocka_unit_test_teardown(test_a_bomb_is_bounded, teardown),
        cmocka_unit_test_teardown(test_what_is_no_gzip, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
