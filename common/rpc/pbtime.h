/* google.protobuf.Timestamp and Duration as text. */
#ifndef COMMON_RPC_PBTIME_H
#define COMMON_RPC_PBTIME_H

#include "common/base/str.h"

#define PBTIME_TEXT_MAX 40

/* RFC 3339 in UTC with 0, 3, 6 or 9 digits of fraction; returns the length, 0 when the time is
 * outside the years 1 to 9999. */
size_t pbtime_timestamp(int64_t seconds, int32_t nanos, char out[static PBTIME_TEXT_MAX]);

/* "1.500s"; returns the length, 0 when it is longer than 10,000 years or the signs differ. */
size_t pbtime_duration(int64_t seconds, int32_t nanos, char out[static PBTIME_TEXT_MAX]);

bool pbtime_parse_duration(struct str text, int64_t *seconds, int32_t *nanos);

#endif
