#include "common/rpc/json_number.h"
#include "common/rpc/json_scan.h"

#include <math.h>
#include <stdlib.h>

#define EXPONENT_MAX 100000000L /* longer than any text; more is cut to it */
#define TEXT_MAX     512

static bool is_number(struct str text)
{
    struct json_scan scan;
    struct str whole;
    json_scan_init(&scan, text, 0);
    return json_scan_number(&scan, &whole) && whole.n == text.n;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static long read_exponent(struct str s)
{
    long v = 0;
    for (size_t i = 0; i < s.n; i++)
        if (is_digit(s.p[i]) && v < EXPONENT_MAX)
            v = v * 10 + (s.p[i] - '0');
    return s.n && s.p[0] == '-' ? -v : v;
}

/* The digits of the mantissa are D, without trailing zeros, and the number is D * 10^exponent.
 * false when D or the number is more than max, or the exponent negative. */
static bool magnitude(struct str text, uint64_t max, uint64_t *out)
{
    size_t end = 0, last = 0; /* end of the mantissa; behind its last digit that is not 0 */
    long exponent = 0;
    bool fraction = false;
    while (end < text.n && (is_digit(text.p[end]) || text.p[end] == '.')) {
        if (text.p[end] == '.')
            fraction = true;
        else if (text.p[end] != '0')
            last = end + 1;
        exponent -= fraction && text.p[end] != '.';
        end++;
    }
    for (size_t i = last; i < end; i++)
        exponent += text.p[i] != '.';
    if (end < text.n)
        exponent += read_exponent(str_from(text, end + 1));

    *out = 0;
    for (size_t i = 0; i < last; i++) {
        if (text.p[i] == '.')
            continue;
        uint64_t digit = (uint64_t)(text.p[i] - '0');
        if (*out > max / 10 || *out * 10 > max - digit)
            return false;
        *out = *out * 10 + digit;
    }
    if (*out == 0)
        return true;
    for (; exponent > 0; exponent--) {
        if (*out > max / 10)
            return false;
        *out *= 10;
    }
    return exponent == 0;
}

bool json_number_u64(struct str text, uint64_t max, uint64_t *out)
{
    if (text.n && is_digit(text.p[0]) && (text.p[0] != '0' || text.n == 1) &&
        str_to_u64(text, max, out))
        return true;
    if (!is_number(text))
        return false;
    bool negative = text.p[0] == '-';
    return magnitude(str_from(text, negative), max, out) && (!negative || *out == 0);
}

bool json_number_i64(struct str text, int64_t min, int64_t max, int64_t *out)
{
    bool negative = text.n && text.p[0] == '-';
    uint64_t limit = negative ? 0 - (uint64_t)min : (uint64_t)max, v;
    if (!is_number(text) || !magnitude(str_from(text, negative), limit, &v))
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool json_number_double(struct str text, double *out)
{
    char copy[TEXT_MAX];
    if (!is_number(text) || !str_copy(text, copy, sizeof(copy)))
        return false;
    *out = strtod(copy, NULL);
    return isfinite(*out);
}
