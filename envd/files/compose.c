/* POST /files/compose: several files become one, in order, and are removed. The copying is done on
 * the thread pool. */
#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "common/base/json_text.h"
#include "common/http/router.h"
#include "envd/core/path.h"
#include "envd/files/answer.h"
#include "envd/files/target.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define COMPOSE_MAGIC       0x636d7073U
#define COMPOSE_BODY_MAX    (4U << 20)
#define COMPOSE_SOURCES_MAX 10000

struct compose {
    uint32_t magic;
    uv_work_t work;
    struct http_stream *s; /* NULL once the client has gone; the work goes on */
    struct user user;
    char **sources; /* resolved paths */
    size_t n;
    char destination[PATH_MAX];
    struct target target;
    int rc;
    struct err err;
};

static void free_compose(struct compose *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->sources[i]);
    free(c->sources);
    free(c);
}

/* ---- on the thread pool ---- */

static int open_source(const char *path, int *fd, struct err *err)
{
    struct stat st;
    AUTO_CLOSE int opened = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened < 0 || fstat(opened, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, ERR_NOT_FOUND, errno, "source path '%s' does not exist", path);
        return err_set(err, ERR_INTERNAL, errno, "cannot open '%s': %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, EINVAL, "source path '%s' is not a regular file", path);
    *fd = TAKE_FD(opened);
    return 0;
}

/* All sources must be there before anything is written. */
static int check_sources(const struct compose *c, struct err *err)
{
    struct stat to;
    bool exists = stat(c->destination, &to) == 0;
    for (size_t i = 0; i < c->n; i++) {
        AUTO_CLOSE int fd = -1;
        struct stat from;
        int rc = open_source(c->sources[i], &fd, err);
        if (rc < 0)
            return rc;
        if (exists && fstat(fd, &from) == 0 && from.st_dev == to.st_dev && from.st_ino == to.st_ino)
            return err_set(err, ERR_INVALID, EINVAL, "source path '%s' is the destination itself",
                           c->sources[i]);
    }
    return 0;
}

static int append_source(struct compose *c, const char *path, struct err *err)
{
    AUTO_CLOSE int fd = -1;
    int rc = open_source(path, &fd, err);
    if (rc < 0)
        return rc;
    ssize_t n;
    do {
        n = copy_file_range(fd, NULL, c->target.fd, NULL, 1U << 30, 0);
    } while (n > 0);
    if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
        do {
            n = sendfile(c->target.fd, fd, NULL, 1U << 30);
        } while (n > 0);
    }
    if (n == 0)
        return 0;
    if (errno == ENOSPC || errno == EDQUOT)
        return err_set(err, ERR_EXHAUSTED, errno, "not enough disk space available");
    return err_set(err, ERR_INTERNAL, errno, "cannot copy '%s': %s", path, strerror(errno));
}

static int compose(struct compose *c, struct err *err)
{
    int rc = check_sources(c, err);
    if (rc == 0)
        rc = target_open(&c->target, c->destination, &c->user, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        rc = append_source(c, c->sources[i], err);
    if (rc < 0) {
        target_abandon(&c->target);
        return rc;
    }
    rc = target_commit(&c->target, &c->user, NULL, 0, err);
    for (size_t i = 0; rc == 0 && i < c->n; i++)
        if (unlink(c->sources[i]) < 0 && errno != ENOENT)
            rc = err_set(err, ERR_INTERNAL, errno, "composed, but cannot remove '%s': %s",
                         c->sources[i], strerror(errno));
    return rc;
}

static void run(uv_work_t *work)
{
    struct compose *c = container_of(work, struct compose, work);
    c->rc = compose(c, &c->err);
}

/* ---- the request ---- */

static void answer(const struct compose *c)
{
    if (c->rc < 0) {
        answer_error(c->s, answer_status(c->rc, &c->err), c->err.msg);
        return;
    }
    struct buf text = { 0 };
    const char *slash = strrchr(c->destination, '/');
    buf_puts(&text, "{\"path\":");
    json_text_quote(&text, str_of(c->destination));
    buf_puts(&text, ",\"name\":");
    json_text_quote(&text, str_of(slash ? slash + 1 : c->destination));
    buf_puts(&text, ",\"type\":\"file\"}");
    if (text.failed)
        answer_error(c->s, 500, "out of memory");
    else
        http_respond(c->s, 200, "application/json; charset=utf-8", text.data, text.len);
    buf_deinit(&text);
}

static void on_done(uv_work_t *work, int status)
{
    struct compose *c = container_of(work, struct compose, work);
    (void)status; /* the work is never cancelled */
    if (c->s) {
        c->s->user = NULL;
        c->s->events = &HTTP_EVENTS_NONE;
        answer(c);
    }
    free_compose(c);
}

static void on_close(struct http_stream *s, int errnum)
{
    struct compose *c = s->user;
    (void)errnum;
    assert(c->magic == COMPOSE_MAGIC);
    c->s = NULL;
}

static const struct http_stream_events events = { .on_data = http_drop_data,
                                                  .on_end = http_drop_end,
                                                  .on_writable = http_drop_writable,
                                                  .on_close = on_close };

static int malformed(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, EINVAL, "invalid request body: %s", what);
}

