#include "orchestrator/vmm/qemu/qmp.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/vmm/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#define READ_SIZE      16384
#define READS_PER_TURN 16
/* When the loop itself comes this late to a deadline, the peer is not to blame: it gets the time
 * once more. Happens when the daemon was stopped or starved. */
#define LATE_MS 1000

struct command {
    struct list node; /* of qmp.commands */
    uint64_t id;
    int64_t due_ms;
    unsigned timeout_ms;
    bool abandoned; /* its deadline has passed, its answer is of no interest */
    qmp_done_cb done;
    void *user;
};

struct passed_fd {
    struct list node; /* of qmp.fds */
    int fd;           /* owned */
    size_t at;        /* bytes of `out` in front of its command */
};

static void lose(struct qmp *q, const struct err *err);
static void update_poll(struct qmp *q);

static void command_end(struct command *c, const json_t *result, const struct err *err)
{
    list_remove(&c->node);
    if (!c->abandoned)
        c->done(c->user, result, err);
    free(c);
}

static void on_timer(uv_timer_t *timer);

/* Arm the timer for the earliest deadline. */
static void update_timer(struct qmp *q)
{
    int64_t due = INT64_MAX, now = clock_mono_ms();
    list_for_each (node, &q->commands) {
        struct command *c = container_of(node, struct command, node);
        if (!c->abandoned && c->due_ms < due)
            due = c->due_ms;
    }
    if (due == INT64_MAX) {
        uv_timer_stop(&q->timer);
        return;
    }
    uv_update_time(q->timer.loop);
    uv_timer_start(&q->timer, on_timer, due > now ? (uint64_t)(due - now) : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct qmp *q = container_of(timer, struct qmp, timer);
    int64_t now = clock_mono_ms();
    list_for_each (node, &q->commands) {
        struct command *c = container_of(node, struct command, node);
        if (c->abandoned || c->due_ms > now)
            continue;
        if (now - c->due_ms > LATE_MS) {
            c->due_ms = now + c->timeout_ms;
            continue;
        }
        struct err err;
        err_fill(&err, ERR_DEADLINE, "QEMU did not answer within %u ms", c->timeout_ms);
        c->abandoned = true;
        update_timer(q); /* q may be closed in done */
        c->done(c->user, NULL, &err);
        return; /* anything else that is due comes with the next turn */
    }
    update_timer(q);
}

/* Queue the text of a command. Takes `arguments`. */
static struct command *queue_command(struct qmp *q, const char *name, json_t *arguments,
                                     unsigned timeout_ms, qmp_done_cb done, void *user)
{
    struct command *c = calloc(1, sizeof(*c));
    json_t *message = json_pack("{s:s, s:I, s:o*}", "execute", name, "id", (json_int_t)q->next_id,
                                "arguments", arguments);
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    bool queued = c && text && buf_puts(&q->out, text) && buf_putc(&q->out, '\n');
    free(text);
    json_decref(message);
    if (!queued) {
        free(c);
        return NULL;
    }
    *c = (struct command){ .id = q->next_id++,
                           .due_ms = clock_mono_ms() + timeout_ms,
                           .timeout_ms = timeout_ms,
                           .done = done,
                           .user = user };
    list_push_back(&q->commands, &c->node);
    update_timer(q);
    update_poll(q);
    return c;
}

int qmp_execute(struct qmp *q, const char *command, json_t *arguments, unsigned timeout_ms,
                qmp_done_cb done, void *user)
{
    if (!q->ready || q->lost || q->closing) {
        json_decref(arguments);
        return -ENOTCONN;
    }
    return queue_command(q, command, arguments, timeout_ms, done, user) ? 0 : -ENOMEM;
}

static void passed_fd_free(struct passed_fd *p)
{
    list_remove(&p->node);
    close(p->fd);
    free(p);
}

int qmp_execute_fd(struct qmp *q, const char *command, json_t *arguments, int fd,
                   unsigned timeout_ms, qmp_done_cb done, void *user)
{
    struct passed_fd *p = calloc(1, sizeof(*p));
    int copy = p ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        int rc = p ? -errno : -ENOMEM;
        free(p);
        json_decref(arguments);
        return rc;
    }
    *p = (struct passed_fd){ .fd = copy, .at = buf_len(&q->out) };
    list_push_back(&q->fds, &p->node);
    int rc = qmp_execute(q, command, arguments, timeout_ms, done, user);
    if (rc < 0)
        passed_fd_free(p);
    return rc;
}

static void on_negotiated(void *user, const json_t *result, const struct err *err)
{
    struct qmp *q = user;
    (void)result;
    if (err) {
        lose(q, err);
        return;
    }
    q->ready = true;
    q->events->on_ready(q);
}

