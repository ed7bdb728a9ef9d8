#include "orchestrator/snapshot/snapshot_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int snapshot_path(char out[static PATH_MAX], const char *dir, const char *suffix, struct err *err)
{
    if (snprintf(out, PATH_MAX, "%s%s", dir, suffix) >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    return 0;
}

int snapshot_pwrite(int fd, const void *data, size_t n, uint64_t at)
{
    const uint8_t *p = data;
    while (n) {
        ssize_t w = pwrite(fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return w < 0 ? -errno : -EIO;
        p += w;
        at += (uint64_t)w;
        n -= (size_t)w;
    }
    return 0;
}

int snapshot_pread(int fd, void *to, size_t n, uint64_t at)
{
    uint8_t *p = to;
    while (n) {
        ssize_t r = pread(fd, p, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -ENODATA;
        p += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}

int snapshot_write_failed(struct err *err, int errnum, const char *name)
{
    if (errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG)
        return err_set(err, ERR_EXHAUSTED, errnum,
                       "the snapshot does not fit on the host's disk (%s: %s)", name,
                       strerror(errnum));
    return err_set(err, ERR_INTERNAL, errnum, "cannot write the snapshot's %s: %s", name,
                   strerror(errnum));
}
