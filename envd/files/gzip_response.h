/* A file sent compressed. */
#ifndef ENVD_FILES_GZIP_RESPONSE_H
#define ENVD_FILES_GZIP_RESPONSE_H

#include "common/http/http.h"
#include "common/io/defer.h"

/*
 * Answer 200 with the first `size` bytes of the file `fd` (taken over) as gzip; sets s->events and
 * s->user. `fields` must name the encoding already. Bounded work per turn of the loop.
 */
void gzip_response_send(struct http_stream *s, struct defer_queue *defer, int fd, int64_t size,
                        struct http_field *fields, size_t nfields);

#endif
