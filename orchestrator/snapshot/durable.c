#include "orchestrator/snapshot/durable.h"
#include "common/base/cleanup.h"
#include "orchestrator/snapshot/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>

struct sync {
    int dirfd;
    const char *const *names;
    size_t n; /* the one after the last is the directory */
    atomic_size_t next;
    atomic_int rc;
};

static int sync_name(int dirfd, const char *name)
{
    AUTO_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static void sync_some(void *user)
{
    struct sync *s = user;
    size_t i;
    while ((i = s->next++) <= s->n) {
        int rc = i < s->n ? sync_name(s->dirfd, s->names[i]) : sync_name(s->dirfd, ".");
        if (rc < 0)
            s->rc = rc;
    }
}

int durable_files(int dirfd, const char *const *names, size_t n)
{
    struct sync s = { .dirfd = dirfd, .names = names, .n = n };
    parallel_run(n + 1, sync_some, &s);
    return s.rc;
}

int durable_parent(const char *path)
{
    char parent[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof(parent))
        return -ENAMETOOLONG;
    memcpy(parent, path, n + 1);
    while (n && parent[n - 1] == '/')
        parent[--n] = '\0';
    char *slash = strrchr(parent, '/');
    if (!slash)
        strcpy(parent, ".");
    else
        slash[slash == parent] = '\0';
    AUTO_CLOSE int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}
