#include "orchestrator/api/page_token.h"

#include "common/base/clock.h"
#include "common/base/encode.h"

char *page_token_encode(struct str text)
{
    struct buf out = { 0 };
    base64_encode(&out, text.p, text.n, false);
    char *token = buf_take_text(&out);
    buf_deinit(&out);
    for (char *p = token; p && *p; p++)
        *p = *p == '+' ? '-' : (*p == '/' ? '_' : *p);
    return token;
}

bool page_token_decode(const char *token, char out[static PAGE_TOKEN_PLAIN_MAX], struct str *text)
{
    _Static_assert((PAGE_TOKEN_MAX / 4 + 1) * 3 <= PAGE_TOKEN_PLAIN_MAX,
                   "a token fits when decoded");
    struct str encoded = str_of(token);
    ptrdiff_t n = encoded.n <= PAGE_TOKEN_MAX ? base64_decode(encoded, (uint8_t *)out) : -1;
    if (n <= 0)
        return false;
    *text = (struct str){ out, (size_t)n };
    return true;
}

struct str page_token_split(struct str *rest)
{
    for (size_t i = 0; i + 1 < rest->n; i++) {
        if (rest->p[i] != '_' || rest->p[i + 1] != '_')
            continue;
        struct str part = { rest->p, i };
        *rest = str_from(*rest, i + 2);
        return part;
    }
    struct str all = *rest;
    *rest = STR("");
    return all;
}

bool page_token_time(struct str text, int64_t *out)
{
    int64_t seconds;
    uint32_t nanos;
    if (!clock_parse_rfc3339(text, &seconds, &nanos))
        return false;
    if (__builtin_mul_overflow(seconds, INT64_C(1000000000), out) ||
        __builtin_add_overflow(*out, (int64_t)nanos, out))
        *out = seconds < 0 ? INT64_MIN : INT64_MAX;
    return true;
}
