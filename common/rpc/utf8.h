/* Whether text is UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing beyond U+10FFFF. */
#ifndef COMMON_RPC_UTF8_H
#define COMMON_RPC_UTF8_H

#include "common/base/str.h"

/* Length of the sequence of two to four bytes at p, of at most n > 0 bytes; 0 when it is none. */
size_t utf8_sequence(const unsigned char *p, size_t n);

bool utf8_valid(struct str text);

#endif
