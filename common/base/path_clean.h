/* Lexical cleaning of paths. */
#ifndef COMMON_BASE_PATH_CLEAN_H
#define COMMON_BASE_PATH_CLEAN_H

#include <stddef.h>

/* Resolve "." and ".." and doubled slashes of the absolute path in place, without looking at the
 * file system, and drop a trailing slash; ".." at the root is the root. Returns the new length, at
 * least 1; no terminator is written. n must be at least 1 and path[0] a slash. */
size_t path_clean(char *path, size_t n);

#endif
