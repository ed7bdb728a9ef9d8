/* The outputs of a process, read into its ring. */
#include "envd/process/process.h"

#include "common/base/cleanup.h"
#include "envd/process/registry_internal.h"

#include <errno.h>
#include <sys/ioctl.h>

/* Bytes before this offset may be dropped to make room: what the foremost reader has, but for a
 * part that may be on its way still when its client vanishes. */
static uint64_t droppable(const struct process *p)
{
    if (list_empty(&p->readers))
        return UINT64_MAX;
    uint64_t kept = process_kept(p);
    uint64_t most = 0;
    list_for_each (node, &p->readers) {
        const struct process_reader *reader = container_of(node, struct process_reader, node);
        if (reader->pos.offset > most)
            most = reader->pos.offset;
    }
    return most > kept ? most - kept : 0;
}

static void tell_readers(struct process *p)
{
    list_for_each_safe (node, &p->readers) {
        struct process_reader *reader = container_of(node, struct process_reader, node);
        reader->on_output(reader);
    }
}

static void close_output(struct process_output *o)
{
    o->open = false;
    if (o->process->is_pty)
        process_input_fail(o->process);
    channel_close(&o->channel);
}

void process_output_watch(struct process_output *o)
{
    bool writes = o->process->is_pty && !list_empty(&o->process->in.writes);
    channel_watch(&o->channel,
                  (o->open && !o->paused ? UV_READABLE : 0) | (writes ? UV_WRITABLE : 0));
}

/* One read into the ring; false when there is nothing more to do now. */
static bool read_once(struct process_output *o)
{
    struct process *p = o->process;
    size_t room;
    uint8_t *to = ring_reserve(&p->ring, o->stream, droppable(p), &room);
    o->paused = to == NULL;
    if (!to && p->ring.out_of_memory)
        registry_retry_later(p->registry);
    if (!to)
        return false;
    if (o->draining && room > o->drain_left)
        room = o->drain_left;
    ssize_t n = read(o->channel.fd, to, room);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN && !o->draining)
        return false;
    /* A terminal whose other side is closed everywhere gives EIO. */
    if (n <= 0) {
        close_output(o);
        return false;
    }
    ring_commit(&p->ring, (size_t)n);
    if (o->draining) {
        o->drain_left -= (size_t)n;
        if (o->drain_left == 0)
            close_output(o);
    }
    tell_readers(p);
    /* A short read has most likely emptied the pipe. */
    return o->draining || (size_t)n == room;
}

static void read_some(struct process_output *o)
{
    for (int i = 0; i < PROCESS_READS_PER_TURN && o->open; i++) {
        if (!read_once(o))
            break;
    }
    process_output_watch(o);
}

static void on_ready(struct channel *c, int events)
{
    struct process_output *o = container_of(c, struct process_output, channel);
    if (events & UV_WRITABLE)
        process_input_ready(o->process);
    if ((events & UV_READABLE) && o->open)
        read_some(o);
    process_check_end(o->process);
}

static void on_closed(struct channel *c)
{
    process_handle_closed(container_of(c, struct process_output, channel)->process);
}

int process_output_open(struct process *p, size_t which, int fd, enum ring_stream stream)
{
    struct process_output *o = &p->out[which];
    *o = (struct process_output){ .process = p, .stream = stream };
    int rc = channel_open(&o->channel, p->loop, fd, on_ready, on_closed);
    if (rc < 0)
        return rc;
    p->open_handles++;
    o->open = true;
    return 0;
}

/* How much is in the pipe now; what others add later is not waited for. */
static size_t pending(const struct process_output *o)
{
    int n = 0;
    if (o->stream == RING_PTY || ioctl(o->channel.fd, FIONREAD, &n) < 0)
        return PROCESS_DRAIN_MAX;
    return n > 0 ? (size_t)n : 0;
}

void process_output_drain(struct process *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->out); i++) {
        struct process_output *o = &p->out[i];
        if (!o->open)
            continue;
        if (!o->draining) {
            o->draining = true;
            o->drain_left = pending(o);
        }
        if (o->drain_left == 0)
            close_output(o);
        else
            read_some(o);
    }
}

void process_resume(struct process *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->out); i++) {
        struct process_output *o = &p->out[i];
        if (o->open) {
            o->paused = false;
            process_output_watch(o);
        }
    }
}