/* The time for the greeting is that of a command without text, whose answer is the greeting. */
static void on_greeted(void *user, const json_t *result, const struct err *err)
{
    struct qmp *q = user;
    if (err) {
        lose(q, err);
        return;
    }
    struct err memory;
    unsigned left = (unsigned)json_integer_value(result);
    if (!queue_command(q, "qmp_capabilities", NULL, left, on_negotiated, q)) {
        err_fill(&memory, ERR_EXHAUSTED, "out of memory");
        lose(q, &memory);
    }
}

static void take_greeting(struct qmp *q, const json_t *message)
{
    struct err err;
    struct command *c = container_of(q->commands.next, struct command, node);
    if (!json_is_object(json_object_get(message, "QMP"))) {
        err_fill(&err, ERR_UNAVAILABLE, "QEMU's control socket gave no greeting");
        lose(q, &err);
        return;
    }
    q->version_known = true;
    int64_t left = c->due_ms - clock_mono_ms();
    json_t *budget = json_integer(left > 1 ? left : 1);
    command_end(c, budget, NULL);
    json_decref(budget);
}

static void take_answer(struct qmp *q, const json_t *message)
{
    struct err err;
    const json_t *id = json_object_get(message, "id");
    const json_t *error = json_object_get(message, "error");
    list_for_each (node, &q->commands) {
        struct command *c = container_of(node, struct command, node);
        if (!json_is_integer(id) || (uint64_t)json_integer_value(id) != c->id)
            continue;
        const char *words = json_string_value(json_object_get(error, "desc"));
        if (error)
            err_fill(&err, ERR_ABORTED, "QEMU refused: %s", words ? words : "no reason");
        command_end(c, json_object_get(message, "return"), error ? &err : NULL);
        return;
    }
    err_fill(&err, ERR_UNAVAILABLE, "QEMU answered a command that was not sent");
    lose(q, &err);
}

/* An event's time; 0 for one that tells none, or nonsense. */
static int64_t time_of(const json_t *message)
{
    const json_t *t = json_object_get(message, "timestamp");
    json_int_t seconds = json_integer_value(json_object_get(t, "seconds"));
    json_int_t us = json_integer_value(json_object_get(t, "microseconds"));
    bool plain = seconds > 0 && seconds < INT64_MAX / 1000000000 && us >= 0 && us < 1000000;
    return plain ? seconds * 1000000000 + us * 1000 : 0;
}

static void take_line(struct qmp *q, const char *line, size_t n)
{
    struct err err;
    json_t *message = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    const char *event = json_string_value(json_object_get(message, "event"));
    if (!json_is_object(message)) {
        err_fill(&err, ERR_UNAVAILABLE, "QEMU's control socket sent no JSON object");
        lose(q, &err);
    } else if (!q->version_known) {
        take_greeting(q, message);
    } else if (event) {
        q->events->on_event(q, event, json_object_get(message, "data"), time_of(message));
    } else if (json_object_get(message, "return") || json_object_get(message, "error")) {
        take_answer(q, message);
    } else {
        err_fill(&err, ERR_UNAVAILABLE, "QEMU's control socket sent an odd message");
        lose(q, &err);
    }
    json_decref(message);
}

/* Take every whole line. A callback may close q, after which nothing more is taken. */
static void take_lines(struct qmp *q)
{
    struct err err;
    while (!q->lost && !q->closing) {
        struct str in = buf_str(&q->in);
        struct str rest = str_from(in, q->scanned);
        ptrdiff_t end = str_find(rest, '\n');
        if (end < 0) {
            q->scanned = in.n;
            if (in.n > QMP_LINE_MAX) {
                err_fill(&err, ERR_UNAVAILABLE,
                         "QEMU's control socket sent a line of more than %d bytes", QMP_LINE_MAX);
                lose(q, &err);
            }
            return;
        }
        size_t n = q->scanned + (size_t)end;
        q->scanned = 0;
        if (n > 0 && !(n == 1 && in.p[0] == '\r'))
            take_line(q, in.p, n);
        buf_consume(&q->in, n + 1);
    }
}

/* Read what is there, a bounded amount. */
static void read_some(struct qmp *q, int reads)
{
    struct err err;
    for (int i = 0; i < reads && !q->lost && !q->closing; i++) {
        uint8_t *to = buf_reserve(&q->in, READ_SIZE);
        ssize_t n = to ? recv(q->fd, to, READ_SIZE, MSG_DONTWAIT) : -1;
        if (!to)
            errno = ENOMEM;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            err_fill(&err, ERR_UNAVAILABLE, "QEMU's control socket was closed%s%s",
                     n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
            lose(q, &err);
            return;
        }
        buf_commit(&q->in, (size_t)n);
        take_lines(q);
    }
}

