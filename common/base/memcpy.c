/*
 * memcpy() in place of musl's, whose one string instruction costs as much for 20 bytes as for 500:
 * nearly all copies here are small pieces of messages. Large ones keep the string instruction. Only
 * in the static envd; glibc has better. memmove() must be here too: musl's is one with its
 * memcpy().
 */
#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STRING_MIN 512

/* n bytes as two of that size, which may overlap. */
#define COPY_ENDS(type, to, from, n)                                                               \
    do {                                                                                           \
        type first, last;                                                                          \
        __builtin_memcpy(&first, (from), sizeof(type));                                            \
        __builtin_memcpy(&last, (from) + (n) - sizeof(type), sizeof(type));                        \
        __builtin_memcpy((to), &first, sizeof(type));                                              \
        __builtin_memcpy((to) + (n) - sizeof(type), &last, sizeof(type));                          \
    } while (0)

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *
memcpy(void *restrict dst, const void *restrict src, size_t n)
{
    uint8_t *to = dst;
    const uint8_t *from = src;
    if (n <= 16) {
        if (n >= 8)
            COPY_ENDS(uint64_t, to, from, n);
        else if (n >= 4)
            COPY_ENDS(uint32_t, to, from, n);
        else if (n >= 2)
            COPY_ENDS(uint16_t, to, from, n);
        else if (n)
            *to = *from;
        return dst;
    }
    if (n >= STRING_MIN) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
        return dst;
    }
    __m128i last = _mm_loadu_si128((const void *)(from + n - 16));
    uint8_t *end = to + n - 16;
    for (; to < end; to += 16, from += 16)
        _mm_storeu_si128((void *)to, _mm_loadu_si128((const void *)from));
    _mm_storeu_si128((void *)end, last);
    return dst;
}

/* Each piece is read before anything is written that may lie behind it in the order of copying. */
__attribute__((optimize("no-tree-loop-distribute-patterns"))) void *
memmove(void *dst, const void *src, size_t n)
{
    uint8_t *to = dst;
    const uint8_t *from = src;
    if ((uintptr_t)to - (uintptr_t)from >= n && (uintptr_t)from - (uintptr_t)to >= n)
        return memcpy(dst, src, n);
    if ((uintptr_t)to < (uintptr_t)from) {
        for (; n >= 16; n -= 16, to += 16, from += 16)
            _mm_storeu_si128((void *)to, _mm_loadu_si128((const void *)from));
        for (; n; n--)
            *to++ = *from++;
        return dst;
    }
    for (; n >= 16; n -= 16)
        _mm_storeu_si128((void *)(to + n - 16), _mm_loadu_si128((const void *)(from + n - 16)));
    while (n--)
        to[n] = from[n];
    return dst;
}
