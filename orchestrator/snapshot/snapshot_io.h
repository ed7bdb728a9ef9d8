/* Reading and writing the files of a snapshot. */
#ifndef ORCHESTRATOR_SNAPSHOT_SNAPSHOT_IO_H
#define ORCHESTRATOR_SNAPSHOT_SNAPSHOT_IO_H

#include "common/base/err.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* Beside a snapshot's directory: one being made, one being removed. */
#define SNAPSHOT_SUFFIX_NEW  ".new"
#define SNAPSHOT_SUFFIX_GONE ".gone"

/* dir and a suffix. */
int snapshot_path(char out[static PATH_MAX], const char *dir, const char *suffix, struct err *err);

/* All n bytes at an offset, through short transfers and EINTR. 0 or -errno; a file that ends before
 * is -ENODATA. */
int snapshot_pwrite(int fd, const void *data, size_t n, uint64_t at);
int snapshot_pread(int fd, void *to, size_t n, uint64_t at);

/* Tell that `name` could not be written: ERR_EXHAUSTED when the disk is full. Returns -errnum. */
int snapshot_write_failed(struct err *err, int errnum, const char *name);

#endif
