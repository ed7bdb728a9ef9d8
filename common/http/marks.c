#include "common/http/marks.h"

#include <stdlib.h>
#include <string.h>

void http_marks_deinit(struct http_marks *m)
{
    free(m->items);
    *m = (struct http_marks){ 0 };
}

/* Keep every second one, the last among them. */
static void thin(struct http_marks *m)
{
    size_t kept = 0;
    for (size_t i = 1; i < m->n; i += 2)
        m->items[kept++] = m->items[i];
    m->n = kept;
}

static bool grow(struct http_marks *m)
{
    size_t room = m->room ? m->room * 2 : HTTP_MARKS_MIN;
    struct http_mark *items =
        room <= HTTP_MARKS_MAX ? realloc(m->items, room * sizeof(*items)) : NULL;
    if (!items)
        return false;
    m->items = items;
    m->room = room;
    return true;
}

void http_marks_add(struct http_marks *m, uint64_t at, uint64_t value)
{
    if (m->n == m->room && !grow(m)) {
        if (m->n == 0)
            return;
        thin(m);
    }
    m->items[m->n++] = (struct http_mark){ at, value };
}

/* How many marks are at or before `at`. */
static size_t count_until(const struct http_marks *m, uint64_t at)
{
    size_t i = 0;
    while (i < m->n && m->items[i].at <= at)
        i++;
    return i;
}

/* The first i marks are summed up by the last one of them. */
static void drop(struct http_marks *m, size_t i)
{
    if (i == 0)
        return;
    m->base = m->items[i - 1];
    m->n -= i;
    memmove(m->items, m->items + i, m->n * sizeof(*m->items));
}

void http_marks_forget(struct http_marks *m, uint64_t at)
{
    drop(m, count_until(m, at));
}

void http_marks_forget_values(struct http_marks *m, uint64_t value)
{
    size_t i = 0;
    while (i < m->n && m->items[i].value <= value)
        i++;
    drop(m, i);
}

uint64_t http_marks_find(const struct http_marks *m, uint64_t at)
{
    size_t i = count_until(m, at);
    return i > 0 ? m->items[i - 1].value : m->base.value;
}

uint64_t http_marks_between(const struct http_marks *m, uint64_t at)
{
    size_t i = count_until(m, at);
    uint64_t low = i > 0 ? m->items[i - 1].value : m->base.value;
    if (i == m->n)
        return low;
    uint64_t missing = m->items[i].at - at;
    uint64_t high = m->items[i].value;
    return missing < high && high - missing > low ? high - missing : low;
}
