#include "common/base/encode.h"

#ifdef __x86_64__
#include <tmmintrin.h>
#endif

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#ifdef __x86_64__
/*
 * 12 bytes become 16 characters at a time, as far as 16 can be read. Each lane of 32 bits gets
 * three bytes as b a c b; two multiplications move its four groups of six bits into bytes of their
 * own. What is to be added to a group to make it a character depends on its range only: the ranges
 * are told apart by a saturated subtraction, the addends come from a table of 16.
 */
__attribute__((target("ssse3"))) static size_t encode_fast(uint8_t *to, const uint8_t *p, size_t n)
{
    const __m128i spread = _mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10);
    const __m128i addends =
        _mm_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                      '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
    size_t done = 0;
    for (; done + 16 <= n; done += 12, to += 16) {
        __m128i in = _mm_shuffle_epi8(_mm_loadu_si128((const void *)(p + done)), spread);
        __m128i even = _mm_mulhi_epu16(_mm_and_si128(in, _mm_set1_epi32(0x0fc0fc00)),
                                       _mm_set1_epi32(0x04000040));
        __m128i odd = _mm_mullo_epi16(_mm_and_si128(in, _mm_set1_epi32(0x003f03f0)),
                                      _mm_set1_epi32(0x01000010));
        __m128i six = _mm_or_si128(even, odd);
        /* 0 for a to z, 1 to 12 for the digits and signs, 13 for A to Z */
        __m128i range = _mm_subs_epu8(six, _mm_set1_epi8(51));
        __m128i capital = _mm_cmpgt_epi8(_mm_set1_epi8(26), six);
        range = _mm_or_si128(range, _mm_and_si128(capital, _mm_set1_epi8(13)));
        _mm_storeu_si128((void *)to, _mm_add_epi8(six, _mm_shuffle_epi8(addends, range)));
    }
    return done;
}
#endif

bool base64_encode(struct buf *out, const void *data, size_t n, bool pad)
{
    const uint8_t *p = data;
    if (n > SIZE_MAX / 2)
        return false;
    uint8_t *to = buf_reserve(out, (n + 2) / 3 * 4);
    if (!to)
        return false;
    uint8_t *start = to;
#ifdef __x86_64__
    if (n >= 16 && __builtin_cpu_supports("ssse3")) {
        size_t done = encode_fast(to, p, n);
        to += done / 3 * 4;
        p += done;
        n -= done;
    }
#endif
    for (; n >= 3; p += 3, n -= 3) {
        uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
        *to++ = (uint8_t)alphabet[v >> 18];
        *to++ = (uint8_t)alphabet[v >> 12 & 63];
        *to++ = (uint8_t)alphabet[v >> 6 & 63];
        *to++ = (uint8_t)alphabet[v & 63];
    }
    if (n) {
        uint32_t v = (uint32_t)p[0] << 16 | (n == 2 ? (uint32_t)p[1] << 8 : 0);
        *to++ = (uint8_t)alphabet[v >> 18];
        *to++ = (uint8_t)alphabet[v >> 12 & 63];
        if (n == 2)
            *to++ = (uint8_t)alphabet[v >> 6 & 63];
        for (size_t i = n; pad && i < 3; i++)
            *to++ = '=';
    }
    buf_commit(out, (size_t)(to - start));
    return true;
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

ptrdiff_t base64_decode(struct str text, uint8_t *dst)
{
    size_t n = text.n;
    if (n && text.p[n - 1] == '=')
        n--;
    if (n && n < text.n && text.p[n - 1] == '=')
        n--;
    if (n < text.n && text.n % 4)
        return -1;
    if (n % 4 == 1)
        return -1;
    uint8_t *to = dst;
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++) {
        int s = sextet(text.p[i]);
        if (s < 0)
            return -1;
        v = v << 6 | (uint32_t)s;
        if (i % 4 == 3) {
            *to++ = (uint8_t)(v >> 16);
            *to++ = (uint8_t)(v >> 8);
            *to++ = (uint8_t)v;
            v = 0;
        }
    }
    if (n % 4 == 2) {
        *to++ = (uint8_t)(v >> 4);
    } else if (n % 4 == 3) {
        *to++ = (uint8_t)(v >> 10);
        *to++ = (uint8_t)(v >> 2);
    }
    return to - dst;
}

static const char hex_digits[] = "0123456789abcdef";

void hex_encode(const void *data, size_t n, char *out)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = hex_digits[p[i] >> 4];
        out[2 * i + 1] = hex_digits[p[i] & 15];
    }
    out[2 * n] = '\0';
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(struct str text, uint8_t *dst, size_t n)
{
    if (text.n != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int hi = hex_digit(text.p[2 * i]), lo = hex_digit(text.p[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        dst[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

bool percent_decode(struct buf *out, struct str s, bool plus_is_space)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int hi = s.n - i > 2 ? hex_digit(s.p[i + 1]) : -1;
            int lo = s.n - i > 2 ? hex_digit(s.p[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = (char)(hi << 4 | lo);
            i += 2;
        }
        if (!buf_putc(out, c))
            return false;
    }
    return true;
}

bool percent_encode(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '_' || c == '~' || c == '-';
        if (plain)
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
    return !out->failed;
}
