/* How the file routes answer errors. */
#ifndef ENVD_FILES_ANSWER_H
#define ENVD_FILES_ANSWER_H

#include "common/base/err.h"
#include "common/http/http.h"

/* {"code":status,"message":"..."}, with the fields that every error of envd has. */
void answer_error(struct http_stream *s, int status, const char *message);

/* The same with one field more. */
void answer_error_field(struct http_stream *s, int status, const char *message,
                        const struct http_field *field);

/* The status for an error: 507 for a full disk or quota (rc is -ENOSPC or -EDQUOT), else by code.
 */
int answer_status(int rc, const struct err *err);

#endif
