#include "orchestrator/vmm/qemu/layers.h"

#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_top(const struct vmm_disk *d, uint64_t size_mb, uid_t uid, bool *made,
                    struct err *err)
{
    struct stat st;
    if (disk_is_blank(d->top))
        unlink(d->top);
    if (lstat(d->top, &st) == 0)
        return disk_open(d->top, uid, err);
    struct disk_backing backing = chain_backing(d, d->nlayers);
    AUTO_CLOSE int fd = disk_create(d->top, &backing, size_mb, uid, err);
    *made = fd >= 0;
    if (fd < 0)
        return fd;
    int rc = disk_sync_new(fd, d->top, err);
    return rc < 0 ? rc : TAKE_FD(fd);
}

int layers_open_top(const struct vmm_disk *d, uint64_t size_mb, uid_t uid, int fds[static 2],
                    bool *made, struct err *err)
{
    *made = false;
    if (FAULT_POINT("vmm.overlay"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.overlay");
    AUTO_CLOSE int fd = open_top(d, size_mb, uid, made, err);
    int again = fd < 0 ? fd : disk_reopen(fd, O_RDONLY);
    if (fd >= 0 && again < 0)
        err_fill(err, ERR_INTERNAL, "cannot open the disk %s: %s", d->top, strerror(-again));
    if (again < 0) {
        if (*made)
            unlink(d->top);
        *made = false;
        return again;
    }
    fds[0] = TAKE_FD(fd);
    fds[1] = again;
    return 0;
}

int layers_open_frozen(const char *path, const char *what, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open the %s %s: %s", what, path,
                       strerror(errno));
    return fd;
}
