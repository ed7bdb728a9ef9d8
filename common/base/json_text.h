/* Writing JSON text. */
#ifndef COMMON_BASE_JSON_TEXT_H
#define COMMON_BASE_JSON_TEXT_H

#include "common/base/buf.h"

/* Append s as a quoted JSON string. Bytes that are no valid UTF-8 become U+FFFD. */
bool json_text_quote(struct buf *b, struct str s);

/* Length of the valid UTF-8 sequence at the front of p[0..n), n > 0; 0 when there is none. */
size_t json_text_utf8_len(const unsigned char *p, size_t n);

#endif
