#include "envd/files/conditions.h"

#include "envd/files/http_date.h"

/* Without an entity tag of our own only "*" matches. */
static bool matches_any(struct str field)
{
    return str_eq(str_trim(field), STR("*"));
}

int conditions_check(const struct http_head *head, time_t mtime)
{
    struct str match = http_field_get(head, "if-match");
    struct str unmodified = http_field_get(head, "if-unmodified-since");
    struct str none_match = http_field_get(head, "if-none-match");
    struct str modified = http_field_get(head, "if-modified-since");
    time_t when;
    if (match.p) {
        if (!matches_any(match))
            return 412;
    } else if (unmodified.p && http_date_parse(unmodified, &when) && mtime > when) {
        return 412;
    }
    if (none_match.p)
        return matches_any(none_match) ? 304 : 200;
    if (modified.p && http_date_parse(modified, &when) && mtime <= when)
        return 304;
    return 200;
}

bool conditions_range_applies(const struct http_head *head, time_t mtime)
{
    struct str field = http_field_get(head, "if-range");
    time_t when;
    return !field.p || (http_date_parse(field, &when) && when == mtime);
}

/* One of "a-b", "a-", "-n". 1: *out is set; 0: it lies outside the file; -1: malformed. */
static int parse_one(struct str text, int64_t size, struct range *out)
{
    ptrdiff_t dash = str_find(text, '-');
    if (dash < 0)
        return -1;
    struct str first = str_trim((struct str){ text.p, (size_t)dash });
    struct str last = str_trim(str_from(text, (size_t)dash + 1));
    uint64_t a;
    uint64_t b = INT64_MAX;
    if (first.n == 0) {
        if (!str_to_u64(last, INT64_MAX, &b))
            return -1;
        int64_t n = (int64_t)b < size ? (int64_t)b : size;
        *out = (struct range){ size - n, n };
        return n > 0;
    }
    if (!str_to_u64(first, INT64_MAX, &a) || (last.n && !str_to_u64(last, INT64_MAX, &b)) || b < a)
        return -1;
    if ((int64_t)a >= size)
        return 0;
    int64_t end = (int64_t)b < size - 1 ? (int64_t)b : size - 1;
    *out = (struct range){ (int64_t)a, end - (int64_t)a + 1 };
    return 1;
}

int conditions_parse_ranges(struct str field, int64_t size, struct range out[static RANGES_MAX])
{
    struct str unit = STR("bytes=");
    struct str rest = str_trim(field);
    if (rest.n < unit.n || !str_eq_nocase((struct str){ rest.p, unit.n }, unit))
        return 0;
    rest = str_from(rest, unit.n);
    int n = 0;
    int64_t total = 0;
    bool has_any = false;
    while (rest.p) {
        struct str text = str_trim(str_split(&rest, ','));
        if (text.n == 0)
            continue;
        if (n == RANGES_MAX)
            return 0;
        int rc = parse_one(text, size, &out[n]);
        if (rc < 0)
            return -1;
        has_any = true;
        if (rc == 0)
            continue;
        /* Ranges that add up to more than the file are an attack or a mistake. */
        if (out[n].length > size - total)
            return 0;
        total += out[n++].length;
    }
    if (!has_any)
        return -1;
    if (n == 0 && size == 0)
        return 0;
    return n ? n : -1;
}

/* The quality of one element "coding;q=0.5" is zero. */
static bool is_refused(struct str params)
{
    while (params.p) {
        struct str param = str_trim(str_split(&params, ';'));
        if (param.n < 3 || (param.p[0] | 0x20) != 'q' || param.p[1] != '=')
            continue;
        for (size_t i = 2; i < param.n; i++)
            if (param.p[i] != '0' && param.p[i] != '.')
                return false;
        return true;
    }
    return false;
}

enum encoding conditions_encoding(struct str accept_encoding)
{
    enum { UNTOLD, REFUSED, ACCEPTED } gzip = UNTOLD, identity = UNTOLD, rest = UNTOLD;
    bool has_others = false;
    struct str left = accept_encoding;
    while (left.p) {
        struct str params = str_split(&left, ',');
        struct str coding = str_trim(str_split(&params, ';'));
        int told = is_refused(params) ? REFUSED : ACCEPTED;
        if (str_eq_nocase(coding, STR("gzip")) || str_eq_nocase(coding, STR("x-gzip")))
            gzip = told;
        else if (str_eq_nocase(coding, STR("identity")))
            identity = told;
        else if (str_eq(coding, STR("*")))
            rest = told;
        else if (coding.n && told == ACCEPTED)
            has_others = true;
    }
    bool takes_gzip = gzip == ACCEPTED || (gzip == UNTOLD && rest == ACCEPTED);
    bool takes_identity = identity == ACCEPTED || (identity == UNTOLD && rest != REFUSED);
    bool wants_gzip = gzip == ACCEPTED && !has_others && rest != ACCEPTED;
    if (takes_gzip && (wants_gzip || !takes_identity))
        return ENCODING_GZIP;
    return takes_identity ? ENCODING_IDENTITY : ENCODING_NONE;
}