/* Send what the socket takes. A descriptor goes with the first byte of its command. */
static void write_some(struct qmp *q)
{
    struct err err;
    while (buf_len(&q->out) && !q->lost) {
        union {
            struct cmsghdr align;
            char space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct passed_fd *p = NULL, *next = NULL;
        list_for_each (node, &q->fds) {
            struct passed_fd *f = container_of(node, struct passed_fd, node);
            if (f->at == 0) {
                p = f;
            } else {
                next = f;
                break;
            }
        }
        struct iovec iov = { .iov_base = buf_head(&q->out),
                             .iov_len = next ? next->at : buf_len(&q->out) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        if (p) {
            m.msg_control = control.space;
            m.msg_controllen = sizeof(control.space);
            struct cmsghdr *c = CMSG_FIRSTHDR(&m);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &p->fd, sizeof(int));
        }
        ssize_t sent = sendmsg(q->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            err_fill(&err, ERR_UNAVAILABLE, "QEMU's control socket was closed: %s",
                     strerror(errno));
            lose(q, &err);
            return;
        }
        if (p)
            passed_fd_free(p);
        list_for_each (node, &q->fds)
            container_of(node, struct passed_fd, node)->at -= (size_t)sent;
        buf_consume(&q->out, (size_t)sent);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct qmp *q = container_of(poll, struct qmp, poll);
    (void)status;
    (void)events;
    read_some(q, READS_PER_TURN);
    if (!q->lost && !q->closing)
        write_some(q);
    update_poll(q);
}

static void update_poll(struct qmp *q)
{
    if (q->closing)
        return;
    if (q->lost) {
        uv_poll_stop(&q->poll);
        return;
    }
    int rc = uv_poll_start(&q->poll, UV_READABLE | (buf_len(&q->out) ? UV_WRITABLE : 0), on_poll);
    assert(rc == 0); /* fails for closed handles and bad events only */
}

static void lose(struct qmp *q, const struct err *err)
{
    if (q->lost || q->closing)
        return;
    struct err why = *err; /* may live in what a callback frees */
    q->lost = true;
    uv_poll_stop(&q->poll);
    uv_timer_stop(&q->timer);
    while (!list_empty(&q->commands) && !q->closing)
        command_end(container_of(q->commands.next, struct command, node), NULL, &why);
    if (!q->closing)
        q->events->on_lost(q, &why);
}

int qmp_open(struct qmp *q, uv_loop_t *loop, const char *path, unsigned timeout_ms,
             const struct qmp_events *events, struct err *err)
{
    *q = (struct qmp){ .events = events, .next_id = 1 };
    list_init(&q->commands);
    list_init(&q->fds);
    struct command *greeting = calloc(1, sizeof(*greeting));
    if (!greeting)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    q->fd = unix_connect(path);
    int rc = q->fd < 0 ? q->fd : uv_poll_init(loop, &q->poll, q->fd);
    if (rc < 0) {
        if (q->fd >= 0)
            close(q->fd);
        free(greeting);
        return err_set(err, ERR_UNAVAILABLE, -rc, "cannot connect to QEMU's control socket %s: %s",
                       path, strerror(-rc));
    }
    uv_timer_init(loop, &q->timer);
    q->open_handles = 2;
    *greeting = (struct command){ .due_ms = clock_mono_ms() + timeout_ms,
                                  .timeout_ms = timeout_ms,
                                  .done = on_greeted,
                                  .user = q };
    list_push_back(&q->commands, &greeting->node);
    update_timer(q);
    update_poll(q);
    return 0;
}

void qmp_drain(struct qmp *q)
{
    read_some(q, QMP_LINE_MAX / READ_SIZE);
}

static void handle_closed(struct qmp *q)
{
    if (--q->open_handles > 0)
        return;
    close(q->fd);
    list_for_each_safe (node, &q->fds)
        passed_fd_free(container_of(node, struct passed_fd, node));
    buf_deinit(&q->in);
    buf_deinit(&q->out);
    q->events->on_closed(q);
}

static void on_poll_closed(uv_handle_t *h)
{
    handle_closed(container_of((uv_poll_t *)h, struct qmp, poll));
}

static void on_timer_closed(uv_handle_t *h)
{
    handle_closed(container_of((uv_timer_t *)h, struct qmp, timer));
}

void qmp_close(struct qmp *q)
{
    if (q->closing)
        return;
    q->closing = true;
    list_for_each_safe (node, &q->commands) {
        list_remove(node);
        free(container_of(node, struct command, node));
    }
    uv_close((uv_handle_t *)&q->poll, on_poll_closed);
    uv_close((uv_handle_t *)&q->timer, on_timer_closed);
}
