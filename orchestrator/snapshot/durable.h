/* Getting files onto the disk. */
#ifndef ORCHESTRATOR_SNAPSHOT_DURABLE_H
#define ORCHESTRATOR_SNAPSHOT_DURABLE_H

#include <stddef.h>

/* fsync the files of a directory, and the directory, all at once: a disk that must write its cache
 * out for each does so once for those that wait together. 0 or -errno of the first failure. */
int durable_files(int dirfd, const char *const *names, size_t n);

/* fsync the directory that holds `path`. */
int durable_parent(const char *path);

#endif
