/* EntryInfo: what clients are told about one file, directory or link. */
#ifndef ENVD_FILESYSTEM_ENTRY_H
#define ENVD_FILESYSTEM_ENTRY_H

#include "common/base/arena.h"
#include "envd/core/user.h"
#include "filesystem.pb-c.h"

#include <sys/stat.h>

/* The mode as Go prints an fs.FileMode: "-rw-r--r--", "dtrwxrwxrwx", "Lrwxrwxrwx". */
#define ENTRY_PERMISSIONS_MAX 16
void entry_permissions(mode_t mode, char out[static ENTRY_PERMISSIONS_MAX]);

#define ENTRY_NAMES_MAX 8
struct entry_name {
    bool used;
    uint32_t id;
    char *name;
};

/* Reads entries into an arena (borrowed), which then owns all texts. Names of users and groups are
 * looked up once per reader: a reader is for one request. */
struct entry_reader {
    struct arena *arena;
    struct entry_name owners[ENTRY_NAMES_MAX], groups[ENTRY_NAMES_MAX];
    mode_t mode; /* of `permissions`, which entries share */
    char *permissions;
};

static inline void entry_reader_init(struct entry_reader *r, struct arena *arena)
{
    *r = (struct entry_reader){ .arena = arena };
}

/* Describe what is at `path` (a link is not followed). The text must live as long as the arena: it
 * becomes the entry's path, its last part the name. 0 or -errno. */
int entry_read(struct entry_reader *r, char *path, Filesystem__EntryInfo **out);

/* The same for `name` in the current directory, whose path is `path`: the kernel then needs not
 * walk along the whole path twice for each entry of a directory. */
int entry_read_here(struct entry_reader *r, const char *name, char *path,
                    Filesystem__EntryInfo **out);

/* Whether the entry is a directory itself, no link to one. */
static inline bool entry_is_real_dir(const Filesystem__EntryInfo *e)
{
    return e->type == FILESYSTEM__FILE_TYPE__FILE_TYPE_DIRECTORY &&
           e->_symlink_target_case == FILESYSTEM__ENTRY_INFO___SYMLINK_TARGET__NOT_SET;
}

#endif
