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

enum encoding { ENCODING_NONE, ENCODING_IDENTITY, ENCODING_GZIP };

/*
 * How to send the answer, by Accept-Encoding (p NULL: no such field). Compressing costs more than
 * it gains for most clients, which list gzip by default among others: it is done for those that ask
 * for gzip alone or refuse anything else. ENCODING_NONE: nothing that the client accepts can be
 * sent.
 */
enum encoding conditions_encoding(struct str accept_encoding);

#endif
