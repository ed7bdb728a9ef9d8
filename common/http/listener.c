#include "common/http/listener.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BACKLOG 1024
/* Connections taken in one turn of the loop. */
#define ACCEPTS_PER_TURN 64
/* How long to wait when the system has no descriptor or memory left. */
#define RETRY_MS 100

struct http_listener {
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct http1_server_options server;
    size_t heads; /* bytes, see HTTP1_HEADS_MAX */
    size_t max, count;
    int fd;
    uv_poll_t poll;
    uv_timer_t timer; /* accepting again; later, the end of the grace */
    struct list connections;
    int handles;
    bool accepting, closing;
    void (*on_closed)(void *user);
    void *user;
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct connection {
    struct list node;
    struct http_listener *listener;
    struct http1_conn *conn;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void start_accepting(struct http_listener *l)
{
    if (l->closing || l->accepting || l->count >= l->max)
        return;
    l->accepting = true;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void stop_accepting(struct http_listener *l)
{
    if (!l->accepting)
        return;
    l->accepting = false;
    uv_poll_stop(&l->poll);
}

static void free_if_closed(struct http_listener *l)
{
    if (!l->closing || l->handles > 0)
        return;
    if (l->on_closed)
        l->on_closed(l->user);
    free(l);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http_listener *l = handle->data;
    l->handles--;
    free_if_closed(l);
}

/* The last connection is gone: the timer of the grace is not needed any more. */
static void end_grace(struct http_listener *l)
{
    if (l->closing && l->count == 0 && !uv_is_closing((uv_handle_t *)&l->timer))
        uv_close((uv_handle_t *)&l->timer, on_handle_closed);
}

static void on_gone(struct http1_conn *conn, void *user)
{
    (void)conn;
    struct connection *c = user;
    struct http_listener *l = c->listener;
    list_remove(&c->node);
    free(c);
    l->count--;
    start_accepting(l);
    end_grace(l);
}

static void serve(struct http_listener *l, int fd)
{
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    struct connection *c = calloc(1, sizeof(*c));
    if (c) {
        c->listener = l;
        c->conn = http1_serve_fd(l->loop, l->defer, fd, &l->server, on_gone, c);
    }
    if (!c || !c->conn) {
        free(c);
        close(fd);
        return;
    }
    list_push_back(&l->connections, &c->node);
    l->count++;
}

static void on_retry(uv_timer_t *timer)
{
    start_accepting(container_of(timer, struct http_listener, timer));
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct http_listener *l = container_of(poll, struct http_listener, poll);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (l->count >= l->max) {
            stop_accepting(l);
            return;
        }
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(l, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays readable: polling on would spin. */
            stop_accepting(l);
            uv_timer_start(&l->timer, on_retry, RETRY_MS, 0);
            return;
        } else if (errno == EAGAIN) {
            return;
        }
        /* Any other error belongs to that one connection. */
    }
}

union address {
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static int make_address(const struct http_listener_options *o, union address *a, socklen_t *n,
                        struct err *err)
{
    *a = (union address){ 0 };
    if (o->unix_path) {
        a->un.sun_family = AF_UNIX;
        if (!str_copy(str_of(o->unix_path), a->un.sun_path, sizeof(a->un.sun_path)))
            return err_set(err, ERR_INVALID, ENAMETOOLONG,
                           "the path of the socket is too long (more than %zu bytes): %s",
                           sizeof(a->un.sun_path) - 1, o->unix_path);
        *n = sizeof(a->un);
    } else if (inet_pton(AF_INET, o->host, &a->in4.sin_addr) == 1) {
        a->in4.sin_family = AF_INET;
        a->in4.sin_port = htons(o->port);
        *n = sizeof(a->in4);
    } else if (inet_pton(AF_INET6, o->host, &a->in6.sin6_addr) == 1) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons(o->port);
        *n = sizeof(a->in6);
    } else {
        return err_set(err, ERR_INVALID, EINVAL, "%s is no numeric IPv4 or IPv6 address", o->host);
    }
    return 0;
}

/* A socket file that nobody listens on any more is left over from a process that died. */
static void remove_stale(const union address *a, socklen_t n)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, &a->sa, n) < 0 && errno == ECONNREFUSED)
        unlink(a->un.sun_path);
}

