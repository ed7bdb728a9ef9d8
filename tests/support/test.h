/* cmocka with the headers it wants before it. */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Equal as text. */
#define assert_str(s, literal)                                                                     \
    do {                                                                                           \
        struct str got_ = (s);                                                                     \
        assert_int_equal(got_.n, strlen(literal));                                                 \
        assert_memory_equal(got_.p, literal, got_.n);                                              \
    } while (0)

/* Of a test that arms fault points, before it does: it is skipped where they are compiled out. */
#ifdef SANDPIT_FAULT_POINTS
#define NEED_FAULT_POINTS() (void)0
#else
#define NEED_FAULT_POINTS() skip()
#endif

#endif
