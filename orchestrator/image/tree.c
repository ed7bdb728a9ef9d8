#include "orchestrator/image/tree.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define TEMPORARY ".sandpit-new"

static int open_in(const struct tree *t, const char *path, int flags)
{
    struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT };
    return (int)syscall(SYS_openat2, t->fd, path, &how, sizeof(how));
}

/* The folder that holds the last component, which *name points to. */
static int open_parent(const struct tree *t, const char *path, const char **name)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash || slash[1] == '\0') {
        errno = EINVAL;
        return -1;
    }
    *name = slash + 1;
    if (snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path) >= (int)sizeof(dir)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open_in(t, dir, O_RDONLY | O_DIRECTORY);
}

static int failed(const char *what, const char *path, struct err *err)
{
    int errnum = errno;
    return err_set(err, errnum == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errnum,
                   "cannot %s %s of the root file system: %s", what, path, strerror(errnum));
}

int tree_open(struct tree *t, const char *path, struct err *err)
{
    t->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->fd < 0)
        return err_set(err, ERR_NOT_FOUND, errno, "cannot open %s: %s", path, strerror(errno));
    return 0;
}

void tree_close(struct tree *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

bool tree_exists(const struct tree *t, const char *path)
{
    AUTO_CLOSE int fd = open_in(t, path, O_PATH);
    return fd >= 0;
}

struct tree_owner tree_owner_of(const struct tree *t, const char *path, struct tree_owner otherwise)
{
    AUTO_CLOSE int fd = open_in(t, path, O_PATH);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return otherwise;
    return (struct tree_owner){ st.st_uid, st.st_gid, st.st_mode & 07777 };
}

int tree_read(const struct tree *t, const char *path, struct buf *out, struct err *err)
{
    AUTO_CLOSE int fd = open_in(t, path, O_RDONLY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed("read", path, err);
    if (!S_ISREG(st.st_mode) || st.st_size > TREE_FILE_MAX) {
        errno = EINVAL;
        return failed("read", path, err);
    }
    for (;;) {
        uint8_t *room = buf_reserve(out, 65536);
        ssize_t n = room ? read(fd, room, 65536) : -1;
        if (n < 0)
            return failed("read", path, err);
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}

static int write_at(int dir, const char *name, struct str data, struct tree_owner owner)
{
    unlinkat(dir, TEMPORARY, 0);
    AUTO_CLOSE int fd =
        openat(dir, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int rc = fd_write_all(fd, data.p, data.n);
    if (rc < 0)
        errno = -rc;
    /* The owner first: a change of it takes set-id bits away. */
    if (rc < 0 || fchown(fd, owner.uid, owner.gid) < 0 || fchmod(fd, owner.mode) < 0 ||
        renameat(dir, TEMPORARY, dir, name) < 0) {
        int errnum = errno;
        unlinkat(dir, TEMPORARY, 0);
        errno = errnum;
        return -1;
    }
    return 0;
}

int tree_write(const struct tree *t, const char *path, struct str data, struct tree_owner owner,
               struct err *err)
{
    const char *name;
    AUTO_CLOSE int dir = open_parent(t, path, &name);
    if (dir < 0 || write_at(dir, name, data, owner) < 0)
        return failed("write", path, err);
    return 0;
}

int tree_make_dir(const struct tree *t, const char *path, struct tree_owner owner, bool *made,
                  struct err *err)
{
    const char *name;
    if (made)
        *made = false;
    AUTO_CLOSE int there = open_in(t, path, O_PATH | O_DIRECTORY);
    if (there >= 0)
        return 0;
    AUTO_CLOSE int dir = open_parent(t, path, &name);
    if (dir < 0 || mkdirat(dir, name, 0700) < 0 ||
        fchownat(dir, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(dir, name, owner.mode, 0) < 0)
        return failed("create", path, err);
    if (made)
        *made = true;
    return 0;
}

int tree_set_mode(const struct tree *t, const char *path, mode_t mode, struct err *err)
{
    AUTO_CLOSE int fd = open_in(t, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 || fchmod(fd, mode) < 0)
        return failed("change", path, err);
    return 0;
}

static int copy_file(const struct tree *t, const char *from, const char *to, const char *name,
                     struct tree_owner owner, struct err *err)
{
    char source[PATH_MAX], target[PATH_MAX];
    struct buf data = { 0 };
    if (snprintf(source, sizeof(source), "%s/%s", from, name) >= (int)sizeof(source) ||
        snprintf(target, sizeof(target), "%s/%s", to, name) >= (int)sizeof(target))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", name);
    if (tree_exists(t, target))
        return 0;
    int rc = tree_read(t, source, &data, err);
    if (rc == 0)
        rc = tree_write(t, target, buf_str(&data), owner, err);
    buf_deinit(&data);
    return rc;
}

int tree_copy_files(const struct tree *t, const char *from, const char *to, struct tree_owner owner,
                    struct err *err)
{
    int fd = open_in(t, from, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return 0;
    DIR *list = fdopendir(fd);
    if (!list) {
        close(fd);
        return failed("read", from, err);
    }
    int rc = 0;
    for (struct dirent *e = readdir(list); e && rc == 0; e = readdir(list))
        if (e->d_type == DT_REG)
            rc = copy_file(t, from, to, e->d_name, owner, err);
    closedir(list);
    return rc;
}
