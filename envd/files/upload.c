/*
 * POST /files. The body goes to disk as it comes.
 *
 * An error that is found while the body is still coming is not answered at once: many clients send
 * all of a body before they read, and would see a closed connection instead. The rest is read and
 * dropped first, up to a limit.
 */
#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "common/base/json_text.h"
#include "common/http/multipart.h"
#include "common/http/router.h"
#include "envd/core/path.h"
#include "envd/files/access.h"
#include "envd/files/answer.h"
#include "envd/files/gunzip.h"
#include "envd/files/metadata_headers.h"
#include "envd/files/target.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#define UPLOAD_MAGIC     0x75706c64U
#define UPLOAD_FILES_MAX 10000        /* in one request */
#define UPLOAD_DRAIN_MAX (256U << 20) /* bytes dropped before an error is answered */

struct upload {
    uint32_t magic;
    struct http_stream *s;
    const struct http_head *head;
    const struct envd *envd;
    struct access access;
    struct metadata *metadata;
    size_t nmetadata;
    bool is_gzip;
    bool is_multipart;
    bool is_taken; /* the current part is a file of ours */
    struct gunzip gunzip;
    struct multipart parts;
    struct target target;
    char path[PATH_MAX]; /* of the target, as the client will see it */
    struct map seen;     /* the targets so far */
    struct buf answer;
    int rc; /* why it failed, with `err`; 0 as long as it did not */
    struct err err;
    size_t drained;
    bool is_answered;
};

static struct upload *upload_of(struct http_stream *s)
{
    struct upload *u = s->user;
    assert(u->magic == UPLOAD_MAGIC);
    return u;
}

static void answer_failure(struct upload *u)
{
    char message[sizeof(u->err.msg) + 64];
    int status = answer_status(u->rc, &u->err);
    bool is_length_known = !u->is_multipart && !u->is_gzip && u->head->content_length >= 0;
    if (status == 507 && is_length_known)
        snprintf(message, sizeof(message), "attempted to write %" PRId64 " bytes: %s",
                 u->head->content_length, u->err.msg);
    else
        snprintf(message, sizeof(message), "%s", u->err.msg);
    u->is_answered = true;
    answer_error(u->s, status, message);
}

static void fail(struct upload *u, int rc)
{
    u->rc = rc;
    target_abandon(&u->target);
    if (u->head->expect_continue && u->drained == 0)
        answer_failure(u);
}

/* ---- one file ---- */

static int begin_file(struct upload *u, const char *path)
{
    int rc =
        path_resolve(&u->access.user, str_of(path), u->envd->default_workdir, u->path, &u->err);
    if (rc < 0)
        return rc;
    if (map_get(&u->seen, str_of(u->path)))
        return err_set(&u->err, ERR_INVALID, EEXIST,
                       "you cannot upload multiple files to the same path '%s', only the first one "
                       "was uploaded",
                       u->path);
    if (u->seen.count == UPLOAD_FILES_MAX)
        return err_set(&u->err, ERR_INVALID, E2BIG, "more than %d files in one request",
                       UPLOAD_FILES_MAX);
    if (!map_set(&u->seen, str_of(u->path), u))
        return err_set(&u->err, ERR_INTERNAL, ENOMEM, "out of memory");
    return target_open(&u->target, u->path, &u->access.user, &u->err);
}

static void put_metadata(struct upload *u)
{
    buf_puts(&u->answer, ",\"metadata\":{");
    for (size_t i = 0; i < u->nmetadata; i++) {
        buf_puts(&u->answer, i ? "," : "");
        json_text_quote(&u->answer, u->metadata[i].key);
        buf_putc(&u->answer, ':');
        json_text_quote(&u->answer, u->metadata[i].value);
    }
    buf_putc(&u->answer, '}');
}

static int end_file(struct upload *u)
{
    int rc = target_commit(&u->target, &u->access.user, u->metadata, u->nmetadata, &u->err);
    if (rc < 0)
        return rc;
    const char *slash = strrchr(u->path, '/');
    buf_puts(&u->answer, buf_len(&u->answer) ? ",{\"path\":" : "[{\"path\":");
    json_text_quote(&u->answer, str_of(u->path));
    buf_puts(&u->answer, ",\"name\":");
    json_text_quote(&u->answer, str_of(slash ? slash + 1 : u->path));
    buf_puts(&u->answer, ",\"type\":\"file\"");
    if (u->nmetadata)
        put_metadata(u);
    buf_putc(&u->answer, '}');
    return 0;
}

/* ---- multipart ---- */

static int on_part(struct multipart *m, const struct multipart_part *part)
{
    struct upload *u = container_of(m, struct upload, parts);
    u->is_taken = str_eq(part->name, STR("file"));
    if (!u->is_taken)
        return 0;
    if (u->access.path)
        return begin_file(u, u->access.path);
    char name[PATH_MAX];
    if (part->filename.n == 0)
        return err_set(&u->err, ERR_INVALID, EINVAL,
                       "a file has no name: give the path in the query or as its filename");
    if (!str_copy(part->filename, name, sizeof(name)))
        return err_set(&u->err, ERR_INVALID, ENAMETOOLONG, "a file name is too long");
    return begin_file(u, name);
}

static int on_part_data(struct multipart *m, const uint8_t *data, size_t n)
{
    struct upload *u = container_of(m, struct upload, parts);
    return u->is_taken ? target_write(&u->target, data, n, &u->err) : 0;
}

