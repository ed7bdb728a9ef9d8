/* Content-Disposition of a download. */
#ifndef ENVD_FILES_DISPOSITION_H
#define ENVD_FILES_DISPOSITION_H

#include "common/base/arena.h"

/* "inline; filename=NAME" in the arena: a token as it is, other ASCII quoted, the rest by RFC 8187.
 * NULL when memory is out. */
char *disposition_inline(struct arena *arena, struct str name);

#endif
