#include "common/rpc/json_scan.h"

#include "common/base/utf8.h"

void json_scan_init(struct json_scan *s, struct str text, int depth_max)
{
    const char *p = text.p ? text.p : "";
    *s = (struct json_scan){ .start = p, .p = p, .end = p + text.n, .depth_max = depth_max };
}

bool json_scan_fail(struct json_scan *s, const char *what)
{
    if (!s->error)
        s->error = what;
    return false;
}

static void skip_space(struct json_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

enum json_kind json_scan_peek(struct json_scan *s)
{
    skip_space(s);
    if (s->p == s->end)
        return JSON_KIND_NONE;
    switch (*s->p) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
        return JSON_KIND_BOOL;
    case 'n':
        return JSON_KIND_NULL;
    default:
        return *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? JSON_KIND_NUMBER : JSON_KIND_NONE;
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four hex digits at p, or -1. */
static int32_t hex4(const char *p, size_t n)
{
    int32_t v = 0;
    if (n < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* The code point of the \u escape (or pair of them) at p; *used bytes long. -1: malformed. */
static int32_t unicode_escape(const char *p, size_t n, size_t *used)
{
    int32_t high = n >= 2 ? hex4(p + 2, n - 2) : -1;
    *used = 6;
    if (high < 0xD800 || high > 0xDFFF)
        return high;
    if (high > 0xDBFF || n < 12 || p[6] != '\\' || p[7] != 'u')
        return -1;
    int32_t low = hex4(p + 8, n - 8);
    if (low < 0xDC00 || low > 0xDFFF)
        return -1;
    *used = 12;
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
}

/* Step over the escape at s->p. */
static bool take_escape(struct json_scan *s)
{
    size_t left = (size_t)(s->end - s->p), used;
    if (left < 2)
        return json_scan_fail(s, "unexpected end of input");
    if (s->p[1] == 'u') {
        if (unicode_escape(s->p, left, &used) < 0)
            return json_scan_fail(s, "malformed \\u escape");
        s->p += used;
        return true;
    }
    if (s->p[1] == '\0' || !strchr("\"\\/bfnrt", s->p[1]))
        return json_scan_fail(s, "unknown escape");
    s->p += 2;
    return true;
}

bool json_scan_string(struct json_scan *s, struct json_raw *out)
{
    if (json_scan_peek(s) != JSON_KIND_STRING)
        return json_scan_fail(s, "expected a string");
    const char *begin = ++s->p;
    out->escaped = false;
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p;
        if (c == '"') {
            out->text = (struct str){ begin, (size_t)(s->p - begin) };
            s->p++;
            return true;
        }
        if (c == '\\') {
            out->escaped = true;
            if (!take_escape(s))
                return false;
        } else if (c < 0x20) {
            return json_scan_fail(s, "control character in a string");
        } else if (c < 0x80) {
            s->p++;
        } else {
            size_t n = utf8_length((const unsigned char *)s->p, (size_t)(s->end - s->p));
            if (n == 0)
                return json_scan_fail(s, "invalid UTF-8");
            s->p += n;
        }
    }
    return json_scan_fail(s, "unexpected end of input");
}

static size_t take_digits(struct json_scan *s)
{
    const char *begin = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - begin);
}

bool json_scan_number(struct json_scan *s, struct str *out)
{
    if (json_scan_peek(s) != JSON_KIND_NUMBER)
        return json_scan_fail(s, "expected a number");
    const char *begin = s->p;
    if (*s->p == '-')
        s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    size_t digits = take_digits(s);
    if (digits == 0 || (zero && digits > 1))
        return json_scan_fail(s, "malformed number");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (take_digits(s) == 0)
            return json_scan_fail(s, "malformed number");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (take_digits(s) == 0)
            return json_scan_fail(s, "malformed number");
    }
    *out = (struct str){ begin, (size_t)(s->p - begin) };
    return true;
}

static bool take_word(struct json_scan *s, struct str word)
{
    struct str rest = { s->p, (size_t)(s->end - s->p) };
    if (!str_starts(rest, word))
        return json_scan_fail(s, "unexpected character");
    s->p += word.n;
    return true;
}

bool json_scan_bool(struct json_scan *s, bool *out)
{
    if (json_scan_peek(s) != JSON_KIND_BOOL)
        return json_scan_fail(s, "expected true or false");
    *out = *s->p == 't';
    return take_word(s, *out ? STR("true") : STR("false"));
}

bool json_scan_null(struct json_scan *s)
{
    if (json_scan_peek(s) != JSON_KIND_NULL)
        return json_scan_fail(s, "expected null");
    return take_word(s, STR("null"));
}

bool json_scan_open(struct json_scan *s, char bracket)
{
    skip_space(s);
    if (s->p == s->end || *s->p != bracket)
        return json_scan_fail(s, bracket == '{' ? "expected an object" : "expected an array");
    if (s->depth == s->depth_max)
        return json_scan_fail(s, "nested too deeply");
    s->depth++;
    s->p++;
    return true;
}

/* Take the closing bracket (then false) or the comma in front of what follows. */
static bool next(struct json_scan *s, bool *first, char bracket)
{
    skip_space(s);
    if (s->p < s->end && *s->p == bracket) {
        s->p++;
        s->depth--;
        return false;
    }
    if (!*first) {
        if (s->p == s->end || *s->p != ',')
            return json_scan_fail(s,
                                  s->p == s->end ? "unexpected end of input" : "expected a comma");
        s->p++;
    }
    *first = false;
    return true;
}

bool json_scan_next_key(struct json_scan *s, bool *first, struct json_raw *key)
{
    if (s->error || !next(s, first, '}') || !json_scan_string(s, key))
        return false;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return json_scan_fail(s, "expected a colon");
    s->p++;
    return true;
}

bool json_scan_next_item(struct json_scan *s, bool *first)
{
    return !s->error && next(s, first, ']');
}

bool json_scan_skip(struct json_scan *s)
{
    struct json_raw raw;
    struct str number;
    bool truth, first = true;
    switch (json_scan_peek(s)) {
    case JSON_KIND_OBJECT:
        if (!json_scan_open(s, '{'))
            return false;
        while (json_scan_next_key(s, &first, &raw))
            json_scan_skip(s);
        return !s->error;
    case JSON_KIND_ARRAY:
        if (!json_scan_open(s, '['))
            return false;
        while (json_scan_next_item(s, &first))
            json_scan_skip(s);
        return !s->error;
    case JSON_KIND_STRING:
        return json_scan_string(s, &raw);
    case JSON_KIND_NUMBER:
        return json_scan_number(s, &number);
    case JSON_KIND_BOOL:
        return json_scan_bool(s, &truth);
    case JSON_KIND_NULL:
        return json_scan_null(s);
    case JSON_KIND_NONE:
    default:
        return json_scan_fail(s, s->p == s->end ? "unexpected end of input" : "expected a value");
    }
}

bool json_scan_end(struct json_scan *s)
{
    skip_space(s);
    return s->p == s->end || json_scan_fail(s, "more text behind the value");
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *to++ = (char)(0xE0 | c >> 12);
        } else {
            *to++ = (char)(0xF0 | c >> 18);
            *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        }
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
    }
    *to++ = (char)(0x80 | (c & 0x3F));
    return to;
}

size_t json_unescape(struct json_raw raw, char *dst)
{
    const char *p = raw.text.p, *end = p + raw.text.n;
    char *to = dst;
    if (!raw.escaped) {
        if (raw.text.n)
            memcpy(dst, raw.text.p, raw.text.n);
        return raw.text.n;
    }
    while (p < end) {
        static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
        if (*p != '\\') {
            *to++ = *p++;
        } else if (p[1] == 'u') {
            size_t used;
            to = put_utf8(to, (uint32_t)unicode_escape(p, (size_t)(end - p), &used));
            p += used;
        } else {
            *to++ = meant[strchr(names, p[1]) - names];
            p += 2;
        }
    }
    return (size_t)(to - dst);
}
