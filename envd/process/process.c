#include "envd/process/process.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "envd/process/pty.h"
#include "envd/process/registry_internal.h"
#include "envd/process/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

/* The process's ends of its pipes, or three times its terminal. */
struct ends {
    int in, out, err;
};

static void close_ends(const struct process_registry *r, struct ends *e)
{
    if (e->in >= 0 && e->in != r->dev_null)
        close(e->in);
    if (e->out >= 0 && e->out != e->in)
        close(e->out);
    if (e->err >= 0 && e->err != e->out)
        close(e->err);
}

static int cannot_open(int errnum, struct err *err)
{
    return err_set(err, ERR_INVALID, errnum, "cannot start a process: %s", strerror(errnum));
}

static int open_output(struct process *p, size_t which, enum ring_stream stream, int *theirs,
                       struct err *err)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return cannot_open(errno, err);
    *theirs = fds[1];
    int rc = process_output_open(p, which, fds[0], stream);
    if (rc < 0) {
        close(fds[0]);
        return cannot_open(-rc, err);
    }
    return 0;
}

/* /dev/null; where there is none, a pipe without a writer reads the same. */
static int open_null(struct process_registry *r)
{
    if (r->dev_null < 0)
        r->dev_null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (r->dev_null >= 0)
        return r->dev_null;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    close(fds[1]);
    return fds[0];
}

static int open_stdin(struct process *p, bool wanted, int *theirs, struct err *err)
{
    int fds[2];
    if (!wanted) {
        *theirs = open_null(p->registry);
        return *theirs < 0 ? cannot_open(errno, err) : 0;
    }
    if (pipe2(fds, O_CLOEXEC) < 0)
        return cannot_open(errno, err);
    *theirs = fds[0];
    int rc = process_input_open(p, fds[1]);
    if (rc < 0) {
        close(fds[1]);
        return cannot_open(-rc, err);
    }
    return 0;
}

static int open_terminal(struct process *p, const struct process_start *start, struct ends *ends,
                         struct err *err)
{
    struct pty pty;
    int rc = pty_open(&pty, start->cols, start->rows, start->user, err);
    if (rc < 0)
        return rc;
    ends->in = ends->out = ends->err = pty.slave;
    rc = process_output_open(p, 0, pty.master, RING_PTY);
    if (rc < 0) {
        close(pty.master);
        return cannot_open(-rc, err);
    }
    p->in.open = true;
    return 0;
}

static int open_files(struct process *p, const struct process_start *start, struct ends *ends,
                      struct err *err)
{
    if (start->is_pty)
        return open_terminal(p, start, ends, err);
    int rc = open_stdin(p, start->stdin_open, &ends->in, err);
    if (rc == 0)
        rc = open_output(p, 0, RING_STDOUT, &ends->out, err);
    if (rc == 0)
        rc = open_output(p, 1, RING_STDERR, &ends->err, err);
    return rc;
}

static struct process *new_process(struct process_registry *r, const struct process_start *start)
{
    struct process *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->registry = r;
    p->loop = r->envd->loop;
    p->is_pty = start->is_pty;
    list_init(&p->readers);
    list_init(&p->refs);
    list_init(&p->in.writes);
    ring_init(&p->ring, &r->budget, r->limits.ring_bytes);
    uv_timer_init(p->loop, &p->timer);
    p->open_handles = 1;
    r->alive++;
    return p;
}

static bool keep_config(struct process *p, const struct process_start *start)
{
    p->config_n = process__process_config__get_packed_size(start->config);
    p->config = malloc(p->config_n + 1);
    if (!p->config)
        return false;
    process__process_config__pack(start->config, p->config);
    if (start->tag)
        p->tag = str_dup(str_of(start->tag));
    return !start->tag || p->tag;
}

static int run(struct process *p, const struct process_start *start, struct err *err)
{
    struct ends ends = { -1, -1, -1 };
    int rc = open_files(p, start, &ends, err);
    if (rc == 0) {
        struct spawn s = {
            .cmd = start->config->cmd,
            .args = start->config->args,
            .nargs = start->config->n_args,
            .env = start->env,
            .cwd = start->cwd,
            .user = start->user,
            .in = ends.in,
            .out = ends.out,
            .err = ends.err,
            .tty = start->is_pty,
            .cgroup = start->cgroup,
        };
        rc = spawn(&s, start->arena, &p->pid, err);
    }
    close_ends(p->registry, &ends);
    return rc;
}

static void on_timer(uv_timer_t *timer);

