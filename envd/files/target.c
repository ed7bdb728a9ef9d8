#include "envd/files/target.h"

#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "envd/core/path.h"
#include "envd/filesystem/temp_name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LINKS_MAX     40
#define TEMP_BASE_MAX 200 /* bytes of the target's name in the temporary one */
#define TEMP_TRIES    100

/* The directory of `path`, with the slash. */
static struct str dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return (struct str){ path, slash ? (size_t)(slash - path) + 1 : 0 };
}

static bool is_out_of_inodes(const char *path)
{
    char dir[PATH_MAX];
    struct statvfs vfs;
    return str_copy(dir_of(path), dir, sizeof(dir)) && statvfs(dir, &vfs) == 0 && vfs.f_files > 0 &&
           vfs.f_favail == 0 && vfs.f_bavail > 0;
}

/* What a failing call means; the sentence for a full disk is the clients'. */
static int fail(struct err *err, int errnum, const struct target *t, const char *what)
{
    switch (errnum) {
    case ENOSPC:
        if (is_out_of_inodes(t->path))
            return err_set(err, ERR_EXHAUSTED, errnum, "not enough inodes available");
        return err_set(err, ERR_EXHAUSTED, errnum, "not enough disk space available");
    case EDQUOT:
        return err_set(err, ERR_EXHAUSTED, errnum, "not enough disk space available");
    case EISDIR:
        return err_set(err, ERR_INVALID, errnum, "path '%s' is a directory", t->path);
    case ENOTDIR:
        return err_set(err, ERR_INVALID, errnum, "a parent of '%s' is not a directory", t->path);
    case ENAMETOOLONG:
        return err_set(err, ERR_INVALID, errnum, "path '%s' is too long", t->path);
    default:
        return err_set(err, ERR_INTERNAL, errnum, "cannot %s '%s': %s", what, t->path,
                       strerror(errnum));
    }
}

/* Follow links at the end of `path`, so that the file they name is replaced and not they. */
static int resolve_links(struct target *t, const char *path, struct err *err)
{
    if (!str_copy(str_of(path), t->path, sizeof(t->path)))
        return fail(err, ENAMETOOLONG, t, "open");
    for (int i = 0; i < LINKS_MAX; i++) {
        char link[PATH_MAX];
        char joined[PATH_MAX];
        ssize_t n = readlink(t->path, link, sizeof(link));
        if (n < 0) /* not a link, or not there */
            return errno == EINVAL || errno == ENOENT ? 0 : fail(err, errno, t, "open");
        struct str dir = n && link[0] == '/' ? STR("") : dir_of(t->path);
        if (dir.n + (size_t)n >= sizeof(joined))
            return fail(err, ENAMETOOLONG, t, "open");
        memcpy(joined, dir.p, dir.n);
        memcpy(joined + dir.n, link, (size_t)n);
        joined[dir.n + (size_t)n] = '\0';
        memcpy(t->path, joined, sizeof(joined));
    }
    return fail(err, ELOOP, t, "open");
}

/* What is there now decides the mode, and whether it can be written at all. */
static int look(struct target *t, struct err *err)
{
    struct stat st;
    size_t n = strlen(t->path);
    if (n == 0 || t->path[n - 1] == '/')
        return fail(err, EISDIR, t, "open");
    t->exists = stat(t->path, &st) == 0;
    if (!t->exists && errno != ENOENT)
        return fail(err, errno, t, "open");
    t->mode = t->exists ? st.st_mode & 0777 : 0644;
    if (!t->exists || S_ISREG(st.st_mode))
        return 0;
    if (S_ISDIR(st.st_mode))
        return fail(err, EISDIR, t, "open");
    return err_set(err, ERR_INVALID, EINVAL, "path '%s' is not a regular file", t->path);
}

static bool temp_pattern(struct target *t)
{
    struct str dir = dir_of(t->path);
    int n = snprintf(t->temp, sizeof(t->temp), "%.*s.%.*s" TEMP_NAME_MARK "XXXXXX", STR_ARG(dir),
                     TEMP_BASE_MAX, t->path + dir.n);
    return n > 0 && (size_t)n < sizeof(t->temp);
}

static int open_temp(struct target *t)
{
    char dir[PATH_MAX];
    if (!str_copy(dir_of(t->path), dir, sizeof(dir)) || !temp_pattern(t))
        return -ENAMETOOLONG;
    if (FAULT_POINT("files.nameless"))
        errno = EOPNOTSUPP;
    else
        t->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    t->is_nameless = t->fd >= 0;
    if (t->fd >= 0)
        return 0;
    if (errno == ENOSPC || errno == EDQUOT)
        return -errno;
    t->fd = mkostemp(t->temp, O_CLOEXEC);
    return t->fd < 0 ? -errno : 0;
}

