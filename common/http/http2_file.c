/* Files as bodies: straight into the frame while the page cache has them, else a piece at a time on
 * the thread pool. */
#include "common/http/http2_internal.h"

#include "common/base/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT /* older C libraries */
#define RWF_NOWAIT 0x8
#endif

static void file_free(struct http2_file *f)
{
    list_remove(&f->node);
    close(f->fd);
    buf_deinit(&f->behind);
    free(f);
}

void http2_file_drop_all(struct http2_stream *st)
{
    st->behind = 0;
    list_for_each_safe (node, &st->files) {
        /* The first one's descriptor may be in use on the thread pool. */
        if (!(st->reading && node == st->files.next))
            file_free(container_of(node, struct http2_file, node));
    }
}

/* Take files that are read to their end off the list; what was written behind them follows. */
static bool next_file(struct http2_stream *st, struct http2_file **out)
{
    while (!list_empty(&st->files)) {
        struct http2_file *f = container_of(st->files.next, struct http2_file, node);
        *out = f;
        if (f->left > 0)
            return true;
        size_t n = buf_len(&f->behind);
        if (n > 0 && !buf_append(&st->out, buf_head(&f->behind), n))
            return false;
        st->behind -= n;
        file_free(f);
    }
    *out = NULL;
    return true;
}

static void on_read(uv_fs_t *req)
{
    struct http2_stream *st = container_of(req, struct http2_stream, read);
    struct http2_file *f = container_of(st->files.next, struct http2_file, node);
    ssize_t got = req->result;
    uv_fs_req_cleanup(req);
    st->reading = false;
    if (st->gone) {
        http2_file_drop_all(st);
        http2_stream_maybe_free(st);
        return;
    }
    if (got <= 0 || !buf_append(&st->out, st->read_buf, (size_t)got)) {
        /* The length was promised; a file that became shorter cannot keep it. */
        int errnum = got > 0 ? ENOMEM : got < 0 ? (int)-got : EIO;
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, errnum);
        return;
    }
    f->offset += got;
    f->left -= (size_t)got;
    http2_stream_filled(st, (size_t)got);
}

/* Read on the thread pool. */
static void begin_read(struct http2_stream *st, const struct http2_file *f)
{
    if (!st->read_buf)
        st->read_buf = malloc(HTTP2_FILE_READ);
    if (!st->read_buf) {
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
        return;
    }
    uv_buf_t to = uv_buf_init((char *)st->read_buf,
                              f->left < HTTP2_FILE_READ ? (unsigned)f->left : HTTP2_FILE_READ);
    int rc = uv_fs_read(st->h->loop, &st->read, f->fd, &to, 1, f->offset, on_read);
    st->reading = rc == 0;
    if (rc < 0)
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, -rc);
}

/* Read what needs no waiting. -EAGAIN when nothing does, or when the file system cannot tell. */
static ssize_t read_cached(int fd, uint8_t *dst, size_t n, int64_t offset)
{
    struct iovec iov = { .iov_base = dst, .iov_len = n };
    if (FAULT_POINT("http2.read-cached"))
        return -EAGAIN;
    ssize_t got = syscall(SYS_preadv2, fd, &iov, 1UL, (unsigned long)offset, 0UL, RWF_NOWAIT);
    if (got >= 0)
        return got;
    bool cannot = errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == EINTR;
    return cannot ? -EAGAIN : -errno;
}

size_t http2_file_read(struct http2_stream *st, uint8_t *dst, size_t n)
{
    struct http2_file *f = NULL;
    if (st->reading || st->gone)
        return 0;
    if (!next_file(st, &f)) {
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
        return 0;
    }
    if (!f || buf_len(&st->out) > 0)
        return 0;
    ssize_t got = read_cached(f->fd, dst, n < f->left ? n : f->left, f->offset);
    if (got == -EAGAIN) {
        begin_read(st, f);
        return 0;
    }
    if (got <= 0) {
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, got < 0 ? (int)-got : EIO);
        return 0;
    }
    f->offset += got;
    f->left -= (size_t)got;
    if (f->left == 0 && !next_file(st, &f))
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
    return (size_t)got;
}

void http2_file_add(struct http2_stream *st, int fd, int64_t offset, size_t n)
{
    struct http2_file *f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
        return;
    }
    f->fd = fd;
    f->offset = offset;
    f->left = n;
    list_push_back(&st->files, &f->node);
}
