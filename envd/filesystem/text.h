/* Texts of the file system as texts of the API, which must be UTF-8. */
#ifndef ENVD_FILESYSTEM_TEXT_H
#define ENVD_FILESYSTEM_TEXT_H

#include "common/base/arena.h"

/* Whether s is valid UTF-8 without NUL. */
bool text_is_valid(struct str s);

/* A terminated copy of s in the arena, in which U+FFFD stands for each byte that is no UTF-8 and
 * for each NUL. NULL when memory is out. */
char *text_valid(struct arena *arena, struct str s);

#endif
