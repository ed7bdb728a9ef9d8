#include "common/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define NS_PER_S    1000000000LL
#define SECONDS_MIN (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX 253402300799LL   /* 9999-12-31T23:59:59Z */

static int64_t now_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_mono_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

int64_t clock_wall_ns(void)
{
    return now_ns(CLOCK_REALTIME);
}

void clock_rfc3339(int64_t wall_ns, char out[static CLOCK_TEXT_MAX])
{
    int64_t s = wall_ns / NS_PER_S, ns = wall_ns % NS_PER_S;
    if (ns < 0) {
        ns += NS_PER_S;
        s--;
    }
    clock_rfc3339_parts(s, (uint32_t)ns, out);
}

void clock_rfc3339_parts(int64_t seconds, uint32_t nanos, char out[static CLOCK_TEXT_MAX])
{
    if (seconds < SECONDS_MIN)
        seconds = SECONDS_MIN;
    if (seconds > SECONDS_MAX)
        seconds = SECONDS_MAX;
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    char fraction[16] = "";
    if (nanos % 1000000 == 0 && nanos)
        snprintf(fraction, sizeof(fraction), ".%03" PRIu32, nanos / 1000000);
    else if (nanos % 1000 == 0 && nanos)
        snprintf(fraction, sizeof(fraction), ".%06" PRIu32, nanos / 1000);
    else if (nanos)
        snprintf(fraction, sizeof(fraction), ".%09" PRIu32, nanos % 1000000000U);
    snprintf(out, CLOCK_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u%sZ",
             (unsigned)(tm.tm_year + 1900) % 10000U, (unsigned)(tm.tm_mon + 1) % 100U,
             (unsigned)tm.tm_mday % 100U, (unsigned)tm.tm_hour % 100U, (unsigned)tm.tm_min % 100U,
             (unsigned)tm.tm_sec % 100U, fraction);
}

static bool digits(struct str *s, size_t n, int *out)
{
    uint64_t v;
    if (s->n < n || !str_to_u64((struct str){ s->p, n }, 9999, &v))
        return false;
    *s = str_from(*s, n);
    *out = (int)v;
    return true;
}

static bool skip(struct str *s, const char *any)
{
    if (s->n == 0 || !strchr(any, s->p[0]) || s->p[0] == '\0')
        return false;
    *s = str_from(*s, 1);
    return true;
}

static bool parse_fraction(struct str *s, uint32_t *nanos)
{
    uint32_t v = 0, scale = 100000000;
    size_t n = 0;
    while (s->n && s->p[0] >= '0' && s->p[0] <= '9') {
        if (++n > 9)
            return false;
        v += (uint32_t)(s->p[0] - '0') * scale;
        scale /= 10;
        *s = str_from(*s, 1);
    }
    *nanos = v;
    return n > 0;
}

static bool parse_offset(struct str *s, int64_t *seconds)
{
    *seconds = 0;
    if (skip(s, "Zz"))
        return s->n == 0;
    int64_t sign = s->n && s->p[0] == '-' ? -1 : 1;
    int h, m;
    if (!skip(s, "+-") || !digits(s, 2, &h) || !skip(s, ":") || !digits(s, 2, &m) || h > 23 ||
        m > 59)
        return false;
    *seconds = sign * (h * 3600 + m * 60);
    return s->n == 0;
}

bool clock_parse_rfc3339(struct str text, int64_t *seconds, uint32_t *nanos)
{
    struct str s = text;
    struct tm tm = { 0 };
    int64_t offset;
    *nanos = 0;
    if (!digits(&s, 4, &tm.tm_year) || !skip(&s, "-") || !digits(&s, 2, &tm.tm_mon) ||
        !skip(&s, "-") || !digits(&s, 2, &tm.tm_mday) || !skip(&s, "Tt ") ||
        !digits(&s, 2, &tm.tm_hour) || !skip(&s, ":") || !digits(&s, 2, &tm.tm_min) ||
        !skip(&s, ":") || !digits(&s, 2, &tm.tm_sec))
        return false;
    if (skip(&s, ".") && !parse_fraction(&s, nanos))
        return false;
    if (!parse_offset(&s, &offset))
        return false;
    if (tm.tm_year < 1 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    struct tm asked = tm;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    time_t t = timegm(&tm);
    if (tm.tm_mday != asked.tm_mday) /* the 31st of a month that has none */
        return false;
    *seconds = (int64_t)t - offset;
    return *seconds >= SECONDS_MIN && *seconds <= SECONDS_MAX;
}
