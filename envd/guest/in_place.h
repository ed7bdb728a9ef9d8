/* Small files of the guest's own, written over. */
#ifndef ENVD_GUEST_IN_PLACE_H
#define ENVD_GUEST_IN_PLACE_H

#include "common/base/err.h"
#include "common/base/str.h"

#include <sys/types.h>

/*
 * Make `path` hold this text, in the file that is there, or in a new one of this mode. Not for what
 * must survive a crash, nor for long texts: a reader may see the old end behind a new beginning.
 *
 * A file that replaces another by a rename is written to the disk at once by ext4, and a restored
 * guest waits for that while it gets its identity; this costs a page of its cache. 0 or -errno.
 */
int write_in_place(const char *path, struct str text, mode_t mode, struct err *err);

#endif
