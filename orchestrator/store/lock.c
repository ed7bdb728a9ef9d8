#include "orchestrator/store/lock.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>

static int read_pid(int fd)
{
    char text[16] = { 0 };
    if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
        return 0;
    long pid = strtol(text, NULL, 10);
    return pid > 0 && pid <= INT_MAX ? (int)pid : 0;
}

static int open_lock(const char *data_dir, int flags, char path[static PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/lock", data_dir);
    if (n < 0 || n >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int store_lock(const char *data_dir, int *out, struct err *err)
{
    char path[PATH_MAX];
    AUTO_CLOSE int fd = open_lock(data_dir, O_RDWR | O_CREAT, path);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_set(err, ERR_INTERNAL, errno, "cannot lock %s: %s", path, strerror(errno));
        int pid = read_pid(fd);
        if (pid > 0)
            return err_set(err, ERR_PRECONDITION, EBUSY,
                           "another daemon already runs on %s (pid %d)", data_dir, pid);
        return err_set(err, ERR_PRECONDITION, EBUSY, "another daemon already runs on %s", data_dir);
    }
    if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
        return err_set(err, ERR_INTERNAL, EIO, "cannot write %s", path);
    *out = TAKE_FD(fd);
    return 0;
}

int store_lock_holder(const char *data_dir)
{
    char path[PATH_MAX];
    AUTO_CLOSE int fd = open_lock(data_dir, O_RDONLY, path);
    if (fd < 0)
        return 0;
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0; /* nobody holds it; closing gives the shared lock back */
    return read_pid(fd);
}
