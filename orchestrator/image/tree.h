/* A guest's root file system as a folder of the host. Whoever made it may have put symbolic links
 * anywhere: every path is resolved as the guest would, never out of the folder. */
#ifndef ORCHESTRATOR_IMAGE_TREE_H
#define ORCHESTRATOR_IMAGE_TREE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <sys/types.h>

#define TREE_FILE_MAX (64U << 20)

struct tree {
    int fd;
};

struct tree_owner {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

int tree_open(struct tree *t, const char *path, struct err *err);
void tree_close(struct tree *t);

/* Whether the path leads to something, links followed. */
bool tree_exists(const struct tree *t, const char *path);

/* Owner and mode of what the path leads to, or `otherwise` when there is nothing. */
struct tree_owner tree_owner_of(const struct tree *t, const char *path,
                                struct tree_owner otherwise);

/* Append a file's contents. -ENOENT when there is none. */
int tree_read(const struct tree *t, const char *path, struct buf *out, struct err *err);

/* Put a file there, in place of what bears the name (a link is replaced, not followed). The folder
 * must exist. */
int tree_write(const struct tree *t, const char *path, struct str data, struct tree_owner owner,
               struct err *err);

/* Make a folder unless there is one, which is left as it is; its parent must exist. *made tells
 * which (may be NULL). */
int tree_make_dir(const struct tree *t, const char *path, struct tree_owner owner, bool *made,
                  struct err *err);

int tree_set_mode(const struct tree *t, const char *path, mode_t mode, struct err *err);

/* Copy each plain file of the folder `from` to the folder `to`, with owner and mode of `owner`.
 * Nothing happens when there is no `from`; files that are in `to` stay. */
int tree_copy_files(const struct tree *t, const char *from, const char *to, struct tree_owner owner,
                    struct err *err);

#endif
