/* Who may use the file routes, as whom, on which path. */
#ifndef ENVD_FILES_ACCESS_H
#define ENVD_FILES_ACCESS_H

#include "common/http/router.h"
#include "envd/core/envd.h"

struct access {
    struct user user;
    const char *path; /* of the query, as given; NULL when there was none */
};

/*
 * Check the token or the signature, then find the user. operation is "read" or "write". 0, or
 * -errno with *status the HTTP status to answer.
 */
int access_check(struct http_request *r, const char *operation, struct access *out, int *status,
                 struct err *err);

#endif
