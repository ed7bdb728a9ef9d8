#include "orchestrator/link/stream_open.h"

#include "common/base/cleanup.h"

#include <errno.h>
// clang-format off
#include <sys/socket.h>
#include <linux/vm_sockets.h>
// clang-format on
#include <sys/un.h>

static int open_unix(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    if (!str_copy(str_of(path), at.sun_path, sizeof(at.sun_path)))
        return -ENAMETOOLONG;
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int size = STREAM_SEND_BUFFER;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    /* Connected at once, or the backlog is full (EAGAIN): then it is tried again later. */
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int open_vsock(uint32_t cid, uint32_t port, bool *connecting)
{
    struct sockaddr_vm at = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
    AUTO_CLOSE int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        *connecting = true;
    }
    return TAKE_FD(fd);
}

int stream_open(const struct link_address *address, bool *connecting)
{
    *connecting = false;
    if (address->opener == LINK_AF_VSOCK)
        return open_vsock(address->cid, address->port, connecting);
    return open_unix(address->path);
}

int hybrid_greeting_feed(struct hybrid_greeting *g, const uint8_t *data, size_t n, size_t *used)
{
    uint64_t port;
    *used = 0;
    while (*used < n) {
        char c = (char)data[(*used)++];
        if (c == '\n') {
            struct str line = { g->line, g->n };
            bool ok =
                str_starts(line, STR("OK ")) && str_to_u64(str_from(line, 3), UINT32_MAX, &port);
            return ok ? 1 : -EPROTO;
        }
        if (g->n == sizeof(g->line))
            return -EPROTO;
        g->line[g->n++] = c;
    }
    return 0;
}
