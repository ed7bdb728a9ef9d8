#include "envd/filesystem/operations.h"

#include "envd/core/path.h"
#include "envd/filesystem/entry.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

int operation_stat(struct arena *arena, const char *path, Filesystem__EntryInfo **out,
                   struct err *err)
{
    struct entry_reader reader;
    entry_reader_init(&reader, arena);
    char *copy = arena_dup(arena, str_of(path));
    int rc = copy ? entry_read(&reader, copy, out) : -ENOMEM;
    switch (-rc) {
    case 0:
        return 0;
    case ENOENT:
    case ENOTDIR: /* below a file there is nothing either */
        return err_set(err, ERR_NOT_FOUND, -rc, "file not found: %s", path);
    case ENAMETOOLONG:
        return err_set(err, ERR_INVALID, -rc, "path is too long: %s", path);
    default:
        return err_set(err, ERR_INTERNAL, -rc, "cannot read %s: %s", path, strerror(-rc));
    }
}

int operation_make_dir(const char *path, const struct user *user, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode))
            return err_set(err, ERR_EXISTS, EEXIST, "directory already exists: %s", path);
        return err_set(err, ERR_INVALID, ENOTDIR,
                       "path already exists but it is not a directory: %s", path);
    }
    if (errno == ENOTDIR)
        return err_set(err, ERR_INVALID, ENOTDIR, "a parent of the path is not a directory: %s",
                       path);
    if (errno == ENAMETOOLONG)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", path);
    if (errno != ENOENT)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", path, strerror(errno));
    return path_make_dirs(path, user, err);
}

int operation_move(const char *from, const char *to, const struct user *user, struct err *err)
{
    struct stat st;
    if (lstat(from, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, ERR_NOT_FOUND, errno, "source file not found: %s", from);
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", from, strerror(errno));
    }
    int rc = path_make_parents(to, user, err);
    if (rc < 0 || rename(from, to) == 0)
        return rc;
    if (errno == ENOENT)
        return err_set(err, ERR_NOT_FOUND, errno, "source file not found: %s", from);
    return err_set(err, ERR_INTERNAL, errno, "cannot move %s to %s: %s", from, to, strerror(errno));
}
