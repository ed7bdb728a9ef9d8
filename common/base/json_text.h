/* Writing JSON text. */
#ifndef COMMON_BASE_JSON_TEXT_H
#define COMMON_BASE_JSON_TEXT_H

#include "common/base/buf.h"

/* Append s as a quoted JSON string. Bytes that are no valid UTF-8 become U+FFFD. */
bool json_text_quote(struct buf *b, struct str s);

#endif
