/*
 * A JSON reader (RFC 8259) that hands out one token after the other and builds nothing: the caller
 * decides what is kept. Strict: the whole text must be UTF-8, escapes complete, no trailing comma.
 */
#ifndef COMMON_RPC_JSON_SCAN_H
#define COMMON_RPC_JSON_SCAN_H

#include "common/base/str.h"

enum json_kind {
    JSON_KIND_NONE, /* no value begins here */
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_BOOL,
    JSON_KIND_NULL,
};

struct json_scan {
    const char *start, *p, *end;
    const char *error; /* what was wrong, once something was; the scan stands where */
    int depth, depth_max;
};

/* A string's inside, still escaped, checked to be well-formed. */
struct json_raw {
    struct str text;
    bool escaped;
};

void json_scan_init(struct json_scan *s, struct str text, int depth_max);

static inline size_t json_scan_offset(const struct json_scan *s)
{
    return (size_t)(s->p - s->start);
}

/* Note what is wrong, unless something was before; returns false. */
bool json_scan_fail(struct json_scan *s, const char *what);

/* What kind of value comes next. */
enum json_kind json_scan_peek(struct json_scan *s);

/* Each takes one value of that kind off; false with s->error set when it is malformed. */
bool json_scan_string(struct json_scan *s, struct json_raw *out);
bool json_scan_number(struct json_scan *s, struct str *out);
bool json_scan_bool(struct json_scan *s, bool *out);
bool json_scan_null(struct json_scan *s);

/*
 * Objects and arrays: open, then next until it returns false, taking one value after each true.
 * Then s->error tells the end from a failure. `first` starts as true.
 */
bool json_scan_open(struct json_scan *s, char bracket);
bool json_scan_next_key(struct json_scan *s, bool *first, struct json_raw *key);
bool json_scan_next_item(struct json_scan *s, bool *first);

/* Check and drop one value of any kind. */
bool json_scan_skip(struct json_scan *s);

/* true when nothing but white space is left. */
bool json_scan_end(struct json_scan *s);

/* Write a string's real bytes to dst, which holds at least raw.text.n; returns how many. They may
 * include NUL. */
size_t json_unescape(struct json_raw raw, char *dst);

#endif