static int resolve_one(struct compose *c, const struct envd *e, const json_t *text, char *out,
                       struct err *err)
{
    if (!json_is_string(text) || json_string_length(text) == 0)
        return malformed(err, "a path must be a non-empty string");
    struct str path = { json_string_value(text), json_string_length(text) };
    return path_resolve(&c->user, path, e->default_workdir, out, err);
}

static int read_paths(struct compose *c, const struct envd *e, const json_t *body, struct err *err)
{
    const json_t *sources = json_object_get(body, "source_paths");
    const json_t *destination = json_object_get(body, "destination");
    size_t n = json_array_size(sources);
    if (n == 0)
        return malformed(err, "source_paths must be a list of at least one path");
    if (n > COMPOSE_SOURCES_MAX)
        return malformed(err, "source_paths is too long");
    if (!destination)
        return malformed(err, "destination is missing");
    int rc = resolve_one(c, e, destination, c->destination, err);
    c->sources = calloc(n, sizeof(c->sources[0]));
    if (!c->sources)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    for (; rc == 0 && c->n < n; c->n++) {
        char path[PATH_MAX];
        rc = resolve_one(c, e, json_array_get(sources, c->n), path, err);
        if (rc == 0 && strcmp(path, c->destination) == 0)
            rc = err_set(err, ERR_INVALID, EINVAL, "source path '%s' is the destination itself",
                         path);
        if (rc < 0)
            break;
        c->sources[c->n] = str_dup(str_of(path));
        if (!c->sources[c->n])
            return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    }
    return rc;
}

static int read_user(struct compose *c, const struct envd *e, const json_t *body, struct err *err)
{
    const json_t *username = json_object_get(body, "username");
    const char *name = json_string_value(username);
    struct err why = { 0 };
    if (username && !json_is_null(username) && !name)
        return malformed(err, "username must be a string");
    if (!name || !name[0])
        name = e->default_user;
    if (!name[0])
        return err_set(err, ERR_INVALID, EINVAL, "no user specified");
    int rc = user_find(str_of(name), &c->user, &why);
    if (rc < 0)
        return err_set(err, ERR_UNAUTHENTICATED, -rc, "error looking up user '%s': %s", name,
                       why.msg);
    return 0;
}

static int read_body(struct compose *c, const struct envd *e, const uint8_t *text, size_t n,
                     struct err *err)
{
    json_error_t where;
    json_t *body = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &where);
    if (!body)
        return malformed(err, where.text);
    int rc = json_is_object(body) ? read_user(c, e, body, err) : malformed(err, "no object");
    if (rc == 0)
        rc = read_paths(c, e, body, err);
    json_decref(body);
    return rc;
}

static void on_body(struct http_request *r, const uint8_t *body, size_t n, int errnum)
{
    struct envd *e = r->context;
    struct err err = { 0 };
    if (errnum == ECONNRESET)
        return;
    if (errnum) {
        answer_error(r->stream, errnum == EFBIG ? 413 : 500, strerror(errnum));
        return;
    }
    struct compose *c = calloc(1, sizeof(*c));
    if (!c) {
        answer_error(r->stream, 500, "out of memory");
        return;
    }
    int rc = read_body(c, e, body, n, &err);
    if (rc < 0) {
        answer_error(r->stream, answer_status(rc, &err), err.msg);
        free_compose(c);
        return;
    }
    c->magic = COMPOSE_MAGIC;
    c->s = r->stream;
    r->stream->user = c;
    r->stream->events = &events;
    uv_queue_work(e->loop, &c->work, run, on_done);
}

void files_compose(struct http_request *r)
{
    http_collect_body(r, COMPOSE_BODY_MAX, on_body, NULL);
}
