#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "envd/core/user.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>

#include <time.h>

static char dir[] = "/tmp/sandpit-user-XXXXXX";
static char passwd[64], group[64];

static void put(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, text, strlen(text), 0644, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(passwd, sizeof(passwd), "%s/passwd", dir);
    snprintf(group, sizeof(group), "%s/group", dir);
    put(passwd, "root:x:0:0:root:/root:/bin/bash\n"
                "broken line\n"
                "bad:x:notanumber:0::/:/bin/sh\n"
                "us:x:999:999::/us:/bin/sh\n"
                "user:x:1000:1000::/home/user:/bin/bash\n"
                "last:x:1001:1001::/home/last:");
    put(group, "root:x:0:\nuser:x:1000:\nsudo:x:27:other,user\nusers:x:100:username,user2\n"
               "docker:x:101:user");
    user_set_files(passwd, group);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(dir, NULL);
}

static void finds_a_user_with_groups(void **state)
{
    (void)state;
    struct user u;
    assert_int_equal(user_find(STR("user"), &u, NULL), 0);
    assert_int_equal(u.uid, 1000);
    assert_string_equal(u.home, "/home/user");
    assert_int_equal(u.ngroups, 3);
    assert_int_equal(u.groups[0], 1000);
    assert_int_equal(u.groups[1], 27);
    assert_int_equal(u.groups[2], 101);
    assert_int_equal(user_find(STR("last"), &u, NULL), 0);
    assert_string_equal(u.shell, "");
}

static void refuses_unknown_and_broken(void **state)
{
    (void)state;
    struct user u;
    struct err err;
    const char *names[] = { "nobody", "", "bad", "broken line", "use", "root:x" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(user_find(str_of(names[i]), &u, &err), -ENOENT);
    assert_string_equal(err.msg, "user 'root:x' does not exist");
}

static void names_of_ids(void **state)
{
    (void)state;
    char name[USER_NAME_MAX + 1];
    user_name_of(1000, name);
    assert_string_equal(name, "user");
    user_name_of(4242, name);
    assert_string_equal(name, "4242");
    group_name_of(27, name);
    assert_string_equal(name, "sudo");
}

static void a_changed_file_is_read_again(void **state)
{
    (void)state;
    struct user u;
    char name[USER_NAME_MAX + 1];
    user_name_of(5000, name);
    assert_string_equal(name, "5000");
    put(passwd, "fresh:x:5000:5000::/f:/bin/sh\n");
    assert_int_equal(user_find(STR("fresh"), &u, NULL), 0);
    user_name_of(5000, name);
    assert_string_equal(name, "fresh");

    /* Names that are only shown may be old for a moment. */
    put(passwd, "newest:x:5000:5000::/f:/bin/sh\n");
    time_t end = time(NULL) + 10;
    do
        user_name_of(5000, name);
    while (strcmp(name, "newest") != 0 && time(NULL) < end);
    assert_string_equal(name, "newest");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_a_user_with_groups),
        cmocka_unit_test(refuses_unknown_and_broken),
        cmocka_unit_test(names_of_ids),
        cmocka_unit_test(a_changed_file_is_read_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
