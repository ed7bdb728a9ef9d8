/* The opaque tokens that name where a page of a list begins. For this folder only. */
#ifndef ORCHESTRATOR_API_PAGE_TOKEN_H
#define ORCHESTRATOR_API_PAGE_TOKEN_H

#include "common/base/str.h"

#include <stdint.h>

#define PAGE_TOKEN_MAX       512 /* of a token */
#define PAGE_TOKEN_PLAIN_MAX 400 /* of the text in it */

/* The token of a text; malloc'ed, NULL when memory is out. */
char *page_token_encode(struct str text);

/* The text of a token, in `out`; false when it is none. */
bool page_token_decode(const char *token, char out[static PAGE_TOKEN_PLAIN_MAX], struct str *text);

/* Cut the part before "__" off *rest. */
struct str page_token_split(struct str *rest);

/* An RFC 3339 time in nanoseconds since 1970, clamped to what 64 bits hold. */
bool page_token_time(struct str text, int64_t *out);

#endif
