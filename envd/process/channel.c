#include "envd/process/channel.h"

#include "common/base/cleanup.h"

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct channel *c = container_of(poll, struct channel, poll);
    int watched = c->watched;
    /* libuv stops a handle whose descriptor has an error, as a pipe nobody reads has. */
    if (status < 0)
        c->watched = 0;
    c->on_ready(c, status < 0 ? watched : events);
}

static void on_close(uv_handle_t *handle)
{
    struct channel *c = container_of((uv_poll_t *)handle, struct channel, poll);
    c->on_closed(c);
}

int channel_open(struct channel *c, uv_loop_t *loop, int fd,
                 void (*on_ready)(struct channel *c, int events),
                 void (*on_closed)(struct channel *c))
{
    int rc = uv_poll_init(loop, &c->poll, fd);
    if (rc < 0)
        return rc;
    c->fd = fd;
    c->watched = 0;
    c->on_ready = on_ready;
    c->on_closed = on_closed;
    return 0;
}

void channel_watch(struct channel *c, int events)
{
    if (c->fd < 0 || events == c->watched)
        return;
    c->watched = events;
    if (events)
        uv_poll_start(&c->poll, events, on_poll);
    else
        uv_poll_stop(&c->poll);
}

void channel_close(struct channel *c)
{
    if (!channel_is_open(c))
        return;
    uv_close((uv_handle_t *)&c->poll, on_close);
    close(c->fd);
    c->fd = -1;
}
