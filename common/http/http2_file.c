/* Files as bodies: read on the thread pool, a piece at a time, into the stream's output. */
#include "common/http/http2_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

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
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR,
                           got == 0  ? EIO
                           : got < 0 ? (int)-got
                                     : ENOMEM);
        return;
    }
    f->offset += got;
    f->left -= (size_t)got;
    http2_stream_filled(st, (size_t)got);
    if (!st->gone)
        http2_file_continue(st);
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

void http2_file_continue(struct http2_stream *st)
{
    struct http2_file *f;
    if (st->reading || st->gone || list_empty(&st->files))
        return;
    if (!st->read_buf)
        st->read_buf = malloc(HTTP2_FILE_READ);
    if (!st->read_buf || !next_file(st, &f)) {
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, ENOMEM);
        return;
    }
    if (!f) {
        free(st->read_buf);
        st->read_buf = NULL;
        return;
    }
    if (buf_len(&st->out) >= HTTP2_FILE_READ)
        return;
    uv_buf_t to = uv_buf_init((char *)st->read_buf,
                              f->left < HTTP2_FILE_READ ? (unsigned)f->left : HTTP2_FILE_READ);
    int rc = uv_fs_read(st->h->loop, &st->read, f->fd, &to, 1, f->offset, on_read);
    st->reading = rc == 0;
    if (rc < 0)
        http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR, -rc);
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
    http2_file_continue(st);
    http2_stream_sent(st);
}
