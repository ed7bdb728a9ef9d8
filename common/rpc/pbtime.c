#include "common/rpc/pbtime.h"

#include <inttypes.h>
#include <stdio.h>

#define SECONDS_MIN  (-62135596800LL) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX  253402300799LL   /* 9999-12-31T23:59:59Z */
#define DURATION_MAX 315576000000LL   /* 10,000 years */
#define NANOS        1000000000

static char *put_digits(char *to, uint32_t value, int n)
{
    for (int i = n - 1; i >= 0; i--, value /= 10)
        to[i] = (char)('0' + value % 10);
    return to + n;
}

static char *put_fraction(char *to, uint32_t nanos)
{
    if (nanos == 0)
        return to;
    *to++ = '.';
    if (nanos % 1000000 == 0)
        return put_digits(to, nanos / 1000000, 3);
    if (nanos % 1000 == 0)
        return put_digits(to, nanos / 1000, 6);
    return put_digits(to, nanos, 9);
}

/*
 * A listing has one timestamp per entry, so this is written for speed: gmtime and printf cost as
 * much as the rest of the entry. The calendar is counted in eras of 400 years from 0000-03-01.
 */
size_t pbtime_timestamp(int64_t seconds, int32_t nanos, char out[static PBTIME_TEXT_MAX])
{
    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX || nanos < 0 || nanos >= NANOS)
        return 0;
    int64_t days = (seconds - SECONDS_MIN) / 86400;
    uint32_t second = (uint32_t)((seconds - SECONDS_MIN) % 86400);
    uint32_t since = (uint32_t)days + 306; /* days since 0000-03-01 */
    uint32_t era = since / 146097, in_era = since % 146097;
    uint32_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    uint32_t in_year = in_era - (365 * year + year / 4 - year / 100);
    uint32_t shifted = (5 * in_year + 2) / 153; /* months since March */
    uint32_t day = in_year - (153 * shifted + 2) / 5 + 1;
    uint32_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    year += era * 400 + (month <= 2);

    char *to = put_digits(out, year, 4);
    *to++ = '-';
    to = put_digits(to, month, 2);
    *to++ = '-';
    to = put_digits(to, day, 2);
    *to++ = 'T';
    to = put_digits(to, second / 3600, 2);
    *to++ = ':';
    to = put_digits(to, second / 60 % 60, 2);
    *to++ = ':';
    to = put_digits(to, second % 60, 2);
    to = put_fraction(to, (uint32_t)nanos);
    *to++ = 'Z';
    return (size_t)(to - out);
}

size_t pbtime_duration(int64_t seconds, int32_t nanos, char out[static PBTIME_TEXT_MAX])
{
    if (seconds < -DURATION_MAX || seconds > DURATION_MAX || nanos <= -NANOS || nanos >= NANOS ||
        (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0))
        return 0;
    bool negative = seconds < 0 || nanos < 0;
    char *to = out;
    to += snprintf(out, PBTIME_TEXT_MAX - 12, "%s%" PRId64, negative ? "-" : "",
                   negative ? -seconds : seconds);
    to = put_fraction(to, (uint32_t)(nanos < 0 ? -nanos : nanos));
    *to++ = 's';
    return (size_t)(to - out);
}

bool pbtime_parse_duration(struct str text, int64_t *seconds, int32_t *nanos)
{
    bool negative = text.n && text.p[0] == '-';
    struct str s = str_from(text, negative);
    if (s.n < 2 || s.p[s.n - 1] != 's')
        return false;
    s.n--;
    ptrdiff_t dot = str_find(s, '.');
    struct str whole = dot < 0 ? s : (struct str){ s.p, (size_t)dot };
    uint64_t v = 0, fraction = 0;
    if (!str_to_u64(whole, DURATION_MAX, &v))
        return false;
    if (dot >= 0) {
        struct str digits = str_from(s, (size_t)dot + 1);
        if (digits.n > 9 || !str_to_u64(digits, NANOS - 1, &fraction))
            return false;
        for (size_t i = digits.n; i < 9; i++)
            fraction *= 10;
    }
    *seconds = negative ? -(int64_t)v : (int64_t)v;
    *nanos = negative ? -(int32_t)fraction : (int32_t)fraction;
    return true;
}