static int bind_failed(const struct http_listener_options *o, int errnum, struct err *err)
{
    if (o->unix_path)
        return errnum == EADDRINUSE
                   ? err_set(err, ERR_UNAVAILABLE, errnum, "socket %s is in use", o->unix_path)
                   : err_set(err, ERR_UNAVAILABLE, errnum, "cannot listen on socket %s: %s",
                             o->unix_path, strerror(errnum));
    if (errnum == EADDRINUSE)
        return err_set(err, ERR_UNAVAILABLE, errnum, "port %u on %s is in use", o->port, o->host);
    if (errnum == EADDRNOTAVAIL)
        return err_set(err, ERR_UNAVAILABLE, errnum, "this machine has no address %s", o->host);
    if (errnum == EACCES)
        return err_set(err, ERR_DENIED, errnum, "not permitted to listen on port %u of %s", o->port,
                       o->host);
    return err_set(err, ERR_UNAVAILABLE, errnum, "cannot listen on port %u of %s: %s", o->port,
                   o->host, strerror(errnum));
}

static int open_socket(const struct http_listener_options *o, struct err *err)
{
    union address a;
    socklen_t n = 0;
    int rc = make_address(o, &a, &n, err);
    if (rc < 0)
        return rc;
    if (o->unix_path)
        remove_stale(&a, n);

    AUTO_CLOSE int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bind_failed(o, errno, err);
    int on = 1;
    if (!o->unix_path)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, &a.sa, n) < 0 || listen(fd, BACKLOG) < 0)
        return bind_failed(o, errno, err);
    return TAKE_FD(fd);
}

int http_listener_new(struct http_listener **out, uv_loop_t *loop, struct defer_queue *defer,
                      const struct http_listener_options *options, struct err *err)
{
    AUTO_CLOSE int fd = open_socket(options, err);
    if (fd < 0) {
        int rc = fd;
        fd = -1;
        return rc;
    }
    AUTO_FREE struct http_listener *l = calloc(1, sizeof(*l));
    if (!l)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    l->loop = loop;
    l->defer = defer;
    l->server = options->server;
    l->server.heads = &l->heads;
    l->max = options->max_connections ? options->max_connections : HTTP_LISTENER_MAX;
    list_init(&l->connections);
    if (options->unix_path)
        str_copy(str_of(options->unix_path), l->unix_path, sizeof(l->unix_path));
    int rc = uv_poll_init(loop, &l->poll, fd);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot watch a listening socket: %s",
                       strerror(-rc));
    uv_timer_init(loop, &l->timer);
    l->poll.data = l->timer.data = l;
    l->handles = 2;
    l->fd = TAKE_FD(fd);
    start_accepting(l);
    *out = TAKE(l);
    return 0;
}

uint16_t http_listener_port(const struct http_listener *l)
{
    union address a;
    socklen_t n = sizeof(a);
    if (getsockname(l->fd, &a.sa, &n) < 0)
        return 0;
    if (a.sa.sa_family == AF_INET)
        return ntohs(a.in4.sin_port);
    return a.sa.sa_family == AF_INET6 ? ntohs(a.in6.sin6_port) : 0;
}

size_t http_listener_connections(const struct http_listener *l)
{
    return l->count;
}

static void on_grace_over(uv_timer_t *timer)
{
    struct http_listener *l = container_of(timer, struct http_listener, timer);
    list_for_each_safe (node, &l->connections)
        http1_conn_abort(container_of(node, struct connection, node)->conn);
}

void http_listener_close(struct http_listener *l, unsigned grace_ms, void (*on_closed)(void *user),
                         void *user)
{
    assert(!l->closing);
    l->closing = true;
    l->on_closed = on_closed;
    l->user = user;
    uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    close(l->fd);
    if (l->unix_path[0])
        unlink(l->unix_path);
    uv_timer_start(&l->timer, on_grace_over, grace_ms, 0);
    list_for_each_safe (node, &l->connections)
        http1_conn_drain(container_of(node, struct connection, node)->conn);
    end_grace(l);
}
