#include "common/auth/signature.h"

#include "common/base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>

#define NOW 1700000000

/* The published clients' own value for path "f", operation read, no user, token "tok". */
#define GOLDEN "v1_FbgM9M17Cd9MeMC6OQVqooUHPMx70qZVnUXn+UrBgHQ"

static void check(const char *signature, const char *path, const char *operation, const char *user,
                  const char *token, const char *expiration, const char *want)
{
    struct err err = { 0 };
    int r = signature_check(str_of(signature), str_of(path), str_of(operation), str_of(user),
                            str_of(token), str_of(expiration), NOW, &err);
    if (!want) {
        assert_int_equal(r, 0);
        return;
    }
    assert_true(r < 0);
    assert_int_equal(err.code, ERR_UNAUTHENTICATED);
    assert_string_equal(err.msg, want);
}

static char *make(const char *path, const char *user, const char *expiration)
{
    struct buf out = { 0 };
    assert_int_equal(signature_make(str_of(path), STR("write"), str_of(user), STR("tok"),
                                    str_of(expiration), &out),
                     0);
    return buf_take_text(&out);
}

static void test_check_accepts_the_clients_value(void **state)
{
    (void)state;
    check(GOLDEN, "f", "read", "", "tok", "", NULL);
}

static void test_check_refuses_any_other_request(void **state)
{
    (void)state;
    check("", "f", "read", "", "tok", "", "missing signature query parameter");
    check(GOLDEN, "g", "read", "", "tok", "", "invalid signature");
    check(GOLDEN, "f", "write", "", "tok", "", "invalid signature");
    check(GOLDEN, "f", "read", "root", "tok", "", "invalid signature");
    check(GOLDEN, "f", "read", "", "other", "", "invalid signature");
    check(GOLDEN, "f", "read", "", "tok", "1900000000", "invalid signature");
    check(GOLDEN "=", "f", "read", "", "tok", "", "invalid signature");
    check("v1_", "f", "read", "", "tok", "", "invalid signature");
    check("v1_FbgM9M17Cd9MeMC6OQVqooUHPMx70qZVnUXn-UrBgHQ", "f", "read", "", "tok", "",
          "invalid signature");
}

static void test_check_expiration(void **state)
{
    (void)state;
    char *later = make("/a b", "user", "1700000001"), *now = make("/a b", "user", "1700000000");
    char *past = make("/a b", "user", "1699999999"), *odd = make("/a b", "user", "+1700000001");
    char *huge = make("/a b", "user", "99999999999999999999");
    check(later, "/a b", "write", "user", "tok", "1700000001", NULL);
    check(now, "/a b", "write", "user", "tok", "1700000000", NULL);
    check(past, "/a b", "write", "user", "tok", "1699999999", "signature is already expired");
    check(past, "/a b", "write", "user", "tok", "1900000000", "invalid signature");
    check(past, "/a b", "write", "user", "tok", "", "invalid signature");
    check(odd, "/a b", "write", "user", "tok", "+1700000001", "invalid signature");
    check(huge, "/a b", "write", "user", "tok", "99999999999999999999", "invalid signature");
    free(later);
    free(now);
    free(past);
    free(odd);
    free(huge);
}

static void test_check_without_token_refuses(void **state)
{
    (void)state;
    struct buf out = { 0 };
    assert_int_equal(signature_make(STR("f"), STR("read"), STR(""), STR(""), STR(""), &out), 0);
    char *made = buf_take_text(&out);
    check(made, "f", "read", "", "", "", "invalid signature");
    free(made);
}

static bool finds(const char *signature, const char *path, const char *expiration,
                  const char *token)
{
    struct signature_search s;
    return signature_search_init(&s, str_of(signature), str_of(path), STR("read"), STR("user"),
                                 str_of(expiration), 1000) &&
           !signature_search_matches(&s, STR("other")) &&
           signature_search_matches(&s, str_of(token));
}

/* Whatever is found passes the check, and nothing else is found. */
static void test_a_token_is_found(void **state)
{
    (void)state;
    static char path[8192];
    static const char *const expirations[] = { "", "1000" };
    memset(path, 'p', sizeof(path) - 1);
    for (size_t i = 0; i < ARRAY_LEN(expirations); i++) {
        struct buf out = { 0 };
        char text[64];
        const char *expiration = expirations[i];
        assert_int_equal(signature_make(str_of(path), STR("read"), STR("user"), STR("tok"),
                                        str_of(expiration), &out),
                         0);
        assert_true(str_copy(buf_str(&out), text, sizeof(text)));
        buf_deinit(&out);
        assert_int_equal(strlen(text), 46);
        assert_true(finds(text, path, expiration, "tok"));
        assert_false(finds(text, path, expiration, ""));
        assert_false(finds(text, path + 1, expiration, "tok"));
        assert_false(finds(text, path, "1001", "tok"));
        text[45] ^= 1; /* bits beyond the digest's last */
        assert_false(finds(text, path, expiration, "tok"));
        text[45] = '\0';
        assert_false(finds(text, path, expiration, "tok"));
    }
}

static void test_nothing_is_looked_for_with_an_expiration_that_is_over_or_none(void **state)
{
    (void)state;
    static const char *const bad[] = { "999", "soon", "000000000000000001000" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = { 0 };
        struct signature_search s;
        assert_int_equal(
            signature_make(STR("f"), STR("read"), STR(""), STR("tok"), str_of(bad[i]), &out), 0);
        assert_false(signature_search_init(&s, buf_str(&out), STR("f"), STR("read"), STR(""),
                                           str_of(bad[i]), 1000));
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_accepts_the_clients_value),
        cmocka_unit_test(test_check_refuses_any_other_request),
        cmocka_unit_test(test_check_expiration),
        cmocka_unit_test(test_check_without_token_refuses),
        cmocka_unit_test(test_a_token_is_found),
        cmocka_unit_test(test_nothing_is_looked_for_with_an_expiration_that_is_over_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
