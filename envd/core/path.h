/* Path rules of the public API. There is no jail, by design: envd acts as root for its clients. */
#ifndef ENVD_CORE_PATH_H
#define ENVD_CORE_PATH_H

#include "common/base/err.h"
#include "envd/core/user.h"

/*
 * Empty -> default_workdir, or home when that is empty. "~" or "~/x" -> home of the user; "~other"
 * -> ERR_INVALID. Absolute -> as is. Relative -> below the user's home, then cleaned (what is
 * joined is cleaned, what is absolute is not). A NUL inside or a path over
 * PATH_MAX is ERR_INVALID. `out` holds PATH_MAX bytes.
 */
int path_resolve(const struct user *user, struct str path, const char *default_workdir, char *out,
                 struct err *err);

/* Create the missing directories of `path` (all of it), 0755, owned by the user where created. */
int path_make_dirs(const char *path, const struct user *user, struct err *err);

/* The same for the parents of `path` only. */
int path_make_parents(const char *path, const struct user *user, struct err *err);

#endif
