/* A byte stream over a non-blocking file descriptor, by uv_poll: TCP and unix sockets, pipes, and
 * with IO_FD_PORT the virtio-serial port, whose hang-ups mean nothing. */
#ifndef COMMON_IO_IO_FD_H
#define COMMON_IO_IO_FD_H

#include "common/base/buf.h"
#include "common/io/io.h"

#include <uv.h>

enum io_fd_kind {
    IO_FD_STREAM, /* read() == 0 is end of file, hang-up is an error */
    IO_FD_PORT,   /* virtio-serial: read() == 0 and POLLHUP are ignored, never spun on; the port is
                     watched edge-triggered through an epoll of its own */
};

/* Bounded work per turn of the loop, so that one busy stream does not starve the rest. The port's
 * pieces are small because the guest stands still while its device takes one. */
#define IO_FD_READS_PER_TURN  32
#define IO_FD_READ_PER_TURN   2097152
#define IO_FD_READ_SIZE       65536
#define IO_FD_READ_LARGE      1048576
#define IO_FD_WRITES_PER_TURN 4
#define IO_FD_WRITE_SIZE      262144
#define IO_FD_FILE_SIZE       1048576
#define IO_FD_PORT_SIZE       32768

/* Where the owner set `gathers`, up to this many bytes wait for the end of the turn, to be sent
 * together: an answer is often written in several small pieces, and each packet costs more than all
 * of them. */
#define IO_FD_GATHER_MAX 4096

/* The program ignores SIGPIPE (pipes and sendfile(2) would raise it). */
struct io_fd {
    struct io io;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_idle_t more; /* runs when work was left over by the bound per turn, or to send what waits */
    enum io_fd_kind kind;
    int fd;
    int epoll; /* IO_FD_PORT only, else -1 */
    int open_handles;
    int watched; /* the events that the poll handle waits for now */
    int error;   /* a write failed inside a call; reported from the loop */
    bool is_socket, reading, eof, hung_up, failed, closing, shutdown_wanted;
    bool reads_large; /* set by the owner while it uses what it gets at once: IO_FD_READ_LARGE */
    bool gathers;     /* set by the owner of an IO_FD_STREAM: see IO_FD_GATHER_MAX */
    bool queued;      /* something waited in the queue: on_drain is due when it is empty */
    bool blocked;     /* what waits is sent when the descriptor becomes writable */
    bool writable;    /* IO_FD_PORT: no EAGAIN since the last edge */
    uint64_t written; /* bytes that callers gave */
    uint64_t taken;   /* bytes that the kernel took */
    uint64_t reached; /* bytes that the peer has, noted when the connection ended */
    struct buf out;
    struct {
        int fd;
        int64_t offset;
        size_t left;
    } file; /* sent after `out` is empty */
};

/* Take over fd (owned from now on, made non-blocking and close-on-exec). Returns 0 or -errno; on
 * failure fd is still the caller's. */
int io_fd_init(struct io_fd *s, uv_loop_t *loop, int fd, enum io_fd_kind kind,
               const struct io_events *events);

#endif
