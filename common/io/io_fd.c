/*
 * How a turn goes: the poll handle says what is ready, at most IO_FD_READS_PER_TURN reads and
 * IO_FD_WRITES_PER_TURN writes follow, and what is left is done in the next turn: a level-triggered
 * descriptor wakes the loop again by itself, the edge-triggered port needs the idle handle.
 *
 * Reading goes through one buffer per thread, so that an idle stream costs its struct alone.
 */
#include "common/io/io_fd.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

/* As many pieces as anything is written in, and one. */
#define IO_FD_IOV_MAX 8

enum read_result { READ_LEFT, READ_DRAINED, READ_OVER };

static _Thread_local uint8_t read_buffer[IO_FD_READ_LARGE];

static void on_poll(uv_poll_t *poll, int status, int events);

static struct io_fd *of(struct io *io)
{
    return container_of(io, struct io_fd, io);
}

static bool is_over(const struct io_fd *s)
{
    return s->failed || s->closing;
}

static size_t pending(const struct io *io)
{
    const struct io_fd *s = container_of(io, struct io_fd, io);
    return buf_len(&s->out) + s->file.left;
}

/* Wait for what is of use now. A hang-up is watched only while nothing is read: otherwise the read
 * itself finds it. */
static void watch(struct io_fd *s)
{
    if (s->closing)
        return;
    int events = 0;
    if (s->kind == IO_FD_PORT) {
        events = s->failed ? 0 : UV_READABLE;
    } else if (!s->failed) {
        if (s->reading && !s->eof)
            events |= UV_READABLE;
        else if (!s->eof && !s->hung_up)
            events |= UV_DISCONNECT;
        if (s->blocked)
            events |= UV_WRITABLE;
    }
    if (events == s->watched)
        return;
    s->watched = events;
    if (events)
        uv_poll_start(&s->poll, events, on_poll);
    else
        uv_poll_stop(&s->poll);
}

/* Of what the kernel took, what the peer has. Only TCP tells. */
static uint64_t reached(const struct io_fd *s)
{
    int family, unacknowledged;
    socklen_t n = sizeof(family);
    if (!s->is_socket || getsockopt(s->fd, SOL_SOCKET, SO_DOMAIN, &family, &n) < 0 ||
        (family != AF_INET && family != AF_INET6) || ioctl(s->fd, SIOCOUTQ, &unacknowledged) < 0 ||
        unacknowledged < 0)
        return s->taken;
    /* The end of file counts for one too. */
    return (uint64_t)unacknowledged < s->taken ? s->taken - (uint64_t)unacknowledged : 0;
}

static void progress(const struct io *io, uint64_t *written, uint64_t *delivered)
{
    const struct io_fd *s = container_of(io, struct io_fd, io);
    *written = s->written;
    if (delivered)
        *delivered = is_over(s) ? s->reached : reached(s);
}

static void fail(struct io_fd *s, int errnum)
{
    if (is_over(s))
        return;
    s->reached = reached(s);
    s->failed = true;
    s->blocked = false;
    buf_deinit(&s->out);
    s->file.left = 0;
    watch(s);
    s->io.events->on_error(&s->io, errnum);
}

/* READ_DRAINED only after the descriptor itself said that nothing is left. */
static enum read_result read_some(struct io_fd *s)
{
    size_t got = 0;
    for (int i = 0; i < IO_FD_READS_PER_TURN && got < IO_FD_READ_PER_TURN; i++) {
        if (!s->reading || s->eof || is_over(s))
            return READ_OVER;
        size_t room = s->reads_large ? IO_FD_READ_LARGE : IO_FD_READ_SIZE;
        ssize_t n = read(s->fd, read_buffer, room);
        if (n > 0) {
            got += (size_t)n;
            s->io.events->on_data(&s->io, read_buffer, (size_t)n);
            /* A short read from a socket has most likely emptied it. */
            if (s->is_socket && (size_t)n < room)
                return READ_LEFT;
        } else if (n == 0) {
            if (s->kind == IO_FD_PORT)
                return READ_DRAINED; /* no host is connected now */
            s->eof = true;
            s->io.events->on_eof(&s->io);
            return READ_DRAINED;
        } else if (errno == EAGAIN) {
            return READ_DRAINED;
        } else if (errno != EINTR) {
            fail(s, errno);
            return READ_OVER;
        }
    }
    return READ_LEFT;
}

/* What a write wrote, 0 when it would block, or -errno. With a file to follow, a socket may keep
 * the bytes for the file's first packet. */
