#include "common/http/http1_out.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define FILE_PIECE 32768

/* A file and what was written behind it. The first one on the list is being sent. */
struct out_file {
    struct list node;
    int fd;
    int64_t offset;
    size_t left;
    struct buf behind;
};

void http1_out_init(struct http1_out *o, struct io *io)
{
    *o = (struct http1_out){ .io = io };
    list_init(&o->files);
}

static void free_file(struct out_file *f)
{
    list_remove(&f->node);
    buf_deinit(&f->behind);
    close(f->fd);
    free(f);
}

void http1_out_deinit(struct http1_out *o)
{
    http_marks_deinit(&o->marks);
    list_for_each_safe (node, &o->files)
        free_file(container_of(node, struct out_file, node));
}

bool http1_out_empty(const struct http1_out *o)
{
    return list_empty(&o->files) && io_pending(o->io) == 0;
}

bool http1_out_writable(const struct http1_out *o)
{
    return list_empty(&o->files) && io_pending(o->io) < HTTP1_OUT_HIGH_WATER;
}

static void put(struct http1_out *o, const struct iovec *iov, int n)
{
    if (list_empty(&o->files)) {
        io_writev(o->io, iov, n);
        return;
    }
    struct out_file *last = container_of(o->files.prev, struct out_file, node);
    for (int i = 0; i < n; i++)
        if (!buf_append(&last->behind, iov[i].iov_base, iov[i].iov_len))
            o->failed = true;
}

void http1_out_bytes(struct http1_out *o, const void *data, size_t n)
{
    put(o, &(struct iovec){ (void *)(uintptr_t)data, n }, 1);
}

/* Read and write, for a stream that cannot send files. true when the whole file was written. */
static bool pump(struct http1_out *o, struct out_file *f)
{
    uint8_t piece[FILE_PIECE];
    while (f->left > 0 && io_pending(o->io) < IO_HIGH_WATER) {
        ssize_t n = pread(f->fd, piece, f->left < FILE_PIECE ? f->left : FILE_PIECE, f->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            o->failed = true;
            return false;
        }
        io_write(o->io, piece, (size_t)n);
        f->offset += n;
        f->left -= (size_t)n;
    }
    return f->left == 0;
}

/* The first file was sent: go on with what is behind it. */
static void file_done(struct http1_out *o, struct out_file *f)
{
    struct buf behind = f->behind;
    f->behind = (struct buf){ 0 };
    free_file(f);
    if (buf_len(&behind) > 0)
        io_write(o->io, buf_head(&behind), buf_len(&behind));
    buf_deinit(&behind);
}

/* Start or continue the files, as far as that goes without waiting. */
static void run_files(struct http1_out *o)
{
    while (!list_empty(&o->files) && !o->failed) {
        struct out_file *f = container_of(o->files.next, struct out_file, node);
        if (o->io->ops->send_file) {
            io_send_file(o->io, f->fd, f->offset, f->left);
            return;
        }
        if (!pump(o, f))
            return;
        file_done(o, f);
    }
}

static void put_file(struct http1_out *o, int fd, int64_t offset, size_t n)
{
    struct out_file *f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        o->failed = true;
        return;
    }
    f->fd = fd;
    f->offset = offset;
    f->left = n;
    bool first = list_empty(&o->files);
    list_push_back(&o->files, &f->node);
    if (first)
        run_files(o);
}

bool http1_out_on_drain(struct http1_out *o)
{
    if (!list_empty(&o->files)) {
        if (o->io->ops->send_file)
            file_done(o, container_of(o->files.next, struct out_file, node));
        run_files(o);
    }
    if (o->shutdown_wanted && list_empty(&o->files)) {
        o->shutdown_wanted = false;
        io_shutdown(o->io);
    }
    return http1_out_empty(o);
}

void http1_out_begin(struct http1_out *o, enum http1_framing framing, int64_t length)
{
    o->framing = framing;
    o->left = framing == HTTP1_LENGTH ? (uint64_t)length : 0;
    o->body = 0;
    o->blind = false;
}

