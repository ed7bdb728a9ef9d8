/* The writable disk of one VM: an empty qcow2 overlay on a template's root file system. */
#ifndef ORCHESTRATOR_VMM_QEMU_DISK_H
#define ORCHESTRATOR_VMM_QEMU_DISK_H

#include "common/base/err.h"

#include <stdint.h>
#include <sys/types.h>

#define DISK_MAX_MB 4194304 /* 4 TiB: what one cluster of level 1 table can map */

/*
 * Write a new overlay of `size_mb` virtual MiB at `path`, mode 0600, owned by `uid` ((uid_t)-1: the
 * caller), on the raw image `backing`. Written by hand, since starting qemu-img costs more than
 * starting a VM should: the file is a header and three tables. Returns a descriptor opened for
 * reading and writing, or -errno with *err set and no file left.
 */
int disk_create(const char *path, const char *backing, uint64_t size_mb, uid_t uid,
                struct err *err);

#endif
