/* Metadata of a file: extended attributes user.e2b.*, shown to clients without that prefix. */
#ifndef ENVD_FILESYSTEM_METADATA_H
#define ENVD_FILESYSTEM_METADATA_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "filesystem.pb-c.h"

#define METADATA_PREFIX    "user.e2b."
#define METADATA_KEY_MAX   246
#define METADATA_TOTAL_MAX 4096 /* of prefix, key and value of all entries */

struct metadata {
    struct str key, value;
};

/* Add the metadata of the file or directory at `path` (not followed) to *entry, in the arena.
 * Attributes that cannot be read are left out. */
void metadata_read(struct arena *arena, const char *path, Filesystem__EntryInfo *entry);

/* Make these n entries the open file's metadata, removing all earlier ones. File systems without
 * extended attributes are skipped in silence. 0 or -errno. */
int metadata_replace(int fd, const struct metadata *entries, size_t n);

#endif
