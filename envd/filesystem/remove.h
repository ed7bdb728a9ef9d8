/* Removing a tree, as rm -rf does. */
#ifndef ENVD_FILESYSTEM_REMOVE_H
#define ENVD_FILESYSTEM_REMOVE_H

#include "common/base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

/*
 * Remove what is at `path` if it is a file or an empty directory. 0: it is gone (or never was
 * there); 1: it is a directory for remove_tree(); else -errno. ERR_INVALID for the root directory
 * and for a path that ends in "." or "..".
 */
int remove_file(const char *path, struct err *err);

/*
 * Remove a directory with everything in it, or a file. Links are not followed; what vanishes
 * meanwhile is no error. Needs two descriptors whatever the depth. May run on any thread; ends with
 * ERR_CANCELED soon after *stop was set. 0 or -errno.
 */
int remove_tree(const char *path, const atomic_bool *stop, struct err *err);

#endif
