#include "envd/guest/machine_id.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool machine_id_ok(const char *id)
{
    return strspn(id, "0123456789abcdef") == MACHINE_ID_DIGITS && id[MACHINE_ID_DIGITS] == '\0' &&
           strspn(id, "0") < MACHINE_ID_DIGITS;
}

/* In place: nobody reads it while a guest gets its identity, and a file that replaces another makes
 * ext4 write it out at once. */
static int write_id(const char *path, const char *text, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "open %s: %s", path, strerror(errno));
    int rc = fd_write_all(fd, text, strlen(text));
    if (rc == 0 && (size_t)st.st_size > strlen(text) && ftruncate(fd, (off_t)strlen(text)) < 0)
        rc = -errno;
    return rc < 0 ? err_set(err, ERR_INTERNAL, -rc, "write %s: %s", path, strerror(-rc)) : 0;
}

int machine_id_set(const char *root, const char *id, struct err *err)
{
    char text[MACHINE_ID_DIGITS + 2], path[PATH_MAX];
    struct stat st;
    snprintf(text, sizeof(text), "%s\n", id);
    snprintf(path, sizeof(path), "%s/etc/machine-id", root);
    int rc = write_id(path, text, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/var/lib/dbus/machine-id", root);
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return write_id(path, text, err);
}
