/* How a build enters the data directory: its files grow in <data_dir>/templates/.new.<build id>,
 * which gets its name when everything is in it, and the database tells of it last. */
#ifndef ORCHESTRATOR_IMAGE_PUBLICATION_H
#define ORCHESTRATOR_IMAGE_PUBLICATION_H

#include "orchestrator/image/image.h"

#include <stddef.h>

/* Free, for the files of one build. */
#define PUBLICATION_SPACE_MB 700

struct publication {
    const char *data_dir, *name;
    char new_dir[PATH_MAX]; /* where the files are put; empty: none */
    int lock;               /* held on new_dir while it grows, or -1 */
};

/* Whether the template's current build was made of inputs with this key; *out tells of it then. */
bool publication_is_current(const char *data_dir, const char *name, const char *key,
                            struct image_result *out);

/* Make the folder for the build out->build_id; out->dir is where it will be. What builders that
 * were killed left is removed. */
int publication_begin(struct publication *p, const char *data_dir, const char *name,
                      struct image_result *out, struct err *err);

/* Write the manifest and make the build the template's current one. On failure there is none. */
int publication_finish(struct publication *p, const struct image_manifest *m,
                       struct image_result *out, struct err *err);

/* Remove what is not finished. Harmless after publication_finish(). */
void publication_end(struct publication *p);

/* -ENOSPC with a sentence when the file system of `dir` has less free. */
int publication_check_space(const char *dir, unsigned need_mb, struct err *err);

#endif
