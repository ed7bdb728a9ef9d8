/* A data directory of its own for each test. */
#ifndef TESTS_UNIT_ORCHESTRATOR_STORE_TEST_STORE_H
#define TESTS_UNIT_ORCHESTRATOR_STORE_TEST_STORE_H

#include "tests/support/test.h"

#include "common/base/fileio.h"
#include "orchestrator/store/db.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

struct place {
    char root[64];
    char dir[80]; /* the data directory, not made yet */
    struct db *db;
};

static inline int place_setup(void **state)
{
    struct place *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    snprintf(p->root, sizeof(p->root), "/tmp/test-store.XXXXXX");
    assert_non_null(mkdtemp(p->root));
    snprintf(p->dir, sizeof(p->dir), "%s/data", p->root);
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    struct place *p = *state;
    db_close(p->db);
    assert_int_equal(file_remove_tree(p->root, NULL), 0);
    free(p);
    return 0;
}

static inline struct db *place_open(struct place *p)
{
    struct err err;
    int rc = db_open(&p->db, p->dir, &err);
    if (rc)
        fail_msg("db_open: %s", err.msg);
    return p->db;
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)

#endif
