#include "common/link/link_frame.h"

#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>

static struct buf frame_of(enum link_frame_type type, struct str message)
{
    struct buf b = { 0 };
    assert_true(link_frame_put(&b, type, message));
    return b;
}

static void test_a_frame_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct buf b = frame_of(LINK_FRAME_CONFIGURE, STR("hello"));
    assert_memory_equal(buf_head(&b), "C\0\0\0\5hello", 10);
    buf_puts(&b, "PRI");
    struct link_frame f = { 0 };
    size_t used;
    assert_int_equal(link_frame_feed(&f, buf_head(&b), buf_len(&b), &used), 1);
    assert_int_equal(used, 10);
    assert_int_equal(f.type, LINK_FRAME_CONFIGURE);
    assert_true(str_eq(f.message, STR("hello")));
    /* What follows is no frame. */
    assert_int_equal(link_frame_feed(&f, buf_head(&b) + used, 3, &used), -EPROTO);
    assert_int_equal(used, 0);
    link_frame_deinit(&f);
    buf_deinit(&b);
}

static void test_any_cut_gives_the_same(void **state)
{
    (void)state;
    struct buf b = frame_of(LINK_FRAME_REFRESH, STR("one"));
    assert_true(link_frame_put(&b, LINK_FRAME_DECLINED, STR("")));
    assert_true(link_frame_put(&b, LINK_FRAME_CONFIGURE, STR("three")));
    size_t all = buf_len(&b);
    for (size_t piece = 1; piece <= all; piece++) {
        static const char *const texts[] = { "one", "", "three" };
        static const uint8_t types[] = { LINK_FRAME_REFRESH, LINK_FRAME_DECLINED,
                                         LINK_FRAME_CONFIGURE };
        struct link_frame f = { 0 };
        size_t frames = 0;
        for (size_t at = 0; at < all;) {
            size_t n = all - at < piece ? all - at : piece, used;
            uint8_t *copy = malloc(n); /* of just this size, for ASan */
            memcpy(copy, buf_head(&b) + at, n);
            int rc = link_frame_feed(&f, copy, n, &used);
            assert_true(rc == 1 || (rc == 0 && used == n));
            if (rc == 1) {
                assert_int_equal(f.type, types[frames]);
                assert_true(str_eq(f.message, str_of(texts[frames])));
                frames++;
            }
            free(copy);
            at += used;
        }
        assert_int_equal(frames, 3);
        link_frame_deinit(&f);
    }
    buf_deinit(&b);
}

static void test_a_frame_has_a_longest(void **state)
{
    (void)state;
    static char text[LINK_FRAME_MAX + 1];
    struct buf b = frame_of(LINK_FRAME_CONFIGURE, (struct str){ text, LINK_FRAME_MAX });
    struct link_frame f = { 0 };
    size_t used;
    assert_int_equal(link_frame_feed(&f, buf_head(&b), buf_len(&b), &used), 1);
    assert_int_equal(f.message.n, LINK_FRAME_MAX);
    buf_deinit(&b);
    assert_false(link_frame_put(&b, LINK_FRAME_CONFIGURE, (struct str){ text, sizeof(text) }));
    assert_int_equal(buf_len(&b), 0);
    /* Told before any of it is held. */
    assert_int_equal(link_frame_feed(&f, (const uint8_t *)"C\0\1\0\1", 5, &used), -EMSGSIZE);
    link_frame_deinit(&f);
    assert_int_equal(link_frame_feed(&f, (const uint8_t *)"C\xff\xff\xff\xff", 5, &used),
                     -EMSGSIZE);
    link_frame_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_frame_is_read_as_it_was_written),
        cmocka_unit_test(test_any_cut_gives_the_same),
        cmocka_unit_test(test_a_frame_has_a_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
