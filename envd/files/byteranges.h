/* A response of several ranges: multipart/byteranges (RFC 9110, 14.6). */
#ifndef ENVD_FILES_BYTERANGES_H
#define ENVD_FILES_BYTERANGES_H

#include "envd/files/conditions.h"

/*
 * Answer 206 with n ranges of the file `fd` (taken over) of `size` bytes; sets s->events and
 * s->user. `fields` are sent too; there is room in the array for one more field.
 */
void byteranges_send(struct http_stream *s, int fd, int64_t size, const char *content_type,
                     const struct range *ranges, size_t n, struct http_field *fields,
                     size_t nfields);

#endif
