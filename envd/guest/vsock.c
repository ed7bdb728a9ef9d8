/* The link on a vsock: every connection of the host is a session of its own. */
#include "envd/guest/link_internal.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <errno.h>
// clang-format off
#include <sys/socket.h>
#include <linux/vm_sockets.h>
// clang-format on

static void on_incoming(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct envd_link *l = container_of(poll, struct envd_link, vsock_poll);
    struct sockaddr_vm from;
    socklen_t n = sizeof(from);
    if (status < 0)
        return;
    AUTO_CLOSE int fd =
        accept4(l->vsock, (struct sockaddr *)&from, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    /* Whoever is on the link may call the control service: a process of the guest may not be. */
    if (from.svm_family != AF_VSOCK || from.svm_cid != l->vsock_peer) {
        log_warn("vsock connection refused", LOG_INT("cid", from.svm_cid));
        return;
    }
    /* There is one host; a connection before this one is a leftover of its own. */
    list_for_each_safe (node, &l->ends) {
        struct link_end *end = container_of(node, struct link_end, node);
        if (!end->marked)
            link_end_close(end);
    }
    if (link_end_add(l, fd, IO_FD_STREAM, false) == 0)
        (void)TAKE_FD(fd);
}

int link_vsock_listen(struct envd_link *l, uint32_t port, uint32_t peer_cid)
{
    struct sockaddr_vm at = {
        .svm_family = AF_VSOCK,
        .svm_port = port,
        .svm_cid = VMADDR_CID_ANY,
    };
    AUTO_CLOSE int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        listen(fd, LINK_VSOCK_BACKLOG) < 0)
        return -errno;
    int rc = uv_poll_init(l->e->loop, &l->vsock_poll, fd);
    if (rc < 0)
        return rc;
    l->handles++;
    l->vsock_open = true;
    l->vsock_peer = peer_cid;
    l->vsock = TAKE_FD(fd);
    uv_poll_start(&l->vsock_poll, UV_READABLE, on_incoming);
    return 0;
}
