/* A borrowed piece of text or bytes: pointer and length, not terminated. */
#ifndef COMMON_BASE_STR_H
#define COMMON_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal)                                                                               \
    (struct str)                                                                                   \
    {                                                                                              \
        .p = (literal), .n = sizeof(literal) - 1                                                   \
    }

/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *text)
{
    return (struct str){ .p = text, .n = text ? strlen(text) : 0 };
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Equal when ASCII letters are compared without case. */
bool str_eq_nocase(struct str a, struct str b);

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

/* The part of s from offset `from` on, empty when there is none. */
static inline struct str str_from(struct str s, size_t from)
{
    return from >= s.n ? (struct str){ s.p + s.n, 0 } : (struct str){ s.p + from, s.n - from };
}

/* s without leading and trailing spaces and tabs. */
struct str str_trim(struct str s);

/* Cut the part before the first `sep` off *rest and return it; all of *rest when there is no sep
 * (then *rest becomes {NULL, 0}). Loop while rest.p is not NULL. */
struct str str_split(struct str *rest, char sep);

/* Offset of the first c in s, or -1. */
ptrdiff_t str_find(struct str s, char c);

/* Parse decimal digits only (no sign, no space), at most `max`. false when it is anything else. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out);

/* A malloc'ed, terminated copy; NULL when memory is out. */
char *str_dup(struct str s);

/* Copy into dst of `size` bytes, terminated; false (and dst empty) when it does not fit or has a
 * NUL inside. */
bool str_copy(struct str s, char *dst, size_t size);

/* true when both are equal; takes the same time wherever they differ. For secrets. */
bool str_eq_secret(struct str a, struct str b);

#endif