static int on_part_end(struct multipart *m)
{
    struct upload *u = container_of(m, struct upload, parts);
    return u->is_taken ? end_file(u) : 0;
}

static int on_parts_end(struct multipart *m)
{
    (void)m;
    return 0;
}

static const struct multipart_events part_events = {
    .on_part = on_part, .on_data = on_part_data, .on_part_end = on_part_end, .on_end = on_parts_end
};

/* ---- the request ---- */

static int take_body(void *user, const uint8_t *data, size_t n)
{
    struct upload *u = user;
    if (u->is_multipart)
        return multipart_feed(&u->parts, data, n, &u->err);
    return target_write(&u->target, data, n, &u->err);
}

static int end_body(struct upload *u)
{
    int rc = u->is_gzip ? gunzip_finish(&u->gunzip, &u->err) : 0;
    if (rc < 0)
        return rc;
    return u->is_multipart ? multipart_finish(&u->parts, &u->err) : end_file(u);
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct upload *u = upload_of(s);
    int rc = 0;
    if (u->rc < 0)
        u->drained += n;
    else if (u->is_gzip)
        rc = gunzip_feed(&u->gunzip, data, n, take_body, u, &u->err);
    else
        rc = take_body(u, data, n);
    if (rc < 0)
        fail(u, rc);
    if (u->drained > UPLOAD_DRAIN_MAX && !u->is_answered)
        answer_failure(u);
    else
        http_consume(s, n);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    struct upload *u = upload_of(s);
    (void)trailers;
    (void)n;
    if (u->is_answered)
        return;
    if (u->rc == 0)
        u->rc = end_body(u);
    if (u->rc == 0 && u->answer.failed)
        u->rc = err_set(&u->err, ERR_INTERNAL, ENOMEM, "out of memory");
    if (u->rc < 0) {
        answer_failure(u);
        return;
    }
    u->is_answered = true;
    buf_puts(&u->answer, buf_len(&u->answer) ? "]" : "[]");
    http_respond(s, 200, "application/json; charset=utf-8", buf_head(&u->answer),
                 buf_len(&u->answer));
}

static void on_writable(struct http_stream *s)
{
    (void)s;
}

static void on_close(struct http_stream *s, int errnum)
{
    struct upload *u = upload_of(s);
    (void)errnum;
    target_abandon(&u->target);
    if (u->is_multipart)
        multipart_deinit(&u->parts);
    gunzip_deinit(&u->gunzip);
    map_deinit(&u->seen);
    buf_deinit(&u->answer);
}

static const struct http_stream_events upload_events = {
    .on_data = on_data, .on_end = on_end, .on_writable = on_writable, .on_close = on_close
};

static bool is_type(struct str content_type, struct str want)
{
    struct str type = str_trim(str_split(&content_type, ';'));
    return str_eq_nocase(type, want);
}

static int begin_encoding(struct upload *u)
{
    struct str encoding = http_field_get(u->head, "content-encoding");
    u->is_gzip = str_eq_nocase(encoding, STR("gzip")) || str_eq_nocase(encoding, STR("x-gzip"));
    if (u->is_gzip)
        return gunzip_init(&u->gunzip, &u->err);
    if (encoding.n == 0 || str_eq_nocase(encoding, STR("identity")))
        return 0;
    return err_set(&u->err, ERR_INVALID, EINVAL,
                   "unsupported Content-Encoding '%.*s', supported: identity, gzip",
                   encoding.n < 64 ? (int)encoding.n : 64, encoding.p);
}

/* Everything that can be told before the body comes. */
static int begin(struct upload *u)
{
    int rc = begin_encoding(u);
    if (rc < 0)
        return rc;
    rc = metadata_headers(u->head, &u->s->arena, &u->metadata, &u->nmetadata, &u->err);
    if (rc < 0)
        return rc;
    struct str type = http_field_get(u->head, "content-type");
    if (is_type(type, STR("application/octet-stream"))) {
        if (!u->access.path || !u->access.path[0])
            return err_set(&u->err, ERR_INVALID, EINVAL, "the query has no path");
        return begin_file(u, u->access.path);
    }
    struct str top = STR("multipart/");
    if (type.n < top.n || !str_eq_nocase((struct str){ type.p, top.n }, top))
        return err_set(&u->err, ERR_INVALID, EINVAL,
                       "unsupported Content-Type '%.*s', supported: multipart/form-data, "
                       "application/octet-stream",
                       type.n < 64 ? (int)type.n : 64, type.n ? type.p : "");
    rc = multipart_init(&u->parts, type, &part_events, &u->err);
    u->is_multipart = rc == 0;
    return rc;
}

void files_upload(struct http_request *r)
{
    struct err err = { 0 };
    int status;
    struct upload *u = arena_zalloc(&r->stream->arena, sizeof(*u));
    if (!u) {
        answer_error(r->stream, 500, "out of memory");
        return;
    }
    if (access_check(r, "write", &u->access, &status, &err) < 0) {
        answer_error(r->stream, status, err.msg);
        return;
    }
    u->magic = UPLOAD_MAGIC;
    u->s = r->stream;
    u->head = r->head;
    u->envd = r->context;
    u->target.fd = -1;
    r->stream->user = u;
    r->stream->events = &upload_events;
    int rc = begin(u);
    if (rc < 0)
        fail(u, rc);
}
