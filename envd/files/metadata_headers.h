/* Metadata of an upload: request fields X-Metadata-KEY: VALUE. */
#ifndef ENVD_FILES_METADATA_HEADERS_H
#define ENVD_FILES_METADATA_HEADERS_H

#include "common/http/http.h"
#include "envd/filesystem/metadata.h"

/* Collect them into the arena, in the order of the fields; of a repeated key the first one counts.
 * 0, or ERR_INVALID for what the contract forbids. */
int metadata_headers(const struct http_head *head, struct arena *arena, struct metadata **out,
                     size_t *n, struct err *err);

#endif
