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

/* Whether messages are compressed, by the header `name`: no such header and identity are no, gzip
 * is yes, all else is refused (ERR_UNIMPLEMENTED). */
int metadata_encoding(const struct http_head *head, const char *name, bool *gzip, struct err *err);
int metadata_encoding_name(struct str value, bool *gzip, struct err *err);

/* Whether gzip is in the list that the headers `name` make up, and not with q=0. */
bool metadata_accepts_gzip(const struct http_head *head, const char *name);

/* Append a message as grpc-message has it: what is not printable ASCII percent-encoded. */
bool metadata_grpc_escape(struct buf *out, struct str message);

#endif
