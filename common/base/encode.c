#include "common/base/encode.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool base64_encode(struct buf *out, const void *data, size_t n, bool pad)
{
    const uint8_t *p = data;
    if (n > SIZE_MAX / 2)
        return false;
    uint8_t *to = buf_reserve(out, (n + 2) / 3 * 4);
    if (!to)
        return false;
    uint8_t *start = to;
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

static int nibble(char c)
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
        int hi = nibble(text.p[2 * i]), lo = nibble(text.p[2 * i + 1]);
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
            int hi = s.n - i > 2 ? nibble(s.p[i + 1]) : -1;
            int lo = s.n - i > 2 ? nibble(s.p[i + 2]) : -1;
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
