/* An envd with one user, "tester", whose home is a temporary directory, and a request to it. */
#ifndef TESTS_FILES_FIXTURE_H
#define TESTS_FILES_FIXTURE_H

#include "common/http/router.h"
#include "envd/core/envd.h"
#include "tests/support/fake_stream.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#define TESTER_UID 12345
#define TESTER_GID 12346

struct fixture {
    struct tempdir dir; /* has "home" */
    struct envd envd;
    struct fake_stream f;
    struct http_request r;
    bool is_open; /* a request is there */
    size_t fds;   /* open at the start, and again in the end */
};

/* For cmocka: set up and tear down; *state is the fixture. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* A new request, ending the last one; fields by fake_stream_add(&x->f, ...). */
void fixture_request(struct fixture *x, const char *method, const char *target);

/* The response's body, terminated; malloc'ed. */
char *fixture_body(const struct fixture *x);

/* The response is an error with this status and exactly this message. */
void fixture_assert_error(const struct fixture *x, int status, const char *message);

/* The response's field, "" when there is none. */
const char *fixture_field(const struct fixture *x, const char *name);

#endif
