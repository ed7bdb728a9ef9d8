#include "orchestrator/node/socket.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/str.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 256
/* Connections taken in one turn of the loop. */
#define ACCEPTS_PER_TURN 16
/* How long to wait when the system has no descriptor or memory left. */
#define RETRY_MS 100

struct node_socket {
    int fd;
    uv_poll_t poll;
    uv_timer_t retry;
    int handles;
    struct sockaddr_un addr;
    void (*connected)(void *user, int fd);
    void *user;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_retry(uv_timer_t *timer)
{
    struct node_socket *s = container_of(timer, struct node_socket, retry);
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
}

/* The mode of the path keeps others out; but it may have been open to them once, or be changed. */
static bool is_welcome(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    log_warn("a connection to the node service was refused", LOG_INT("uid", peer.uid),
             LOG_INT("pid", peer.pid));
    return false;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct node_socket *s = container_of(poll, struct node_socket, poll);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        AUTO_CLOSE int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (is_welcome(fd))
                s->connected(s->user, TAKE_FD(fd));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays readable: polling on would spin. */
            uv_poll_stop(&s->poll);
            uv_timer_start(&s->retry, on_retry, RETRY_MS, 0);
            return;
        } else if (errno == EAGAIN) {
            return;
        }
        /* Any other error belongs to that one connection. */
    }
}

/* Whoever holds the data directory's lock owns the path. */
static int listen_at(const struct sockaddr_un *addr, struct err *err)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(addr->sun_path);
    /* The mode of an unbound socket is the one that its path gets, less the umask. */
    if (fd < 0 || fchmod(fd, 0600) < 0 ||
        bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 || listen(fd, BACKLOG) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "cannot listen on socket %s: %s",
                       addr->sun_path, strerror(errno));
    return TAKE_FD(fd);
}

int node_socket_new(struct node_socket **out, uv_loop_t *loop, const char *path,
                    void (*connected)(void *user, int fd), void *user, struct err *err)
{
    AUTO_FREE struct node_socket *s = calloc(1, sizeof(*s));
    if (!s)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    s->addr.sun_family = AF_UNIX;
    if (!str_copy(str_of(path), s->addr.sun_path, sizeof(s->addr.sun_path)))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the path of the socket is too long: %s",
                       path);
    s->fd = listen_at(&s->addr, err);
    if (s->fd < 0)
        return s->fd;
    int rc = uv_poll_init(loop, &s->poll, s->fd);
    if (rc < 0) {
        close(s->fd);
        return err_set(err, ERR_INTERNAL, -rc, "cannot watch a listening socket: %s",
                       strerror(-rc));
    }
    uv_timer_init(loop, &s->retry);
    s->handles = 2;
    s->connected = connected;
    s->user = user;
    uv_poll_start(&s->poll, UV_READABLE, on_poll);
    *out = TAKE(s);
    return 0;
}

static void one_closed(struct node_socket *s)
{
    if (--s->handles)
        return;
    close(s->fd);
    free(s);
}

static void on_poll_closed(uv_handle_t *handle)
{
    one_closed(container_of((uv_poll_t *)handle, struct node_socket, poll));
}

static void on_retry_closed(uv_handle_t *handle)
{
    one_closed(container_of((uv_timer_t *)handle, struct node_socket, retry));
}

void node_socket_close(struct node_socket *s)
{
    unlink(s->addr.sun_path);
    uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    uv_close((uv_handle_t *)&s->retry, on_retry_closed);
}
