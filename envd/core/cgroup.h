/* cgroup v2 groups that keep user processes from starving envd. */
#ifndef ENVD_CORE_CGROUP_H
#define ENVD_CORE_CGROUP_H

#include "envd/core/envd.h"

/* Make the groups `user` and `ptys` below root and open their directories in e. Where that cannot
 * be done both stay -1, with one line in the log. */
void cgroup_setup(struct envd *e, const char *root);

#endif
