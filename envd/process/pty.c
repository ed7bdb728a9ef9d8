#include "envd/process/pty.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* The slave of a master without going by a path, which would need devpts at /dev/pts; older kernels
 * need the path. */
static int open_slave(int master)
{
    int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    char path[64];
    int rc = ptsname_r(master, path, sizeof(path));
    if (rc != 0) {
        errno = rc;
        return -1;
    }
    return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

int pty_open(struct pty *out, uint16_t cols, uint16_t rows, const struct user *user,
             struct err *err)
{
    AUTO_CLOSE int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        return err_set(err, ERR_INVALID, errno, "cannot open a terminal: %s", strerror(errno));
    int locked = 0;
    if (ioctl(master, TIOCSPTLCK, &locked) < 0)
        return err_set(err, ERR_INVALID, errno, "cannot unlock a terminal: %s", strerror(errno));
    AUTO_CLOSE int slave = open_slave(master);
    if (slave < 0)
        return err_set(err, ERR_INVALID, errno, "cannot open a terminal: %s", strerror(errno));
    int rc = pty_resize(master, cols, rows);
    if (rc < 0)
        return err_set(err, ERR_INVALID, -rc, "cannot set the terminal's size: %s", strerror(-rc));
    /* Without the right to do so the terminal works too, but not for those who open it by name. */
    if (fchown(slave, user->uid, (gid_t)-1) == 0)
        (void)fchmod(slave, 0620);
    out->master = TAKE_FD(master);
    out->slave = TAKE_FD(slave);
    return 0;
}

int pty_resize(int master, uint16_t cols, uint16_t rows)
{
    struct winsize size = { .ws_col = cols, .ws_row = rows };
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
