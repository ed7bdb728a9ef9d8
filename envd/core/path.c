#include "envd/core/path.h"

#include "common/base/cleanup.h"
#include "common/base/path_clean.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* dir and rest with a slash between them. */
static int join(const char *dir, struct str rest, char *out, struct err *err)
{
    bool slash = rest.n && dir[0] && dir[strlen(dir) - 1] != '/';
    int n = snprintf(out, PATH_MAX, "%s%s%.*s", dir, slash ? "/" : "", STR_ARG(rest));
    if (n < 0 || n >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is longer than %d bytes",
                       PATH_MAX - 1);
    return 0;
}

/* What a relative path means is told back to the client, so it is told without detours. */
static int join_home(const struct user *user, struct str rest, char *out, struct err *err)
{
    int rc = join(user->home, rest, out, err);
    if (rc == 0 && out[0] == '/')
        out[path_clean(out, strlen(out))] = '\0';
    return rc;
}

int path_resolve(const struct user *user, struct str path, const char *default_workdir, char *out,
                 struct err *err)
{
    out[0] = '\0';
    if (path.n && memchr(path.p, '\0', path.n))
        return err_set(err, ERR_INVALID, EINVAL, "path contains a NUL byte");
    if (path.n >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is longer than %d bytes",
                       PATH_MAX - 1);
    if (path.n == 0)
        return join(default_workdir && default_workdir[0] ? default_workdir : user->home, STR(""),
                    out, err);
    if (path.p[0] == '/')
        return join("", path, out, err);
    if (path.p[0] != '~')
        return join_home(user, path, out, err);
    if (path.n == 1)
        return join(user->home, STR(""), out, err);
    if (path.p[1] == '/')
        return join_home(user, str_from(path, 2), out, err);
    return err_set(err, ERR_INVALID, EINVAL, "cannot expand user-specific home dir");
}

/* The directory that holds the last part of `path`, which has no slash at its end, and that part.
 */
static int open_parent(const char *path, const char **name)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    struct str parent = { path, slash == path ? 1 : (size_t)(*name - path) };
    if (!str_copy(slash ? parent : STR("."), dir, sizeof(dir))) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* mkdir's mode goes through the umask; a client that made a directory expects 0755. By descriptor:
 * whoever may write to the parent can put a link to something else in the new one's place. */
static int give(int parent, const char *name, const struct user *user)
{
    struct stat st;
    AUTO_CLOSE int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid())
        return -EEXIST;
    return fchmod(fd, 0755) < 0 || fchown(fd, user->uid, user->gid) < 0 ? -errno : 0;
}

/* Create the directory `path`, whose parents exist. */
static int make_one(const char *path, const struct user *user, struct err *err)
{
    const char *name;
    AUTO_CLOSE int parent = open_parent(path, &name);
    if (parent >= 0 && mkdirat(parent, name, 0755) == 0) {
        int rc = give(parent, name, user);
        if (rc < 0)
            return err_set(err, ERR_INTERNAL, -rc, "cannot give %s to %s: %s", path, user->name,
                           strerror(-rc));
        return 0;
    }
    if (errno != EEXIST)
        return err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_EXHAUSTED : ERR_INTERNAL,
                       errno, "cannot create directory %s: %s", path, strerror(errno));
    struct stat st;
    /* What cannot be looked at is a link that leads nowhere. */
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, ENOTDIR, "path is a file, not a directory: %s", path);
    return 0;
}

int path_make_dirs(const char *path, const struct user *user, struct err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    char part[PATH_MAX];
    if (!str_copy(str_of(path), part, sizeof(part)))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is longer than %d bytes",
                       PATH_MAX - 1);
    for (char *p = part + (part[0] == '/'); *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int rc = make_one(part, user, err);
        if (rc < 0)
            return rc;
        *p = '/';
        while (p[1] == '/')
            p++;
    }
    size_t n = strlen(part);
    return n && part[n - 1] != '/' ? make_one(part, user, err) : 0;
}

int path_make_parents(const char *path, const struct user *user, struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    char dir[PATH_MAX];
    if (!str_copy((struct str){ path, (size_t)(slash - path) }, dir, sizeof(dir)))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is longer than %d bytes",
                       PATH_MAX - 1);
    return path_make_dirs(dir, user, err);
}
