/* Root file systems: made from Debian's packages or taken from an operator, then put into an ext4
 * image. */
#ifndef ORCHESTRATOR_IMAGE_ROOTFS_H
#define ORCHESTRATOR_IMAGE_ROOTFS_H

#include "orchestrator/image/apt.h"
#include "orchestrator/image/cache.h"

/* How child processes of this module are run. */
struct rootfs_run {
    const char *log;
    void (*tick)(void *user, const char *line);
    void *user;
};

/* What the Debian tree depends on beside Debian's archive. */
void rootfs_key(char out[static CACHE_KEY_SIZE]);

/* Make the Debian tree at `tree`, which does not exist yet. */
int rootfs_make_debian(const struct apt *a, const char *tree, struct err *err);

/* Copy a folder with everything in it to `tree`, which does not exist yet. */
int rootfs_copy(const struct rootfs_run *run, const char *from, const char *tree, struct err *err);

/* Unpack a tar archive (plain or packed) into `tree`, which does not exist yet. An archive with a
 * path out of it is refused. */
int rootfs_unpack(const struct rootfs_run *run, const char *archive, const char *tree,
                  struct err *err);

/* Make the sparse image: ext4 of `disk_mb`, filled with the tree. -ENOSPC when the tree does not
 * fit. */
int rootfs_make_ext4(const struct rootfs_run *run, const char *tree, const char *image,
                     uint64_t disk_mb, struct err *err);

#endif
