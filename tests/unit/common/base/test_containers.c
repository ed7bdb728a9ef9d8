#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/json_text.h"
#include "common/base/map.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static void buf_keeps_bytes_through_appends_and_consumes(void **state)
{
    (void)state;
    struct buf b = { 0 };
    unsigned in = 0, out = 0;
    for (unsigned round = 0; round < 2000; round++) {
        for (unsigned i = 0; i < round % 37; i++)
            buf_putc(&b, (char)(in++ % 251));
        size_t take = buf_len(&b) / 2;
        for (size_t i = 0; i < take; i++)
            assert_int_equal(buf_head(&b)[i], out++ % 251);
        buf_consume(&b, take);
    }
    while (buf_len(&b)) {
        assert_int_equal(*buf_head(&b), out++ % 251);
        buf_consume(&b, 1);
    }
    assert_int_equal(in, out);
    buf_deinit(&b);
}

static void buf_gives_storage_back(void **state)
{
    (void)state;
    struct buf b = { 0 };
    assert_non_null(buf_reserve(&b, 4 * BUF_KEEP));
    buf_commit(&b, 4 * BUF_KEEP);
    buf_consume(&b, 4 * BUF_KEEP);
    assert_int_equal(b.cap, 0);
    buf_deinit(&b);
}

static void buf_printf_longer_than_its_scratch(void **state)
{
    (void)state;
    struct buf b = { 0 };
    buf_printf(&b, "%0500d|", 7);
    assert_int_equal(buf_len(&b), 501);
    char *text = buf_take_text(&b);
    assert_int_equal(strlen(text), 501);
    free(text);
}

static void map_holds_many_and_iterates_in_order(void **state)
{
    (void)state;
    struct map m = { 0 };
    char key[16];
    for (uintptr_t i = 1; i <= 1000; i++) {
        snprintf(key, sizeof(key), "k%u", (unsigned)i);
        assert_true(map_set(&m, str_of(key), (void *)i));
    }
    uintptr_t expect = 1;
    for (struct map_entry *e = map_next(&m, NULL); e; e = map_next(&m, e))
        assert_ptr_equal(e->value, (void *)expect++);
    assert_int_equal(expect, 1001);
    for (unsigned i = 1; i <= 1000; i += 2) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_ptr_equal(map_remove(&m, str_of(key)), (void *)(uintptr_t)i);
        assert_null(map_get(&m, str_of(key)));
    }
    assert_int_equal(m.count, 500);
    assert_ptr_equal(map_get(&m, STR("k1000")), (void *)(uintptr_t)1000);
    assert_null(map_get(&m, STR("k1001")));
    map_deinit(&m);
}

static void map_stays_small_when_keys_come_and_go(void **state)
{
    (void)state;
    struct map m = { 0 };
    char key[16];
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_true(map_set(&m, str_of(key), &m));
        assert_ptr_equal(map_remove(&m, str_of(key)), &m);
    }
    assert_true(m.cap <= 16);
    map_deinit(&m);
}

static void arena_aligns_and_counts(void **state)
{
    (void)state;
    struct arena a = { 0 };
    for (size_t n = 1; n < 5000; n += 97) {
        uint8_t *p = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        memset(p, 0xff, n);
    }
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 42), "x-42");
    assert_true(arena_size(&a) > 5000);
    arena_deinit(&a);
}

static void json_text_escapes(void **state)
{
    (void)state;
    static const struct {
        struct str in;
        const char *out;
    } cases[] = {
        { STR("a\"b\\c"), "\"a\\\"b\\\\c\"" },
        { STR("\n\r\t\x01\0z"), "\"\\n\\r\\t\\u0001\\u0000z\"" },
        { STR("\xc3\xa9\xf0\x9f\x98\x80"), "\"\xc3\xa9\xf0\x9f\x98\x80\"" },
        { STR("\xff|\xc3|\xed\xa0\x80|"),
          "\"\xEF\xBF\xBD|\xEF\xBF\xBD|\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD|\"" },
        { STR("\x7f"), "\"\\u007f\"" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = { 0 };
        json_text_quote(&b, cases[i].in);
        assert_str(buf_str(&b), cases[i].out);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_keeps_bytes_through_appends_and_consumes),
        cmocka_unit_test(buf_gives_storage_back),
        cmocka_unit_test(buf_printf_longer_than_its_scratch),
        cmocka_unit_test(map_holds_many_and_iterates_in_order),
        cmocka_unit_test(map_stays_small_when_keys_come_and_go),
        cmocka_unit_test(arena_aligns_and_counts),
        cmocka_unit_test(json_text_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
