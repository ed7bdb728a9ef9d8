/* What the headers of a request say about the call. */
#ifndef COMMON_RPC_METADATA_H
#define COMMON_RPC_METADATA_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/http/http.h"

/* The media type without parameters; empty when the parameters ask for another charset than
 * UTF-8. */
struct str metadata_media_type(struct str content_type);

/* "Connect-Timeout-Ms": at most ten digits. *ms stays 0 when it is absent or 0. */
int metadata_connect_timeout(const struct http_head *head, int64_t *ms, struct err *err);

/* "grpc-timeout": at most eight digits and a unit. Never 0 when it is there. */
int metadata_grpc_timeout(const struct http_head *head, int64_t *ms, struct err *err);

/* Refuse any encoding but identity, named in the header `name`. */
int metadata_encoding(const struct http_head *head, const char *name, struct err *err);

/* Append a message as grpc-message has it: what is not printable ASCII percent-encoded. */
bool metadata_grpc_escape(struct buf *out, struct str message);

#endif
