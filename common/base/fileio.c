#include "common/base/fileio.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

int file_read(const char *path, size_t max, struct buf *out, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, errno,
                       "cannot open %s: %s", path, strerror(errno));
    size_t had = buf_len(out);
    for (;;) {
        uint8_t *to = buf_reserve(out, 4096);
        if (!to)
            return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory reading %s", path);
        ssize_t n = read(fd, to, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
        if (buf_len(out) - had > max)
            return err_set(err, ERR_RANGE, EFBIG, "%s is larger than %zu bytes", path, max);
    }
}

int fd_write_all(int fd, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return -errno;
        p += w;
        n -= (size_t)w;
    }
    return 0;
}

static int sync_parent(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        strcpy(dir, ".");
    else if (!str_copy((struct str){ path, slash == path ? 1 : (size_t)(slash - path) }, dir,
                       sizeof(dir)))
        return -ENAMETOOLONG;
    AUTO_CLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return -errno;
    return 0;
}

static int replace(const char *path, const void *data, size_t n, mode_t mode, bool sync,
                   struct err *err)
{
    char temp[PATH_MAX];
    if (snprintf(temp, sizeof(temp), "%s.XXXXXX", path) >= (int)sizeof(temp))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", path);
    AUTO_CLOSE int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot create %s: %s", temp, strerror(errno));
    int rc = fd_write_all(fd, data, n);
    if (rc == 0 && (fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0) || rename(temp, path) < 0))
        rc = -errno;
    if (rc == 0)
        return sync ? sync_parent(path) : 0;
    unlink(temp);
    return err_set(err, rc == -ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, -rc, "cannot write %s: %s",
                   path, strerror(-rc));
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode, struct err *err)
{
    return replace(path, data, n, mode, true, err);
}

int file_replace_unsynced(const char *path, const void *data, size_t n, mode_t mode,
                          struct err *err)
{
    return replace(path, data, n, mode, false, err);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path) < 0 && errno != ENOENT ? -errno : 0;
}

int file_remove_tree(const char *path, struct err *err)
{
    int rc = nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    if (rc == -1 && errno == ENOENT)
        return 0;
    if (rc == -1)
        rc = -errno;
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot remove %s: %s", path, strerror(-rc));
    return 0;
}

int file_make_dirs(const char *path, mode_t mode, struct err *err)
{
    char part[PATH_MAX];
    if (!str_copy(str_of(path), part, sizeof(part)))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", path);
    for (char *p = part + 1; *part; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char keep = *p;
        *p = '\0';
        if (mkdir(part, mode) < 0 && errno != EEXIST)
            return err_set(err, ERR_INTERNAL, errno, "cannot create %s: %s", part, strerror(errno));
        *p = keep;
        if (!keep)
            break;
    }
    return 0;
}
