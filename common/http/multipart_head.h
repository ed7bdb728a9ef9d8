/* The texts around multipart bodies: Content-Type with its boundary, and the headers of a part. */
#ifndef COMMON_HTTP_MULTIPART_HEAD_H
#define COMMON_HTTP_MULTIPART_HEAD_H

#include "common/http/multipart.h"

/* The boundary of a Content-Type "multipart/...", plain or quoted. 0 or -EINVAL. */
int multipart_boundary(struct str content_type, char out[static MULTIPART_BOUNDARY_MAX + 1],
                       struct err *err);

/* Read the header lines text[0..n), each ended by CRLF (the blank line may be among them). Values
 * are decoded in place: the texts of *out point into `text`. 0 or -EPROTO. */
int multipart_parse_head(char *text, size_t n, struct multipart_part *out, struct err *err);

#endif
