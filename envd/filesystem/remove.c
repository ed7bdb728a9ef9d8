/*
 * The walk holds one open directory. To go down it opens a child, to go up it opens ".." and makes
 * sure that this is the directory it came from, so that neither a link put in the way nor a
 * directory moved elsewhere can lead it out of the tree. Each directory is read once per visit and
 * from the start: what was removed is not there any more. Subdirectories are noted and emptied
 * after the directory was read, some hundred at a time, so that a wide tree is not read again for
 * each of them.
 */
#include "envd/filesystem/remove.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define REMOVE_NOTED_MAX 512 /* subdirectories noted before they are emptied */
#define REMOVE_RETRY_MAX 100 /* directories found filled again by someone else */

struct level {
    struct level *up;
    dev_t dev;
    ino_t ino;
    char *name;       /* in the parent */
    struct buf noted; /* names of subdirectories, terminated */
    bool is_read;     /* to the end, since something was last noted */
};

struct walk {
    int fd; /* the directory of `top`; at first AT_FDCWD */
    struct level *top;
    unsigned *retries;
    const atomic_bool *stop;
};

static int trim_path(const char *path, char out[static PATH_MAX], struct err *err)
{
    struct str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    if (!str_copy(s, out, PATH_MAX))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", path);
    const char *slash = strrchr(out, '/');
    const char *base = slash ? slash + 1 : out;
    if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return err_set(err, ERR_INVALID, EINVAL, "cannot be removed: %s", path);
    return 0;
}

static bool is_gone(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR;
}

static int cannot(struct err *err, const char *name)
{
    int errnum = errno;
    return err_set(err, ERR_INTERNAL, errnum, "cannot remove %s: %s", name, strerror(errnum));
}

/* Unlink; 1 when the name is a directory's. */
static int unlink_name(int dir, const char *name, struct err *err)
{
    if (unlinkat(dir, name, 0) == 0 || is_gone(errno))
        return 0;
    if (errno == EISDIR)
        return 1;
    int errnum = errno;
    struct stat st;
    if (errnum == EPERM && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return 1;
    errno = errnum;
    return cannot(err, name);
}

int remove_file(const char *path, struct err *err)
{
    char trimmed[PATH_MAX];
    int rc = trim_path(path, trimmed, err);
    if (rc == 0)
        rc = unlink_name(AT_FDCWD, trimmed, err);
    return rc == 1 && rmdir(trimmed) == 0 ? 0 : rc;
}

static int check_stop(const struct walk *w, struct err *err)
{
    return *w->stop ? err_set(err, ERR_CANCELED, ECANCELED, "the removal was stopped") : 0;
}

static void free_top(struct walk *w)
{
    struct level *l = w->top;
    w->top = l->up;
    buf_deinit(&l->noted);
    free(l->name);
    free(l);
}

/* Open the subdirectory `name` and make it the top. 0 also when it is gone or no directory. */
static int go_down(struct walk *w, const char *name, struct err *err)
{
    AUTO_CLOSE int fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (is_gone(errno) || errno == ELOOP)) {
        int rc = unlink_name(w->fd, name, err);
        return rc < 0 ? rc : 0;
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return cannot(err, name);
    struct level *l = calloc(1, sizeof(*l));
    char *copy = str_dup(str_of(name));
    if (!l || !copy) {
        free(l);
        free(copy);
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    }
    *l = (struct level){ .up = w->top, .dev = st.st_dev, .ino = st.st_ino, .name = copy };
    w->top = l;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = TAKE_FD(fd);
    return 0;
}

/* Remove the empty directory `name`. Someone may fill it again: then it is read again, some times.
 */
static int remove_empty(int dir, const char *name, unsigned *retries, struct err *err)
{
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || is_gone(errno))
        return 0;
    if ((errno == ENOTEMPTY || errno == EEXIST) && ++*retries <= REMOVE_RETRY_MAX)
        return 1;
    return cannot(err, name);
}

/* The top is empty: back to its parent, where it is removed. */
static int go_up(struct walk *w, struct err *err)
{
    const struct level *parent = w->top->up;
    AUTO_CLOSE int fd = openat(w->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return cannot(err, w->top->name);
    if (st.st_dev != parent->dev || st.st_ino != parent->ino) {
        errno = EAGAIN; /* it was moved elsewhere while we were in it */
        return cannot(err, w->top->name);
    }
    close(w->fd);
    w->fd = TAKE_FD(fd);
    int rc = remove_empty(w->fd, w->top->name, w->retries, err);
    free_top(w);
    return rc < 0 ? rc : 0;
}

/* Read the top from the start: remove the files, note the directories. */
static int read_top(struct walk *w, struct err *err)
{
    struct level *l = w->top;
    int fd = openat(w->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int rc = errno == ENOENT ? 0 : cannot(err, l->name);
        if (fd >= 0)
            close(fd);
        l->is_read = true;
        return rc;
    }
    int rc = 0;
    size_t noted = 0;
    const struct dirent *e;
    while (rc == 0 && noted < REMOVE_NOTED_MAX && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        bool is_dir = e->d_type == DT_DIR;
        if (!is_dir) {
            rc = check_stop(w, err);
            if (rc == 0)
                rc = unlink_name(w->fd, e->d_name, err);
            is_dir = rc == 1;
        }
        if (is_dir) {
            noted++;
            rc = buf_append(&l->noted, e->d_name, strlen(e->d_name) + 1)
                     ? 0
                     : err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        }
    }
    closedir(dir);
    l->is_read = noted == 0;
    return rc;
}

/* One step: empty a noted subdirectory, or read on, or go up. 1 when the tree is empty. */
static int step(struct walk *w, struct err *err)
{
    struct level *l = w->top;
    if (buf_len(&l->noted)) {
        char name[NAME_MAX + 1];
        const char *first = (const char *)buf_head(&l->noted);
        str_copy(str_of(first), name, sizeof(name));
        buf_consume(&l->noted, strlen(first) + 1);
        if (unlinkat(w->fd, name, AT_REMOVEDIR) == 0)
            return 0;
        return go_down(w, name, err);
    }
    if (!l->is_read)
        return read_top(w, err);
    return l->up ? go_up(w, err) : 1;
}

static int empty_tree(const char *path, unsigned *retries, const atomic_bool *stop, struct err *err)
{
    struct walk w = { .fd = AT_FDCWD, .retries = retries, .stop = stop };
    int rc = go_down(&w, path, err);
    while (rc == 0 && w.top) {
        rc = check_stop(&w, err);
        if (rc == 0)
            rc = step(&w, err);
    }
    while (w.top)
        free_top(&w);
    if (w.fd >= 0)
        close(w.fd);
    return rc < 0 ? rc : 0;
}

int remove_tree(const char *path, const atomic_bool *stop, struct err *err)
{
    char trimmed[PATH_MAX];
    unsigned retries = 0;
    int rc = trim_path(path, trimmed, err);
    if (rc < 0)
        return rc;
    do {
        rc = unlink_name(AT_FDCWD, trimmed, err);
        if (rc == 1)
            rc = empty_tree(trimmed, &retries, stop, err);
        if (rc == 0)
            rc = remove_empty(AT_FDCWD, trimmed, &retries, err);
    } while (rc == 1);
    return rc;
}
