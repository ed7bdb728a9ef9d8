/*
 * A byte stream: a socket, a pipe, a virtio-serial port, or a tunnel through an HTTP/2 stream. The
 * protocol code above (HTTP/1, HTTP/2) sees only this.
 *
 * Rules for every kind of stream:
 * - One thread, the loop's. An io is embedded in its owner; no callback runs inside io_write(),
 *   io_read_start() or io_close(): events come from the loop.
 * - on_data hands over bytes that the callee must take (copy or use) before it returns. To slow the
 *   peer down, call io_read_stop(); reading starts stopped.
 * - io_write() takes all bytes: what cannot be sent now is copied and queued. Watch io_pending()
 *   and stop producing above IO_HIGH_WATER; on_drain tells when the queue has become empty.
 * - After on_eof writing still works. After on_error nothing works but io_close().
 * - After io_close() no event but on_closed comes; on_closed is the last, and only then may the
 *   owner be freed. io_close() may be called from inside any callback.
 */
#ifndef COMMON_IO_IO_H
#define COMMON_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct io;

struct io_events {
    void (*on_data)(struct io *io, const uint8_t *data, size_t n);
    void (*on_eof)(struct io *io);
    void (*on_drain)(struct io *io);
    void (*on_error)(struct io *io, int errnum); /* a positive errno */
    void (*on_closed)(struct io *io);
};

struct io_ops {
    void (*read_start)(struct io *io);
    void (*read_stop)(struct io *io);
    void (*writev)(struct io *io, const struct iovec *iov, int n);
    /* Queue n bytes of a file behind what was written. fd stays the caller's and must stay open
     * until on_drain, which always comes; before it nothing more may be written. A file that turns
     * out shorter is on_error(EIO). NULL where the stream cannot; then read and write. */
    void (*send_file)(struct io *io, int fd, int64_t offset, size_t n);
    void (*shutdown)(struct io *io);
    size_t (*pending)(const struct io *io);
    /* May be NULL: io_progress(). */
    void (*progress)(const struct io *io, uint64_t *written, uint64_t *delivered);
    void (*close)(struct io *io, bool abort);
};

struct io {
    const struct io_ops *ops;
    const struct io_events *events;
};

/* Queued bytes above which a producer should pause. */
#define IO_HIGH_WATER 262144

static inline void io_read_start(struct io *io)
{
    io->ops->read_start(io);
}

static inline void io_read_stop(struct io *io)
{
    io->ops->read_stop(io);
}

static inline void io_writev(struct io *io, const struct iovec *iov, int n)
{
    io->ops->writev(io, iov, n);
}

static inline void io_write(struct io *io, const void *data, size_t n)
{
    struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = n };
    io->ops->writev(io, &iov, 1);
}

static inline void io_send_file(struct io *io, int fd, int64_t offset, size_t n)
{
    io->ops->send_file(io, fd, offset, n);
}

/* Send end of file after everything queued; reading goes on. */
static inline void io_shutdown(struct io *io)
{
    io->ops->shutdown(io);
}

static inline size_t io_pending(const struct io *io)
{
    return io->ops->pending(io);
}

/* Bytes given to io_write() since the beginning, and (unless NULL) how many of them have reached
 * the peer for all that is known: a TCP peer must have acknowledged them. Holds after on_error and
 * after io_close() too. A stream that knows nothing says 0 of 0. */
static inline void io_progress(const struct io *io, uint64_t *written, uint64_t *delivered)
{
    *written = 0;
    if (delivered)
        *delivered = 0;
    if (io->ops->progress)
        io->ops->progress(io, written, delivered);
}

/* Close. What is queued is dropped; with abort a TCP peer sees a reset. To deliver first, wait for
 * io_pending() to be 0. */
static inline void io_close(struct io *io, bool abort)
{
    io->ops->close(io, abort);
}

#endif
