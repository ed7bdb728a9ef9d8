/* GET and HEAD /files. */
#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "common/http/router.h"
#include "envd/core/path.h"
#include "envd/files/access.h"
#include "envd/files/answer.h"
#include "envd/files/byteranges.h"
#include "envd/files/content_type.h"
#include "envd/files/disposition.h"
#include "envd/files/gzip_response.h"
#include "envd/files/http_date.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

/* Files of /proc and /sys tell a size of 0; of those at most this much is sent. */
#define SIZELESS_MAX (1U << 20)

struct download {
    struct http_stream *s;
    struct envd *envd;
    const struct http_head *head; /* of the request */
    const char *path;
    int fd; /* owned */
    int64_t size;
    time_t mtime;
    const char *content_type;
    struct http_field fields[8];
    size_t nfields;
};

static int open_file(const char *path, int *fd, struct stat *st, struct err *err)
{
    /* Looked at before it is opened: opening a device may have effects. */
    if (stat(path, st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, ERR_NOT_FOUND, errno, "path '%s' does not exist", path);
        if (errno == ENAMETOOLONG)
            return err_set(err, ERR_INVALID, errno, "path '%s' is too long", path);
        return err_set(err, ERR_INTERNAL, errno, "cannot read '%s': %s", path, strerror(errno));
    }
    if (S_ISDIR(st->st_mode))
        return err_set(err, ERR_INVALID, EISDIR, "path '%s' is a directory", path);
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_INVALID, EINVAL, "path '%s' is not a regular file", path);
    AUTO_CLOSE int opened = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened < 0 || fstat(opened, st) < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, errno,
                       "cannot open '%s': %s", path, strerror(errno));
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_INVALID, EINVAL, "path '%s' is not a regular file", path);
    *fd = TAKE_FD(opened);
    return 0;
}

static void add_field(struct download *d, struct str name, const char *value)
{
    if (value)
        d->fields[d->nfields++] = (struct http_field){ name, str_of(value) };
}

static const char *type_of(const struct download *d, struct str front)
{
    const char *by_name = content_type_by_name(d->path);
    return by_name ? by_name : content_type_sniff(front);
}

static void set_type(struct download *d)
{
    char front[CONTENT_TYPE_SNIFF];
    ssize_t n = pread(d->fd, front, sizeof(front), 0);
    d->content_type = type_of(d, (struct str){ front, n > 0 ? (size_t)n : 0 });
}

static void set_fields(struct download *d)
{
    const char *slash = strrchr(d->path, '/');
    struct arena *arena = &d->s->arena;
    char modified[HTTP_DATE_MAX];
    http_date_format(d->mtime, modified);
    add_field(d, STR("accept-ranges"), "bytes");
    add_field(d, STR("vary"), "Accept-Encoding");
    add_field(d, STR("content-disposition"),
              disposition_inline(arena, str_of(slash ? slash + 1 : d->path)));
    if (d->mtime > 0)
        add_field(d, STR("last-modified"), arena_dup(arena, str_of(modified)));
}

static void send_head_only(struct download *d, int status, int64_t content_length)
{
    struct http_head head = { .status = status,
                              .content_length = content_length,
                              .fields = d->fields,
                              .nfields = d->nfields };
    d->s->events = &HTTP_EVENTS_NONE;
    if (http_send_head(d->s, &head, true) < 0)
        http_reset(d->s);
}

/* Send a piece of the file as the body. */
static void send_part(struct download *d, int status, int64_t first, int64_t length)
{
    struct http_head head = {
        .status = status, .content_length = length, .fields = d->fields, .nfields = d->nfields
    };
    d->s->events = &HTTP_EVENTS_NONE;
    if (http_send_head(d->s, &head, false) < 0) {
        http_reset(d->s);
        return;
    }
    http_send_file(d->s, TAKE_FD(d->fd), first, (size_t)length);
    http_send_end(d->s);
}

static void send_whole(struct download *d)
{
    add_field(d, STR("content-type"), d->content_type);
    if (d->size == 0 || str_eq(d->head->method, STR("HEAD")))
        send_head_only(d, 200, d->size);
    else
        send_part(d, 200, 0, d->size);
}

static void send_gzip(struct download *d)
{
    add_field(d, STR("content-type"), d->content_type);
    add_field(d, STR("content-encoding"), "gzip");
    if (str_eq(d->head->method, STR("HEAD")))
        send_head_only(d, 200, -1);
    else
        gzip_response_send(d->s, &d->envd->defer, TAKE_FD(d->fd), d->size, d->fields, d->nfields);
}

