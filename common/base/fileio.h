/* Small files, whole. */
#ifndef COMMON_BASE_FILEIO_H
#define COMMON_BASE_FILEIO_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <sys/types.h>

/* Append the whole file to *out; more than `max` bytes is an error (-EFBIG). Works on /proc and
 * /sys, whose files tell no size. Returns 0 or -errno. */
int file_read(const char *path, size_t max, struct buf *out, struct err *err);

/* Write all n bytes to fd, through short writes and EINTR. Returns 0 or -errno. */
int fd_write_all(int fd, const void *data, size_t n);

/* Replace `path` by a file of these bytes and this mode: written beside it, synced, renamed, the
 * directory synced, so that a crash leaves the old file or the new one. Returns 0 or -errno. */
int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct err *err);

/* The same without syncing: readers see the old file or the new one, a crash of the machine may
 * leave either or neither. For what is made anew at every start. */
int file_replace_unsynced(const char *path, const void *data, size_t n, mode_t mode,
                          struct err *err);

/* Remove a file or a whole directory tree without following symbolic links. A path that does not
 * exist is no error. Returns 0 or -errno. */
int file_remove_tree(const char *path, struct err *err);

/* mkdir -p with this mode for each directory that was missing. Returns 0 or -errno. */
int file_make_dirs(const char *path, mode_t mode, struct err *err);

#endif
