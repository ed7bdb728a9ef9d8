/* UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef COMMON_BASE_UTF8_H
#define COMMON_BASE_UTF8_H

#include "common/base/str.h"

/* Length of the character at p, of at most n > 0 bytes; 0 when there is none. */
size_t utf8_length(const unsigned char *p, size_t n);

bool utf8_valid(struct str text);

/* Bytes that are none become '?'. */
void utf8_make_valid(char *text);

#endif