int target_open(struct target *t, const char *path, const struct user *user, struct err *err)
{
    *t = (struct target){ .fd = -1 };
    int rc = resolve_links(t, path, err);
    if (rc == 0)
        rc = look(t, err);
    if (rc == 0 && !t->exists)
        rc = path_make_parents(t->path, user, err);
    if (rc == -ENOSPC || rc == -EDQUOT)
        return fail(err, -rc, t, "create");
    if (rc < 0)
        return rc;
    rc = open_temp(t);
    if (rc == 0)
        return 0;
    t->temp[0] = '\0';
    if (t->exists && rc != -ENOSPC && rc != -EDQUOT) {
        t->in_place = true;
        t->fd = open(t->path, O_WRONLY | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        rc = t->fd < 0 ? -errno : 0;
    }
    return rc < 0 ? fail(err, -rc, t, "create") : 0;
}

int target_write(struct target *t, const void *data, size_t n, struct err *err)
{
    int rc = FAULT_POINT("files.quota") ? -EDQUOT : fd_write_all(t->fd, data, n);
    return rc < 0 ? fail(err, -rc, t, "write") : 0;
}

/* Link the nameless file; -EEXIST when the name is taken. */
static int link_as(int fd, const char *path)
{
    if (linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno == EEXIST || errno == ENOSPC || errno == EDQUOT)
        return -errno;
    char name[64];
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Give the nameless file a temporary name. */
static int name_temp(struct target *t)
{
    static atomic_uint counter; /* composing runs on other threads */
    char *digits = t->temp + strlen(t->temp) - TEMP_NAME_RANDOM;
    for (int i = 0; i < TEMP_TRIES; i++) {
        snprintf(digits, TEMP_NAME_RANDOM + 1, "%06x", counter++ & 0xffffffU);
        int rc = link_as(t->fd, t->temp);
        if (rc != -EEXIST) {
            t->is_nameless = rc < 0;
            return rc;
        }
    }
    return -EEXIST;
}

/* The target cannot be replaced, since something is mounted on it: its contents are. */
static int copy_over(const struct target *t)
{
    AUTO_CLOSE int out =
        open(t->path, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    off_t at = 0;
    ssize_t n = out < 0 ? -1 : 1;
    while (n > 0)
        n = sendfile(out, t->fd, &at, 1U << 30);
    return n < 0 ? -errno : 0;
}

/* Put the file in the target's place. *is_placed tells whether it was moved there. */
static int place(struct target *t, bool *is_placed)
{
    *is_placed = true;
    if (t->is_nameless && !t->exists) {
        int rc = link_as(t->fd, t->path);
        if (rc != -EEXIST)
            return rc;
    }
    int rc = t->is_nameless ? name_temp(t) : 0;
    if (rc == 0 && rename(t->temp, t->path) == 0) {
        t->temp[0] = '\0';
        return 0;
    }
    if (rc == 0)
        rc = -errno;
    *is_placed = false;
    return rc == -EBUSY ? copy_over(t) : rc;
}

/* Who watches the directory expects a write, as of a file that was written where it stands. By now
 * something else may stand there, which is not to be cut. */
static void tell_watchers(const struct target *t)
{
    struct stat ours, there;
    AUTO_CLOSE int fd = open(t->path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && fstat(t->fd, &ours) == 0 && fstat(fd, &there) == 0 &&
        ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
        (void)!ftruncate(fd, there.st_size);
}

int target_commit(struct target *t, const struct user *user, const struct metadata *metadata,
                  size_t nmetadata, struct err *err)
{
    bool is_placed = false;
    int rc = metadata_replace(t->fd, metadata, nmetadata);
    if (rc == 0 && !t->in_place &&
        (fchown(t->fd, user->uid, user->gid) < 0 || fchmod(t->fd, t->mode) < 0))
        rc = -errno;
    if (rc == 0 && !t->in_place)
        rc = place(t, &is_placed);
    if (rc < 0)
        rc = fail(err, -rc, t, "write");
    if (is_placed && rc == 0)
        tell_watchers(t);
    target_abandon(t);
    return rc;
}

void target_abandon(struct target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->temp[0] && !t->is_nameless && !t->in_place)
        unlink(t->temp);
    *t = (struct target){ .fd = -1 };
}