static ssize_t write_out(struct io_fd *s, const struct iovec *iov, int count)
{
    int more = s->file.left > 0 ? MSG_MORE : 0;
    for (;;) {
        ssize_t n;
        if (s->is_socket) {
            struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
                                  .msg_iovlen = (size_t)count };
            n = sendmsg(s->fd, &msg, MSG_NOSIGNAL | more);
        } else {
            n = writev(s->fd, iov, count);
        }
        if (n >= 0) {
            s->taken += (size_t)n;
            return n;
        }
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

/* The same for a piece of the file. */
static ssize_t write_file(struct io_fd *s)
{
    size_t most = s->kind == IO_FD_PORT ? IO_FD_PORT_SIZE : IO_FD_FILE_SIZE;
    size_t want = s->file.left < most ? s->file.left : most;
    off_t offset = s->file.offset;
    ssize_t n;
    do
        n = sendfile(s->fd, s->file.fd, &offset, want);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        s->taken += (size_t)n;
        return n;
    }
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n < 0 && errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (n < 0) {
        /* No sendfile for this pair of descriptors. */
        if (want > sizeof(read_buffer))
            want = sizeof(read_buffer);
        do
            n = pread(s->file.fd, read_buffer, want, s->file.offset);
        while (n < 0 && errno == EINTR);
        if (n > 0)
            return write_out(s, &(struct iovec){ read_buffer, (size_t)n }, 1);
        if (n < 0)
            return -errno;
    }
    return -EIO; /* the file became shorter */
}

static void more(struct io_fd *s);

/* Nothing can be written any more. The peer may have said why before it closed: that is read first,
 * from the loop, where on_error follows. */
static void write_failed(struct io_fd *s, int errnum)
{
    s->error = errnum;
    s->blocked = false;
    buf_deinit(&s->out);
    s->file.left = 0;
    more(s);
}

/* Everything was handed to the kernel. */
static void drained(struct io_fd *s)
{
    if (s->shutdown_wanted) {
        s->shutdown_wanted = false;
        shutdown(s->fd, SHUT_WR);
    }
    if (!s->queued)
        return;
    s->queued = false;
    s->io.events->on_drain(&s->io);
}

static void flush(struct io_fd *s)
{
    size_t most = s->kind == IO_FD_PORT ? IO_FD_PORT_SIZE : IO_FD_WRITE_SIZE;
    s->blocked = false;
    for (int i = 0; i < IO_FD_WRITES_PER_TURN && !is_over(s) && pending(&s->io) > 0; i++) {
        size_t n = buf_len(&s->out);
        ssize_t wrote;
        if (n > 0) {
            n = n < most ? n : most;
            wrote = write_out(s, &(struct iovec){ buf_head(&s->out), n }, 1);
            if (wrote > 0)
                buf_consume(&s->out, (size_t)wrote);
        } else {
            wrote = write_file(s);
            if (wrote > 0) {
                s->file.offset += wrote;
                s->file.left -= (size_t)wrote;
            }
        }
        if (wrote < 0) {
            write_failed(s, (int)-wrote);
            return;
        }
        if (wrote == 0) {
            s->writable = false;
            s->blocked = s->kind == IO_FD_STREAM;
            return;
        }
    }
    if (is_over(s) || s->error)
        return;
    if (pending(&s->io) == 0) {
        buf_deinit(&s->out);
        drained(s);
    } else if (s->kind == IO_FD_PORT) {
        more(s);
    } else {
        s->blocked = true;
    }
}

/* The descriptor reported an error. What was received before it is still delivered. */
static void poll_failed(struct io_fd *s)
{
    s->watched = 0; /* libuv stopped the handle */
    if (s->reading && !s->eof && read_some(s) == READ_LEFT)
        return;
    if (is_over(s))
        return;
    int errnum = 0;
    socklen_t n = sizeof(errnum);
    if (!s->is_socket || getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &errnum, &n) < 0 || errnum == 0)
        errnum = EPIPE;
    fail(s, errnum);
}

static void port_ready(struct io_fd *s)
{
    struct epoll_event event;
    int n = epoll_wait(s->epoll, &event, 1, 0);
    if (n < 1)
        return;
    if (event.events & EPOLLOUT)
        s->writable = true;
    if (s->writable)
        flush(s);
    if (read_some(s) == READ_LEFT)
        more(s);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct io_fd *s = container_of(poll, struct io_fd, poll);
    if (s->kind == IO_FD_PORT) {
        port_ready(s);
    } else if (status < 0) {
        poll_failed(s);
    } else {
        if (events & UV_WRITABLE)
            flush(s);
        if (events & UV_READABLE)
            read_some(s);
        if ((events & UV_DISCONNECT) && !s->reading)
            s->hung_up = true;
    }
    watch(s);
}

static void on_more(uv_idle_t *idle)
{
    struct io_fd *s = container_of(idle, struct io_fd, more);
    uv_idle_stop(idle);
    if (s->error) {
        if (read_some(s) == READ_LEFT)
            more(s);
        else
            fail(s, s->error);
        return;
    }
    if (s->kind == IO_FD_STREAM || s->writable)
        flush(s);
    if (s->kind == IO_FD_PORT && read_some(s) == READ_LEFT)
        more(s);
    watch(s);
}

static void more(struct io_fd *s)
{
    if (!s->closing)
        uv_idle_start(&s->more, on_more);
}

static void read_start(struct io *io)
{
    struct io_fd *s = of(io);
    if (s->reading || is_over(s))
        return;
    s->reading = true;
    if (s->kind == IO_FD_PORT)
        more(s); /* an edge may have passed unread */
    watch(s);
}

