/* Base64, hexadecimal, percent encoding. */
#ifndef COMMON_BASE_ENCODE_H
#define COMMON_BASE_ENCODE_H

#include "common/base/buf.h"

/* Append the standard-alphabet base64 of n bytes, padded with '=' or not. */
bool base64_encode(struct buf *out, const void *data, size_t n, bool pad);

/* Decode standard or URL-safe base64, padded or not, into dst, which must hold (text.n / 4 + 1) * 3
 * bytes. Returns the number of bytes, or -1 when text is no base64. */
ptrdiff_t base64_decode(struct str text, uint8_t *dst);

/* Lower-case hex of n bytes into out, which holds 2 * n + 1 bytes. */
void hex_encode(const void *data, size_t n, char *out);

/* The value of a hex digit, -1 of anything else. */
int hex_digit(char c);

/* Decode exactly n bytes from 2 * n hex digits; false when text is anything else. */
bool hex_decode(struct str text, uint8_t *dst, size_t n);

/* Append s with %XX escapes decoded; with plus_is_space also '+' as a space (form encoding).
 * false when an escape is malformed. */
bool percent_decode(struct buf *out, struct str s, bool plus_is_space);

/* Append s with everything but [A-Za-z0-9._~-] escaped. */
bool percent_encode(struct buf *out, struct str s);

#endif
