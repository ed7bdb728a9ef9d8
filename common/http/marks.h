/* Which value belongs to which position of a byte stream that is on its way: what had been sent of
 * A when B had come so far. A bounded number of marks; where there are more, neighbours are joined,
 * and what is found is less than what would be true, never more. */
#ifndef COMMON_HTTP_MARKS_H
#define COMMON_HTTP_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_MARKS_MIN 64
#define HTTP_MARKS_MAX 4096

struct http_mark {
    uint64_t at, value;
};

/* All zero is empty: value 0 from position 0 on. */
struct http_marks {
    struct http_mark base;   /* what was forgotten, or the beginning */
    struct http_mark *items; /* NULL while there are none */
    size_t n, room;
};

void http_marks_deinit(struct http_marks *m);

/* The next mark needs memory, unless older ones are forgotten. */
static inline bool http_marks_full(const struct http_marks *m)
{
    return m->n == m->room && m->n > 0;
}

/* From position `at` on it is `value`; both only grow. Without memory the mark is left out. */
void http_marks_add(struct http_marks *m, uint64_t at, uint64_t value);

/* Positions below `at` will not be asked for any more. */
void http_marks_forget(struct http_marks *m, uint64_t at);

/* Values up to this one need not be told apart any more. */
void http_marks_forget_values(struct http_marks *m, uint64_t value);

/* The value of the last mark at or before `at`. */
uint64_t http_marks_find(const struct http_marks *m, uint64_t at);

/* The same for values that grow with the positions, byte by byte up to each mark. */
uint64_t http_marks_between(const struct http_marks *m, uint64_t at);

#endif
