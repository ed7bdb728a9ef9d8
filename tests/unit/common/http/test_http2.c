#include "tests/unit/common/http/h2_pair.h"

#include "common/base/cleanup.h"

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void test_request_brings_status_and_body(void **state)
{
    (void)state;
    struct h2_pair p;
    struct h2_request r = { 0 };
    h2_pair_start(&p, NULL);
    assert_true(h2_request_start(&p, &r, "GET", "/small", 0));
    h2_run_until(&p.loop, h2_request_closed, &r);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 200);
    assert_true(r.ended);
    assert_true(str_eq(buf_str(&r.body), STR("hello")));
    h2_pair_stop(&p);
    assert_int_equal(p.last_server_errnum, 0);
    h2_request_deinit(&r);
}

static void test_upload_is_echoed_whole_within_bounds(void **state)
{
    (void)state;
    struct h2_pair p;
    struct h2_request r = { 0 };
    h2_pair_start(&p, NULL);
    assert_true(h2_request_start(&p, &r, "POST", "/echo", 5U << 20));
    h2_run_until(&p.loop, h2_request_closed, &r);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(buf_len(&r.body), 5U << 20);
    const uint8_t *body = buf_head(&r.body);
    for (size_t i = 0; i < buf_len(&r.body); i++)
        if (body[i] != i % 251)
            fail_msg("byte %zu differs", i);
    assert_in_range(r.most_queued, 1, 65536 + 10000);
    h2_pair_stop(&p);
    h2_request_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_brings_status_and_body),
        cmocka_unit_test(test_upload_is_echoed_whole_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
