/* The input of a process: a queue of writes to its pipe or terminal. */
#include "envd/process/process.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <errno.h>

/* Bounded work per turn of the loop. */
#define WRITES_PER_TURN 16

static struct channel *channel_of(struct process *p)
{
    return p->is_pty ? &p->out[0].channel : &p->in.channel;
}

static void watch(struct process *p)
{
    if (p->is_pty)
        process_output_watch(&p->out[0]);
    else
        channel_watch(&p->in.channel, list_empty(&p->in.writes) ? 0 : UV_WRITABLE);
}

static void close_pipe(struct process *p)
{
    p->in.open = false;
    if (!p->is_pty)
        channel_close(&p->in.channel);
}

static void on_ready(struct channel *c, int events)
{
    (void)events;
    struct process_input *in = container_of(c, struct process_input, channel);
    process_input_ready(in->process);
}

static void on_closed(struct channel *c)
{
    struct process_input *in = container_of(c, struct process_input, channel);
    process_handle_closed(in->process);
}

int process_input_open(struct process *p, int fd)
{
    p->in.process = p;
    int rc = channel_open(&p->in.channel, p->loop, fd, on_ready, on_closed);
    if (rc < 0)
        return rc;
    p->open_handles++;
    p->in.open = true;
    return 0;
}

void process_input_fail(struct process *p)
{
    close_pipe(p);
    while (!list_empty(&p->in.writes)) {
        struct input_write *w = container_of(p->in.writes.next, struct input_write, node);
        list_remove(&w->node);
        w->done(w, EPIPE);
    }
}

/* done() may queue further writes and so come back here; only the list's head is relied on. */
void process_input_ready(struct process *p)
{
    for (int i = 0; i < WRITES_PER_TURN && !list_empty(&p->in.writes); i++) {
        struct input_write *w = container_of(p->in.writes.next, struct input_write, node);
        ssize_t n = write(channel_of(p)->fd, w->data, w->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            process_input_fail(p);
            return;
        }
        w->data += n;
        w->n -= (size_t)n;
        if (w->n > 0)
            continue;
        list_remove(&w->node);
        w->done(w, 0);
    }
    if (p->in.closing && list_empty(&p->in.writes))
        close_pipe(p);
    else
        watch(p);
}

int process_write(struct process *p, struct input_write *w)
{
    if (!p->in.open || p->in.closing)
        return -EPIPE;
    bool first = list_empty(&p->in.writes);
    list_push_back(&p->in.writes, &w->node);
    if (first)
        process_input_ready(p);
    return 0;
}

void process_write_cancel(struct process *p, struct input_write *w)
{
    if (!list_linked(&w->node))
        return;
    list_remove(&w->node);
    if (p->in.open)
        process_input_ready(p);
}

void process_close_stdin(struct process *p)
{
    assert(!p->is_pty);
    if (!p->in.open)
        return;
    p->in.closing = true;
    if (list_empty(&p->in.writes))
        close_pipe(p);
}
