/* Time: monotonic for deadlines, wall clock for people, RFC 3339 between the two. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include "common/base/str.h"

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t clock_mono_ns(void);

/* Nanoseconds since 1970 (UTC). */
int64_t clock_wall_ns(void);

static inline int64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

/* "2026-01-02T03:04:05.123456789Z": 0, 3, 6 or 9 digits of fraction, as proto3 JSON has it. Times
 * outside the years 1 to 9999 are clamped. */
#define CLOCK_TEXT_MAX 40
void clock_rfc3339(int64_t wall_ns, char out[static CLOCK_TEXT_MAX]);

/* The same from seconds and nanoseconds (0..999999999), for times outside int64 nanoseconds. */
void clock_rfc3339_parts(int64_t seconds, uint32_t nanos, char out[static CLOCK_TEXT_MAX]);

/* Parse RFC 3339 (any offset, 0 to 9 digits of fraction). false when it is no such text. */
bool clock_parse_rfc3339(struct str text, int64_t *seconds, uint32_t *nanos);

#endif
