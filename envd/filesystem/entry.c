#include "envd/filesystem/entry.h"

#include "envd/filesystem/metadata.h"
#include "envd/filesystem/text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* What a Timestamp can tell: the years 1 to 9999. Some file systems keep any time. */
#define SECONDS_MIN (-62135596800LL)
#define SECONDS_MAX 253402300799LL

void entry_permissions(mode_t mode, char out[static ENTRY_PERMISSIONS_MAX])
{
    size_t n = 0;
    if (S_ISDIR(mode))
        out[n++] = 'd';
    else if (S_ISLNK(mode))
        out[n++] = 'L';
    else if (S_ISBLK(mode) || S_ISCHR(mode))
        out[n++] = 'D';
    else if (S_ISFIFO(mode))
        out[n++] = 'p';
    else if (S_ISSOCK(mode))
        out[n++] = 'S';
    if (mode & S_ISUID)
        out[n++] = 'u';
    if (mode & S_ISGID)
        out[n++] = 'g';
    if (S_ISCHR(mode))
        out[n++] = 'c';
    if (mode & S_ISVTX)
        out[n++] = 't';
    if (n == 0)
        out[n++] = '-';
    for (int bit = 8; bit >= 0; bit--)
        out[n++] = mode & (1U << bit) ? "xwr"[bit % 3] : '-';
    out[n] = '\0';
}

/* Names are kept by id, so that a listing does not ask for the same few again and again. */
static char *name_of(struct entry_reader *r, struct entry_name *names, uint32_t id,
                     void (*find)(uint32_t id, char *out))
{
    struct entry_name *slot = &names[id % ENTRY_NAMES_MAX];
    if (!slot->used || slot->id != id) {
        char name[USER_NAME_MAX + 1];
        find(id, name);
        char *copy = text_valid(r->arena, str_of(name));
        if (!copy)
            return NULL;
        *slot = (struct entry_name){ true, id, copy };
    }
    return slot->name;
}

static char *permissions_of(struct entry_reader *r, mode_t mode)
{
    if (!r->permissions || r->mode != mode) {
        char text[ENTRY_PERMISSIONS_MAX];
        entry_permissions(mode, text);
        r->permissions = arena_dup(r->arena, str_of(text));
        r->mode = mode;
    }
    return r->permissions;
}

static Filesystem__FileType type_of(mode_t mode)
{
    if (S_ISREG(mode))
        return FILESYSTEM__FILE_TYPE__FILE_TYPE_FILE;
    if (S_ISDIR(mode))
        return FILESYSTEM__FILE_TYPE__FILE_TYPE_DIRECTORY;
    return FILESYSTEM__FILE_TYPE__FILE_TYPE_UNSPECIFIED;
}

/* The last part of a path, as Go's filepath.Base has it: slashes at the end do not count. */
static char *base_name(struct arena *arena, char *path)
{
    struct str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '/')
        from--;
    if (s.n == strlen(path) && from < s.n)
        return path + from;
    return arena_dup(arena, from < s.n ? str_from(s, from) : s);
}

/* A link shows the type and the permissions of what it leads to in the end. */
static int describe_link(struct arena *arena, const char *path, Filesystem__EntryInfo *e)
{
    char resolved[PATH_MAX];
    struct stat st;
    e->_symlink_target_case = FILESYSTEM__ENTRY_INFO___SYMLINK_TARGET_SYMLINK_TARGET;
    e->symlink_target = e->path;
    e->type = FILESYSTEM__FILE_TYPE__FILE_TYPE_UNSPECIFIED;
    e->mode = 0;
    if (!realpath(path, resolved) || stat(resolved, &st) < 0)
        return 0;
    e->symlink_target = text_valid(arena, str_of(resolved));
    e->type = type_of(st.st_mode);
    e->mode = st.st_mode & 0777;
    return e->symlink_target ? 0 : -ENOMEM;
}

/* One file with a strange time must not make the listing of its directory fail. */
static int64_t told_seconds(int64_t seconds)
{
    if (seconds < SECONDS_MIN)
        return SECONDS_MIN;
    return seconds < SECONDS_MAX ? seconds : SECONDS_MAX;
}

int entry_read(struct entry_reader *r, char *path, Filesystem__EntryInfo **out)
{
    return entry_read_here(r, path, path, out);
}

int entry_read_here(struct entry_reader *r, const char *name, char *path,
                    Filesystem__EntryInfo **out)
{
    struct stat st;
    if (lstat(name, &st) < 0)
        return -errno;
    struct {
        Filesystem__EntryInfo entry;
        Google__Protobuf__Timestamp time;
    } *block = arena_alloc(r->arena, sizeof(*block));
    if (!block)
        return -ENOMEM;
    Filesystem__EntryInfo *e = &block->entry;
    filesystem__entry_info__init(e);
    google__protobuf__timestamp__init(&block->time);
    block->time.seconds = told_seconds(st.st_mtim.tv_sec);
    block->time.nanos = (int32_t)st.st_mtim.tv_nsec;
    e->modified_time = &block->time;
    e->path = text_is_valid(str_of(path)) ? path : text_valid(r->arena, str_of(path));
    e->name = e->path ? base_name(r->arena, e->path) : NULL;
    e->type = type_of(st.st_mode);
    e->size = st.st_size;
    e->mode = st.st_mode & 0777;
    e->permissions = permissions_of(r, st.st_mode);
    e->owner = name_of(r, r->owners, st.st_uid, user_name_of);
    e->group = name_of(r, r->groups, st.st_gid, group_name_of);
    if (!e->path || !e->name || !e->permissions || !e->owner || !e->group)
        return -ENOMEM;
    *out = e;
    if (S_ISLNK(st.st_mode))
        return describe_link(r->arena, path, e);
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) /* no other kind can have user attributes */
        metadata_read(r->arena, name, e);
    return 0;
}
