/* The envd side of one pipe or terminal of a process: a descriptor on the loop. */
#ifndef ENVD_PROCESS_CHANNEL_H
#define ENVD_PROCESS_CHANNEL_H

#include <stdbool.h>
#include <uv.h>

/* All zero is a channel that was never opened. */
struct channel {
    uv_poll_t poll;
    int fd;      /* -1 after channel_close() */
    int watched; /* UV_READABLE | UV_WRITABLE */
    /* Something watched is ready, or failed: the next read or write tells. */
    void (*on_ready)(struct channel *c, int events);
    void (*on_closed)(struct channel *c); /* last; only now may the channel be freed */
};

/* Take over fd and make it non-blocking. 0, or -errno; then fd is still the caller's. */
int channel_open(struct channel *c, uv_loop_t *loop, int fd,
                 void (*on_ready)(struct channel *c, int events),
                 void (*on_closed)(struct channel *c));

/* Watch for exactly these events; 0 for none. */
void channel_watch(struct channel *c, int events);

/* Close the descriptor at once; on_closed follows from the loop. Closing twice does nothing. */
void channel_close(struct channel *c);

static inline bool channel_is_open(const struct channel *c)
{
    return c->on_ready && c->fd >= 0;
}

#endif