int process_start(struct process_registry *r, const struct process_start *start,
                  struct process **out, struct err *err)
{
    if (r->stopping)
        return err_set(err, ERR_UNAVAILABLE, ECANCELED, "envd is stopping");
    struct process *p = new_process(r, start);
    if (!p)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    int rc = keep_config(p, start) ? run(p, start, err)
                                   : err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    if (rc < 0) {
        process_release(p, NULL);
        return rc;
    }
    registry_add(r, p);
    process_resume(p);
    if (start->deadline_ms) {
        uv_update_time(p->loop);
        uv_timer_start(&p->timer, on_timer, start->deadline_ms, 0);
    }
    *out = p;
    return 0;
}

static void forget_refs(struct process *p)
{
    while (!list_empty(&p->refs)) {
        struct process_ref *ref = container_of(p->refs.next, struct process_ref, node);
        process_unref(ref);
    }
}

static void end(struct process *p)
{
    p->ended = true;
    process_input_fail(p);
    forget_refs(p);
    free(p->config);
    p->config = NULL;
    ring_trim(&p->ring);
    uv_update_time(p->loop);
    uv_timer_start(&p->timer, on_timer, p->registry->limits.retain_ms, 0);
    registry_ended(p->registry, p);
    list_for_each_safe (node, &p->readers) {
        struct process_reader *reader = container_of(node, struct process_reader, node);
        reader->on_output(reader);
    }
}

void process_check_end(struct process *p)
{
    if (p->ended || !p->reaped || p->released)
        return;
    if (p->killed)
        process_output_drain(p);
    if (!p->out[0].open && !p->out[1].open)
        end(p);
}

void process_reaped(struct process *p, int status)
{
    p->reaped = true;
    p->status = status;
    process_check_end(p);
}

int process_signal(struct process *p, int signum)
{
    /* The pid of a reaped process may be another's by now. */
    if (!p->reaped && kill(p->pid, signum) < 0)
        return -errno;
    p->killed = true;
    process_check_end(p);
    return 0;
}

static void abort_reader(struct process_reader *reader, const struct err *err)
{
    reader->received = reader->pos.offset;
    process_detach(reader);
    reader->on_abort(reader, err);
}

static void reach_deadline(struct process *p)
{
    static const struct err err = { .code = ERR_DEADLINE,
                                    .msg = "the process ran into its deadline and was killed" };
    log_debug("process ran into its deadline", LOG_INT("pid", p->pid));
    if (!p->reaped)
        kill(p->pid, SIGKILL);
    p->killed = true;
    list_for_each_safe (node, &p->readers) {
        struct process_reader *reader = container_of(node, struct process_reader, node);
        if (reader->owns_deadline)
            abort_reader(reader, &err);
    }
    process_check_end(p);
}

static void expire(struct process *p)
{
    p->expired = true;
    if (!list_empty(&p->readers))
        return;
    registry_remove(p->registry, p);
    process_release(p, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct process *p = container_of(timer, struct process, timer);
    if (p->ended)
        expire(p);
    else
        reach_deadline(p);
}

void process_attach(struct process *p, struct process_reader *reader)
{
    reader->process = p;
    list_push_back(&p->readers, &reader->node);
}

void process_detach(struct process_reader *reader)
{
    struct process *p = reader->process;
    if (!p)
        return;
    list_remove(&reader->node);
    reader->process = NULL;
    if (reader->received > p->received)
        p->received = reader->received;
    if (p->released)
        return;
    process_resume(p);
    if (p->expired)
        expire(p);
}

void process_reader_moved(struct process_reader *reader)
{
    process_resume(reader->process);
}

uint64_t process_received(const struct process *p)
{
    uint64_t most = p->received;
    list_for_each (node, &p->readers) {
        const struct process_reader *reader = container_of(node, struct process_reader, node);
        if (reader->pos.offset > most)
            most = reader->pos.offset;
    }
    return most;
}

void process_ref(struct process *p, struct process_ref *ref)
{
    ref->process = p;
    list_push_back(&p->refs, &ref->node);
}

void process_unref(struct process_ref *ref)
{
    list_remove(&ref->node);
    ref->process = NULL;
}

void process_handle_closed(struct process *p)
{
    if (--p->open_handles > 0 || !p->released)
        return;
    struct process_registry *r = p->registry;
    free(p->tag);
    free(p->config);
    free(p);
    registry_process_freed(r);
}

static void on_timer_closed(uv_handle_t *handle)
{
    process_handle_closed(container_of((uv_timer_t *)handle, struct process, timer));
}

void process_release(struct process *p, const struct err *err)
{
    assert(!p->released);
    p->released = true;
    process_input_fail(p);
    forget_refs(p);
    while (!list_empty(&p->readers))
        abort_reader(container_of(p->readers.next, struct process_reader, node), err);
    for (size_t i = 0; i < ARRAY_LEN(p->out); i++) {
        p->out[i].open = false;
        channel_close(&p->out[i].channel);
    }
    ring_deinit(&p->ring);
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
