/* The files of a VM's disk: qcow2 overlays, the first of them on a root file system. */
#ifndef ORCHESTRATOR_VMM_QEMU_DISK_H
#define ORCHESTRATOR_VMM_QEMU_DISK_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DISK_MAX_MB 4194304 /* 4 TiB: what one cluster of level 1 table can map */

/* What a new overlay stands on. The name is for whoever looks at the file; QEMU is told by other
 * means. */
struct disk_backing {
    const char *path;
    bool qcow2; /* or raw */
};

/*
 * Write a new overlay of `size_mb` virtual MiB at `path`, mode 0600, owned by `uid` ((uid_t)-1: the
 * caller). Written by hand, since starting qemu-img costs more than starting a VM should: the file
 * is a header and three tables. Returns a descriptor opened for reading and writing, or -errno with
 * *err set and no file left.
 */
int disk_create(const char *path, const struct disk_backing *backing, uint64_t size_mb, uid_t uid,
                struct err *err);

/* Make an overlay that was just created last, with its name. 0 or -errno with *err set. */
int disk_sync_new(int fd, const char *path, struct err *err);

/* Whether the overlay at `path` is one of which a power cut left nothing but its name: nobody had
 * anything written out to it. An empty one can take its place. */
bool disk_is_blank(const char *path);

/* Open an overlay that is there for reading and writing and give it to `uid`. -errno with *err set.
 */
int disk_open(const char *path, uid_t uid, struct err *err);

/* Another descriptor of the same file, opened anew with `flags`, whose offset is its own. -errno.
 */
int disk_reopen(int fd, int flags);

#endif
