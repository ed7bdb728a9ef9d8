#include "orchestrator/image/accounts.h"
#include "tests/support/test.h"

#include <errno.h>

static struct accounts make(const char *passwd, const char *group, const char *shadow)
{
    struct accounts a = { 0 };
    buf_puts(&a.passwd, passwd);
    buf_puts(&a.group, group);
    a.has_shadow = shadow != NULL;
    if (shadow)
        buf_puts(&a.shadow, shadow);
    return a;
}

static void test_user_is_added(void **state)
{
    (void)state;
    /* No end of the last line: it must not be swallowed. */
    struct accounts a = make("root:x:0:0:root:/root:/bin/bash", "root:x:0:\nsudo:x:27:\n",
                             "root:*:1:0:99999:7:::\n");
    assert_int_equal(accounts_ensure_user(&a, "/bin/bash", NULL), 0);
    assert_str(buf_str(&a.passwd), "root:x:0:0:root:/root:/bin/bash\n"
                                   "user:x:1000:1000::/home/user:/bin/bash\n");
    assert_str(buf_str(&a.group), "root:x:0:\nsudo:x:27:user\nuser:x:1000:\n");
    assert_str(buf_str(&a.shadow), "root:*:1:0:99999:7:::\nuser:*:19000:0:99999:7:::\n");
    assert_int_equal(a.uid, 1000);
    assert_int_equal(a.gid, 1000);
    assert_string_equal(a.home, "/home/user");
    accounts_deinit(&a);
}

static void test_taken_numbers_are_passed_over(void **state)
{
    (void)state;
    struct accounts a = make("root:x:0:0::/:/bin/sh\ndev:x:1000:1000::/d:/bin/sh\n",
                             "root:x:0:\ndev:x:1000:\nmore:x:1001:dev\nwheel:x:10:dev\n", NULL);
    assert_int_equal(accounts_ensure_user(&a, "/bin/sh", NULL), 0);
    assert_int_equal(a.uid, 1001);
    assert_int_equal(a.gid, 1002);
    assert_str(buf_str(&a.group), "root:x:0:\ndev:x:1000:\nmore:x:1001:dev\nwheel:x:10:dev,user\n"
                                  "user:x:1002:\n");
    assert_int_equal(buf_len(&a.shadow), 0);
    accounts_deinit(&a);
}

static void test_existing_user_stays(void **state)
{
    (void)state;
    static const char passwd[] = "root:x:0:0::/:/bin/sh\nuser:x:7:8:U:/data/user:/bin/zsh\n";
    struct accounts a = make(passwd, "root:x:0:\n", "root::::::::\n");
    assert_int_equal(accounts_ensure_user(&a, "/bin/bash", NULL), 0);
    assert_str(buf_str(&a.passwd), passwd);
    assert_str(buf_str(&a.group), "root:x:0:\n");
    assert_int_equal(a.uid, 7);
    assert_int_equal(a.gid, 8);
    assert_string_equal(a.home, "/data/user");
    accounts_deinit(&a);
}

static void test_empty_tree_gets_root_too(void **state)
{
    (void)state;
    struct accounts a = make("", "", NULL);
    assert_int_equal(accounts_ensure_user(&a, "/bin/bash", NULL), 0);
    assert_str(buf_str(&a.passwd), "root:x:0:0:root:/root:/bin/bash\n"
                                   "user:x:1000:1000::/home/user:/bin/bash\n");
    assert_str(buf_str(&a.group), "root:x:0:\nuser:x:1000:\n");
    accounts_deinit(&a);
}

static void test_malformed_user_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "user", "user:x:1000", "user:x:-1:1000::/home/user:/bin/sh",
                                       "user:x:1000:1000::home:/bin/sh",
                                       "user:x:1000:99999999999::/home/user:/bin/sh" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err;
        struct accounts a = make(bad[i], "", NULL);
        assert_int_equal(accounts_ensure_user(&a, "/bin/sh", &err), -EINVAL);
        assert_non_null(strstr(err.msg, "/etc/passwd"));
        accounts_deinit(&a);
    }
    struct accounts a = make("", "user:x:abc:\n", NULL);
    assert_int_equal(accounts_ensure_user(&a, "/bin/sh", NULL), -EINVAL);
    accounts_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_is_added),
        cmocka_unit_test(test_taken_numbers_are_passed_over),
        cmocka_unit_test(test_existing_user_stays),
        cmocka_unit_test(test_empty_tree_gets_root_too),
        cmocka_unit_test(test_malformed_user_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
