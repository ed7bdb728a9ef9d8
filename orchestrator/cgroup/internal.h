/* What the files of this folder share. */
#ifndef ORCHESTRATOR_CGROUP_INTERNAL_H
#define ORCHESTRATOR_CGROUP_INTERNAL_H

#include "common/base/str.h"
#include "orchestrator/cgroup/cgroup.h"

/* As the kernel calls it: "memory", "pids", "cpu". */
const char *limit_name(enum cgroup_limit limit);

/* Write the limit into the files of the group `dir`. 0 or -errno. */
int limit_set(enum cgroup_version version, const char *dir, enum cgroup_limit limit,
              const struct cgroup_limits *limits);

/* Write a text to the file that is there, in one go. 0 or -errno. */
int group_write(const char *dir, const char *file, const char *text);

/* The directory of a group in the hierarchy of that limit. */
void group_path(const struct cgroups *c, enum cgroup_limit limit, const char *name,
                char out[static PATH_MAX]);

/* Whether `limit` is usable and no lower one has the same directory: the loop over all that are is
 * one over directories. */
bool limit_has_own_dir(const struct cgroups *c, enum cgroup_limit limit);

/* Where a hierarchy is mounted: of version 2, or of version 1 with that controller. The text of
 * /proc/self/mountinfo is `mounts`. false when there is none. */
bool mount_find_v2(struct str mounts, char *out, size_t n);
bool mount_find_v1(struct str mounts, const char *controller, char *out, size_t n);

#endif
