/* Conditional and range requests (RFC 9110, 13 and 14) for a file that has a modification time and
 * no entity tag. */
#ifndef ENVD_FILES_CONDITIONS_H
#define ENVD_FILES_CONDITIONS_H

#include "common/http/http.h"

#include <time.h>

#define RANGES_MAX 32 /* a request for more is answered with the whole file */

struct range {
    int64_t first;
    int64_t length; /* > 0 */
};

/* What the If-* fields demand for a file modified at mtime: 200, 304 or 412. */
int conditions_check(const struct http_head *head, time_t mtime);

/* Whether a Range field counts, as If-Range has it. */
bool conditions_range_applies(const struct http_head *head, time_t mtime);

/*
 * Parse a Range field for a file of `size` bytes. Returns the number of ranges; 0 when the field is
 * to be ignored; -1 when it is malformed or none of its ranges lies in the file (416).
 */
int conditions_parse_ranges(struct str field, int64_t size, struct range out[static RANGES_MAX]);

/* Whether the answer may be sent as it is, by Accept-Encoding (p NULL: no such field). */
bool conditions_accept_identity(struct str accept_encoding);

#endif
