/* What Stat, MakeDir and Move do, apart from the RPC around them. Paths are resolved ones. */
#ifndef ENVD_FILESYSTEM_OPERATIONS_H
#define ENVD_FILESYSTEM_OPERATIONS_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "envd/core/user.h"
#include "filesystem.pb-c.h"

/* The entry at `path`, in the arena. ERR_NOT_FOUND, ERR_INVALID for a path that can be none. */
int operation_stat(struct arena *arena, const char *path, Filesystem__EntryInfo **out,
                   struct err *err);

/* Create a directory with its missing parents, owned by the user. ERR_EXISTS, ERR_INVALID when
 * something else is there. */
int operation_make_dir(const char *path, const struct user *user, struct err *err);

/* Rename, after creating the missing parents of `to`. ERR_NOT_FOUND when `from` does not exist. */
int operation_move(const char *from, const char *to, const struct user *user, struct err *err);

#endif
