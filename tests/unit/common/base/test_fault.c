#include "tests/support/test.h"

#include "common/base/fault.h"
#include "tests/support/tempdir.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#ifdef SANDPIT_FAULT_POINTS

static int setup(void **state)
{
    static struct tempdir dir;
    tempdir_init(&dir);
    *state = &dir;
    setenv("SANDPIT_FAULTS_FILE", tempdir_path(&dir, "faults"), 1);
    return 0;
}

static int teardown(void **state)
{
    unsetenv("SANDPIT_FAULTS_FILE");
    unsetenv("SANDPIT_FAULTS");
    tempdir_deinit(*state);
    return 0;
}

static void test_a_point_is_due_when_it_is_listed(void **state)
{
    assert_false(fault_due("a.b"));
    tempdir_write(*state, "faults", "a.c, a.b\n");
    assert_true(fault_due("a.b"));
    tempdir_write(*state, "faults", "a.bc,a\n");
    assert_false(fault_due("a.b"));
    setenv("SANDPIT_FAULTS", "a.b", 1);
    assert_true(fault_due("a.b"));
}

static void test_one_pass_alone_may_be_due(void **state)
{
    tempdir_write(*state, "faults", "n.th:2");
    assert_false(fault_due("n.th"));
    assert_true(fault_due("n.th"));
    assert_false(fault_due("n.th"));
}

static atomic_int passed;

static void *pass(void *unused)
{
    (void)unused;
    passed = fault_due("held") ? -1 : 1;
    return NULL;
}

static void test_a_point_holds_until_it_is_let_go(void **state)
{
    pthread_t thread;
    tempdir_write(*state, "faults", "other, held@\n");
    assert_int_equal(pthread_create(&thread, NULL, pass, NULL), 0);
    assert_false(fault_due("free"));
    assert_int_equal(passed, 0);
    tempdir_write(*state, "faults", "other\n");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(passed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_point_is_due_when_it_is_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_pass_alone_may_be_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_point_holds_until_it_is_let_go, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 77;
}

#endif
