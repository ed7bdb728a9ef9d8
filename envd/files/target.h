/*
 * The file that an upload is written to. The bytes go to a file without a name (or, where the file
 * system has no such files, with a temporary one) in the directory of the target, which then takes
 * the target's place: whoever reads the target sees the old contents or the new ones.
 */
#ifndef ENVD_FILES_TARGET_H
#define ENVD_FILES_TARGET_H

#include "common/base/err.h"
#include "envd/core/user.h"
#include "envd/filesystem/metadata.h"

struct target {
    int fd;
    bool is_nameless; /* fd has no name yet */
    bool in_place;    /* the target itself is written: it cannot be replaced (a file of /proc) */
    bool exists;
    mode_t mode;
    char path[PATH_MAX]; /* links resolved */
    char temp[PATH_MAX]; /* the temporary name; empty when there is none */
};

/*
 * Open for the file `path`, whose missing parents are created for the user. A link is followed to
 * the file it names. 0 or -errno: ERR_INVALID for a directory, for anything but a regular file and
 * below a file; ERR_EXHAUSTED with -ENOSPC or -EDQUOT when the disk is full; ERR_INTERNAL.
 */
int target_open(struct target *t, const char *path, const struct user *user, struct err *err);

/* Write through short writes. 0 or -errno as above. */
int target_write(struct target *t, const void *data, size_t n, struct err *err);

/* Give the file to the user, set its metadata and put it in place. The target is closed either way;
 * after a failure the file is as it was before. 0 or -errno. */
int target_commit(struct target *t, const struct user *user, const struct metadata *metadata,
                  size_t nmetadata, struct err *err);

/* Close; what was written is gone. */
void target_abandon(struct target *t);

#endif
