/* The initramfs: a cpio archive ("newc") of envd as /init, the modules and their list. */
#ifndef ORCHESTRATOR_IMAGE_INITRAMFS_H
#define ORCHESTRATOR_IMAGE_INITRAMFS_H

#include "common/base/err.h"
#include "common/base/str.h"

/* Write the archive at `path`. `modules_dir` holds the modules and modules.list, one file name a
 * line in the order of loading. The same inputs give the same bytes. 0 or -errno. */
int initramfs_write(const char *path, struct str envd, const char *modules_dir, struct err *err);

#endif
