/* Finding the virtio-serial port by its name. */
#include "envd/guest/link_internal.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

#define PORT_NAME_MAX 256

static bool has_name(const char *sys_dir, const char *port, const char *name)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    if (snprintf(path, sizeof(path), "%s/%s/name", sys_dir, port) >= (int)sizeof(path))
        return false;
    bool same = file_read(path, PORT_NAME_MAX, &text, NULL) == 0;
    if (same) {
        struct str got = buf_str(&text);
        while (got.n > 0 && got.p[got.n - 1] == '\n')
            got.n--;
        same = str_eq(got, str_of(name));
    }
    buf_deinit(&text);
    return same;
}

int link_port_open(const char *sys_dir, const char *dev_dir, const char *name)
{
    char path[PATH_MAX] = "";
    DIR *dir = opendir(sys_dir);
    if (!dir)
        return -errno;
    for (struct dirent *d = readdir(dir); d && !path[0]; d = readdir(dir)) {
        if (d->d_name[0] != '.' && has_name(sys_dir, d->d_name, name) &&
            snprintf(path, sizeof(path), "%s/%s", dev_dir, d->d_name) >= (int)sizeof(path))
            path[0] = '\0';
    }
    closedir(dir);
    if (!path[0])
        return -ENOENT;
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}