static void send_ranges(struct download *d, const struct range *ranges, int n)
{
    struct arena *arena = &d->s->arena;
    if (n < 0) {
        struct http_field field = { STR("content-range"),
                                    str_of(arena_printf(arena, "bytes */%" PRId64, d->size)) };
        answer_error_field(d->s, 416, "the requested range is not satisfiable", &field);
    } else if (n == 1) {
        add_field(d, STR("content-type"), d->content_type);
        add_field(d, STR("content-range"),
                  arena_printf(arena, "bytes %" PRId64 "-%" PRId64 "/%" PRId64, ranges[0].first,
                               ranges[0].first + ranges[0].length - 1, d->size));
        send_part(d, 206, ranges[0].first, ranges[0].length);
    } else {
        byteranges_send(d->s, TAKE_FD(d->fd), d->size, d->content_type, ranges, (size_t)n,
                        d->fields, d->nfields);
    }
}

/* true when the file, of size 0, had bytes all the same and was answered. */
static bool send_sizeless(struct download *d)
{
    struct buf text = { 0 };
    ssize_t n = 1;
    while (n > 0 && buf_len(&text) < SIZELESS_MAX) {
        uint8_t *to = buf_reserve(&text, 65536);
        n = to ? read(d->fd, to, 65536) : -1;
        if (n > 0)
            buf_commit(&text, (size_t)n);
    }
    bool found = buf_len(&text) > 0;
    if (found)
        http_respond_fields(d->s, 200, type_of(d, buf_str(&text)), d->fields, d->nfields,
                            buf_head(&text), buf_len(&text));
    buf_deinit(&text);
    return found;
}

static bool is_conditional(const struct http_head *head)
{
    static const char *const names[] = { "range", "if-range", "if-none-match",
                                         "if-modified-since" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (http_field_get(head, names[i]).p)
            return true;
    return false;
}

/* Ranges and conditions are about the bytes of the file itself. */
static enum encoding encoding_of(const struct download *d)
{
    if (is_conditional(d->head))
        return ENCODING_IDENTITY;
    return conditions_encoding(http_field_get(d->head, "accept-encoding"));
}

static void answer_file(struct download *d, enum encoding encoding)
{
    struct range ranges[RANGES_MAX];
    bool is_get = str_eq(d->head->method, STR("GET"));
    if (d->size == 0 && is_get && send_sizeless(d))
        return;
    set_type(d);
    struct str range = http_field_get(d->head, "range");
    int n = is_get && range.p && conditions_range_applies(d->head, d->mtime)
                ? conditions_parse_ranges(range, d->size, ranges)
                : 0;
    if (n != 0)
        send_ranges(d, ranges, n);
    else if (encoding == ENCODING_GZIP && d->size > 0)
        send_gzip(d);
    else
        send_whole(d);
}

static void answer(struct download *d)
{
    enum encoding encoding = encoding_of(d);
    if (encoding == ENCODING_NONE) {
        answer_error(d->s, 406, "no acceptable encoding found, supported: identity, gzip");
        return;
    }
    set_fields(d);
    int status = conditions_check(d->head, d->mtime);
    if (status == 412)
        answer_error(d->s, 412, "a precondition of the request does not hold");
    else if (status == 304)
        send_head_only(d, 304, -1);
    else
        answer_file(d, encoding);
}

void files_download(struct http_request *r)
{
    struct envd *e = r->context;
    struct access access;
    char path[PATH_MAX];
    struct err err = { 0 };
    int status;
    if (access_check(r, "read", &access, &status, &err) < 0) {
        answer_error(r->stream, status, err.msg);
        return;
    }
    struct download d = { .s = r->stream, .envd = e, .head = r->head, .path = path, .fd = -1 };
    struct stat st;
    int rc = path_resolve(&access.user, str_of(access.path ? access.path : ""), e->default_workdir,
                          path, &err);
    if (rc == 0)
        rc = open_file(path, &d.fd, &st, &err);
    if (rc < 0) {
        answer_error(r->stream, answer_status(rc, &err), err.msg);
        return;
    }
    d.size = st.st_size;
    d.mtime = st.st_mtim.tv_sec;
    answer(&d);
    if (d.fd >= 0)
        close(d.fd);
}
