#include "common/base/fileio.h"
#include "envd/guest/hosts.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

static void expect(const char *path, const char *text)
{
    struct buf b = { 0 };
    assert_int_equal(file_read(path, HOSTS_MAX, &b, NULL), 0);
    assert_str(buf_str(&b), text);
    buf_deinit(&b);
}

static void name_is_added_and_replaced(void **state)
{
    (void)state;
    char dir[] = "/tmp/sandpit-hosts-XXXXXX", path[64];
    struct err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/hosts", dir);

    assert_int_equal(hosts_set_self(path, "one", &err), 0);
    expect(path, "127.0.1.1 one\n");

    const char *given = "127.0.0.1 localhost\n# a comment\n\n127.0.1.10 other\n::1 localhost";
    assert_int_equal(file_replace(path, given, strlen(given), 0644, &err), 0);
    assert_int_equal(hosts_set_self(path, "two", &err), 0);
    assert_int_equal(hosts_set_self(path, "three", &err), 0);
    expect(path, "127.0.0.1 localhost\n# a comment\n\n127.0.1.10 other\n::1 localhost\n"
                 "127.0.1.1 three\n");

    /* A shorter name leaves nothing of the longer one. */
    assert_int_equal(hosts_set_self(path, "4", &err), 0);
    expect(path,
           "127.0.0.1 localhost\n# a comment\n\n127.0.1.10 other\n::1 localhost\n127.0.1.1 4\n");
    assert_int_equal(file_remove_tree(dir, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(name_is_added_and_replaced) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
