#include "envd/filesystem/text.h"

#include "common/base/utf8.h"

/* Length of the sequence at s[i..], 0 when it is not valid or a NUL. */
static size_t sequence(struct str s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s.p + i;
    return *p ? utf8_length(p, s.n - i) : 0;
}

bool text_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n;) {
        if ((signed char)s.p[i] > 0) { /* ASCII */
            i++;
            continue;
        }
        size_t n = sequence(s, i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

char *text_valid(struct arena *arena, struct str s)
{
    if (text_is_valid(s))
        return arena_dup(arena, s);
    char *out = arena_alloc(arena, 3 * s.n + 1);
    if (!out)
        return NULL;
    size_t at = 0;
    for (size_t i = 0; i < s.n;) {
        size_t n = sequence(s, i);
        memcpy(out + at, n ? s.p + i : "\xEF\xBF\xBD", n ? n : 3);
        at += n ? n : 3;
        i += n ? n : 1;
    }
    out[at] = '\0';
    return out;
}