static void read_stop(struct io *io)
{
    struct io_fd *s = of(io);
    if (!s->reading)
        return;
    s->reading = false;
    watch(s);
}

static size_t total(const struct iovec *iov, int count)
{
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    return n;
}

/* Send what waits and the new bytes at once; returns how many of the new ones were sent, or -errno.
 */
static ssize_t write_now(struct io_fd *s, const struct iovec *iov, int count)
{
    size_t waiting = buf_len(&s->out);
    struct iovec all[IO_FD_IOV_MAX];
    if (waiting > 0) {
        if (count >= IO_FD_IOV_MAX)
            return 0;
        all[0] = (struct iovec){ buf_head(&s->out), waiting };
        memcpy(all + 1, iov, (size_t)count * sizeof(*iov));
        iov = all;
        count++;
    }
    ssize_t n = write_out(s, iov, count);
    if (n < 0)
        return n;
    size_t old = (size_t)n < waiting ? (size_t)n : waiting;
    buf_consume(&s->out, old);
    return n - (ssize_t)old;
}

static void fd_writev(struct io *io, const struct iovec *iov, int count)
{
    struct io_fd *s = of(io);
    assert(s->file.left == 0);
    size_t done = 0, n = total(iov, count);
    s->written += n;
    if (is_over(s) || s->error)
        return;

    size_t may_wait = s->gathers ? IO_FD_GATHER_MAX : 0;
    /* The port gets no write outside of its turn: its bound is what keeps the guest responsive. */
    if (s->kind == IO_FD_STREAM && !s->blocked && buf_len(&s->out) + n > may_wait) {
        ssize_t wrote = write_now(s, iov, count);
        if (wrote < 0) {
            write_failed(s, (int)-wrote);
            return;
        }
        done = (size_t)wrote;
        s->blocked = done < n;
    }
    for (int i = 0; i < count; i++) {
        size_t skip = done < iov[i].iov_len ? done : iov[i].iov_len;
        done -= skip;
        if (!buf_append(&s->out, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip)) {
            write_failed(s, ENOMEM);
            return;
        }
    }
    if (pending(io) > 0) {
        s->queued = true;
        if (s->kind == IO_FD_STREAM ? !s->blocked : s->writable)
            more(s);
        watch(s);
    }
}

static void fd_send_file(struct io *io, int fd, int64_t offset, size_t n)
{
    struct io_fd *s = of(io);
    assert(s->file.left == 0);
    s->written += n;
    if (is_over(s) || s->error)
        return;
    s->file.fd = fd;
    s->file.offset = offset;
    s->file.left = n;
    s->queued = true;
    more(s);
}

static void fd_shutdown(struct io *io)
{
    struct io_fd *s = of(io);
    if (is_over(s) || !s->is_socket)
        return;
    if (pending(io) == 0)
        shutdown(s->fd, SHUT_WR);
    else
        s->shutdown_wanted = true;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct io_fd *s = handle->data;
    if (--s->open_handles == 0)
        s->io.events->on_closed(&s->io);
}

static void fd_close(struct io *io, bool abort)
{
    struct io_fd *s = of(io);
    if (s->closing)
        return;
    if (!s->failed)
        s->reached = reached(s);
    s->closing = true;
    s->blocked = false;
    buf_deinit(&s->out);
    s->file.left = 0;
    uv_close((uv_handle_t *)&s->poll, on_handle_closed);
    uv_close((uv_handle_t *)&s->more, on_handle_closed);
    if (abort && s->is_socket) {
        struct linger linger = { .l_onoff = 1 };
        setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    close(s->fd);
    if (s->epoll >= 0)
        close(s->epoll);
}

static const struct io_ops fd_ops = {
    .read_start = read_start,
    .read_stop = read_stop,
    .writev = fd_writev,
    .send_file = fd_send_file,
    .shutdown = fd_shutdown,
    .pending = pending,
    .progress = progress,
    .close = fd_close,
};

static int set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int io_fd_init(struct io_fd *s, uv_loop_t *loop, int fd, enum io_fd_kind kind,
               const struct io_events *events)
{
    int type;
    socklen_t n = sizeof(type);
    *s = (struct io_fd){
        .io = { .ops = &fd_ops, .events = events },
        .loop = loop,
        .kind = kind,
        .fd = fd,
        .epoll = -1,
        .is_socket = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0,
        .writable = true,
    };
    int rc = set_flags(fd);
    if (rc < 0)
        return rc;

    AUTO_CLOSE int epoll = -1;
    if (kind == IO_FD_PORT) {
        epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            return -errno;
    }
    rc = uv_poll_init(loop, &s->poll, epoll >= 0 ? epoll : fd);
    if (rc < 0)
        return rc;
    uv_idle_init(loop, &s->more);
    s->poll.data = s->more.data = s;
    s->open_handles = 2;
    s->epoll = TAKE_FD(epoll);
    watch(s);
    return 0;
}
