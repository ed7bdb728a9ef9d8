/* The guest's own name in its hosts file: sudo and many programs look it up. */
#ifndef ENVD_GUEST_HOSTS_H
#define ENVD_GUEST_HOSTS_H

#include "common/base/err.h"

/* A hosts file larger than this is left alone. */
#define HOSTS_MAX 1048576

/* Make `name` resolve to 127.0.1.1 in the hosts file `path`, in place of the name that an earlier
 * call gave it; all other lines stay. 0 or -errno. */
int hosts_set_self(const char *path, const char *name, struct err *err);

#endif
