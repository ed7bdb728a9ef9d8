/* Dates of HTTP heads (RFC 9110, 5.6.7). */
#ifndef ENVD_FILES_HTTP_DATE_H
#define ENVD_FILES_HTTP_DATE_H

#include "common/base/str.h"

#include <time.h>

#define HTTP_DATE_MAX 40

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
void http_date_format(time_t when, char out[static HTTP_DATE_MAX]);

/* Parse that form or one of the two obsolete ones. false when it is none of them. */
bool http_date_parse(struct str text, time_t *out);

#endif
