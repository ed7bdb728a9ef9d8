#include "envd/guest/in_place.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int write_in_place(const char *path, struct str text, mode_t mode, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "open %s: %s", path, strerror(errno));
    int rc = fd_write_all(fd, text.p, text.n);
    if (rc == 0 && (size_t)st.st_size > text.n && ftruncate(fd, (off_t)text.n) < 0)
        rc = -errno;
    return rc < 0 ? err_set(err, ERR_INTERNAL, -rc, "write %s: %s", path, strerror(-rc)) : 0;
}
