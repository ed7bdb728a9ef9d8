#include "envd/files/access.h"

#include "common/base/clock.h"
#include "common/auth/signature.h"
#include "files_fixture.h"

#include <stdio.h>

#define SIGNED "v1_FbgM9M17Cd9MeMC6OQVqooUHPMx70qZVnUXn%2BUrBgHQ" /* f, read, no user, tok */

struct outcome {
    int rc, status;
    struct err err;
    struct access access;
};

static struct outcome check(struct fixture *x, const char *operation)
{
    static struct outcome o;
    o = (struct outcome){ 0 };
    o.rc = access_check(&x->r, operation, &o.access, &o.status, &o.err);
    return o;
}

static void refused(struct fixture *x, int status, const char *message)
{
    struct outcome o = check(x, "read");
    assert_true(o.rc < 0);
    assert_string_equal(o.err.msg, message);
    assert_int_equal(o.status, status);
}

static void test_without_token_everything_is_open(void **state)
{
    struct fixture *x = *state;
    fixture_request(x, "GET", "/files?path=f&signature=wrong");
    struct outcome o = check(x, "read");
    assert_int_equal(o.rc, 0);
    assert_string_equal(o.access.path, "f");
    assert_string_equal(o.access.user.name, "tester");
    fixture_request(x, "GET", "/files");
    o = check(x, "read");
    assert_int_equal(o.rc, 0);
    assert_null(o.access.path);
}

static void test_token_in_header(void **state)
{
    struct fixture *x = *state;
    strcpy(x->envd.access_token, "tok");
    fixture_request(x, "GET", "/files?path=f");
    fake_stream_add(&x->f, "x-access-token", "tok");
    assert_int_equal(check(x, "read").rc, 0);
    /* A wrong header is not saved by a right signature. */
    fixture_request(x, "GET", "/files?path=f&signature=" SIGNED);
    fake_stream_add(&x->f, "x-access-token", "toc");
    refused(x, 401, "access token present in header but does not match");
}

static void test_signatures(void **state)
{
    struct fixture *x = *state;
    strcpy(x->envd.access_token, "tok");
    fixture_request(x, "GET", "/files?path=f&signature=" SIGNED);
    assert_int_equal(check(x, "read").rc, 0);
    assert_true(check(x, "write").rc < 0);
    fixture_request(x, "GET", "/files?path=f");
    refused(x, 401, "missing signature query parameter");
    fixture_request(x, "GET", "/files?path=g&signature=" SIGNED);
    refused(x, 401, "invalid signature");
    fixture_request(x, "GET", "/files?path=f&username=root&signature=" SIGNED);
    refused(x, 401, "invalid signature");
    fixture_request(x, "GET", "/files?path=f&signature_expiration=99999999999&signature=" SIGNED);
    refused(x, 401, "invalid signature");
}

static void sign(struct fixture *x, const char *user, int64_t expires)
{
    static char target[512];
    char expiration[32];
    struct buf signature = { 0 };
    struct buf escaped = { 0 };
    snprintf(expiration, sizeof(expiration), "%lld", (long long)expires);
    assert_int_equal(signature_make(STR("a b"), STR("read"), str_of(user), STR("tok"),
                                    str_of(expiration), &signature),
                     0);
    for (size_t i = 0; i < buf_len(&signature); i++)
        buf_printf(&escaped, "%%%02X", buf_head(&signature)[i]);
    snprintf(target, sizeof(target),
             "/files?path=a+b&username=%s&signature_expiration=%s&signature=%.*s", user, expiration,
             STR_ARG(buf_str(&escaped)));
    buf_deinit(&signature);
    buf_deinit(&escaped);
    fixture_request(x, "GET", target);
}

static void test_expiration(void **state)
{
    struct fixture *x = *state;
    int64_t now = clock_wall_ns() / 1000000000;
    strcpy(x->envd.access_token, "tok");
    sign(x, "root", now + 100);
    struct outcome o = check(x, "read");
    assert_int_equal(o.rc, 0);
    assert_string_equal(o.access.user.name, "root");
    sign(x, "root", now - 100);
    refused(x, 401, "signature is already expired");
}

static void test_users(void **state)
{
    struct fixture *x = *state;
    fixture_request(x, "GET", "/files?username=root");
    assert_string_equal(check(x, "read").access.user.name, "root");
    fixture_request(x, "GET", "/files?username=nobody-there");
    refused(x, 401, "error looking up user 'nobody-there': user 'nobody-there' does not exist");
    x->envd.default_user[0] = '\0';
    fixture_request(x, "GET", "/files");
    refused(x, 400, "no user specified");
}

static void test_malformed_query(void **state)
{
    struct fixture *x = *state;
    fixture_request(x, "GET", "/files?path=%zz");
    refused(x, 400, "the query of the URL is malformed");
    fixture_request(x, "GET", "/files?path=a%00b");
    refused(x, 400, "the query of the URL is malformed");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_without_token_everything_is_open),
        CASE(test_token_in_header),
        CASE(test_signatures),
        CASE(test_expiration),
        CASE(test_users),
        CASE(test_malformed_query),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
