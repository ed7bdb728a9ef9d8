#include "orchestrator/vmm/unix_socket.h"

#include "common/base/cleanup.h"
#include "common/base/str.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

static int fill(struct sockaddr_un *addr, const char *path)
{
    *addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return str_copy(str_of(path), addr->sun_path, sizeof(addr->sun_path)) ? 0 : -ENAMETOOLONG;
}

int unix_connect(const char *path)
{
    struct sockaddr_un addr;
    int rc = fill(&addr, path);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

int unix_listen(const char *path)
{
    struct sockaddr_un addr;
    int rc = fill(&addr, path);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
        return -errno;
    return TAKE_FD(fd);
}