/* `tail` bytes were written behind the end of the body so far. */
static void note_body(struct http1_out *o, size_t tail)
{
    uint64_t written, delivered;
    if (!list_empty(&o->files))
        o->blind = true;
    if (o->blind || !o->tracked)
        return;
    if (http_marks_full(&o->marks)) {
        io_progress(o->io, &written, &delivered);
        http_marks_forget(&o->marks, delivered);
    }
    io_progress(o->io, &written, NULL);
    http_marks_add(&o->marks, written - tail, o->body);
}

void http1_out_progress(const struct http1_out *o, uint64_t *sent, uint64_t *delivered)
{
    uint64_t written, reached;
    *sent = o->body;
    if (!delivered)
        return;
    *delivered = o->body;
    if (o->blind || !o->marks.items)
        return;
    io_progress(o->io, &written, &reached);
    *delivered = http_marks_between(&o->marks, reached);
}

/* How much of n body bytes may be sent. */
static size_t admit(struct http1_out *o, size_t n)
{
    if (o->framing == HTTP1_NONE)
        return 0;
    if (o->framing == HTTP1_LENGTH) {
        if (n > o->left)
            n = (size_t)o->left;
        o->left -= n;
    }
    return n;
}

/* One chunk of the pieces together. */
static void put_chunk(struct http1_out *o, const struct iovec *iov, int n)
{
    struct iovec all[HTTP_PIECES_MAX + 2];
    size_t total = 0;
    assert(n <= HTTP_PIECES_MAX);
    for (int i = 0; i < n; i++) {
        total += iov[i].iov_len;
        all[i + 1] = iov[i];
    }
    if (total == 0)
        return;
    char size[24];
    int len = snprintf(size, sizeof(size), "%zx\r\n", total);
    all[0] = (struct iovec){ size, (size_t)len };
    all[n + 1] = (struct iovec){ (void *)(uintptr_t) "\r\n", 2 };
    put(o, all, n + 2);
    o->body += total;
    note_body(o, 2);
}

void http1_out_pieces(struct http1_out *o, const struct iovec *iov, int n)
{
    if (o->framing == HTTP1_CHUNKED) {
        put_chunk(o, iov, n);
        return;
    }
    for (int i = 0; i < n; i++) {
        size_t admitted = admit(o, iov[i].iov_len);
        if (admitted == 0)
            continue;
        http1_out_bytes(o, iov[i].iov_base, admitted);
        o->body += admitted;
        note_body(o, 0);
    }
}

void http1_out_data(struct http1_out *o, const void *data, size_t n)
{
    http1_out_pieces(o, &(struct iovec){ (void *)(uintptr_t)data, n }, 1);
}

void http1_out_file(struct http1_out *o, int fd, int64_t offset, size_t n)
{
    n = admit(o, n);
    if (n == 0) {
        close(fd);
        return;
    }
    if (o->framing == HTTP1_CHUNKED) {
        char size[24];
        int len = snprintf(size, sizeof(size), "%zx\r\n", n);
        http1_out_bytes(o, size, (size_t)len);
    }
    o->body += n;
    o->blind = true;
    put_file(o, fd, offset, n);
    if (o->framing == HTTP1_CHUNKED)
        http1_out_bytes(o, "\r\n", 2);
}

int http1_out_end(struct http1_out *o, const struct http_field *trailers, size_t n)
{
    enum http1_framing framing = o->framing;
    o->framing = HTTP1_NONE;
    http_marks_deinit(&o->marks);
    if (framing == HTTP1_LENGTH && o->left > 0)
        return -EPIPE;
    if (framing != HTTP1_CHUNKED)
        return 0;
    int rc = http1_check_fields(trailers, n);
    struct buf end = { 0 };
    buf_puts(&end, "0\r\n");
    if (rc == 0)
        http1_write_fields(&end, trailers, n);
    buf_puts(&end, "\r\n");
    if (end.failed)
        o->failed = true;
    else
        http1_out_bytes(o, buf_head(&end), buf_len(&end));
    buf_deinit(&end);
    return rc;
}

void http1_out_shutdown(struct http1_out *o)
{
    if (list_empty(&o->files))
        io_shutdown(o->io);
    else
        o->shutdown_wanted = true;
}
