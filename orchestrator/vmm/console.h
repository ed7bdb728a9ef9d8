/* A VM's serial console: read from the VMM's socket into a file that keeps the newest output. A
 * guest can neither fill the disk with it nor keep the daemon busy. */
#ifndef ORCHESTRATOR_VMM_CONSOLE_H
#define ORCHESTRATOR_VMM_CONSOLE_H

#include "common/base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* The newest CONSOLE_KEEP bytes are kept, and at most as many older ones. */
#define CONSOLE_KEEP 262144

/* Read per second at most; what the guest writes beyond that waits or is dropped by the VMM. */
#define CONSOLE_RATE 1048576

struct console {
    uv_poll_t poll;
    uv_timer_t pause;
    int fd, file;
    int open_handles;
    bool closing;
    size_t in_file;      /* bytes of the current file */
    size_t in_window;    /* bytes read in the current second */
    int64_t window_ms;   /* its begin */
    char path[PATH_MAX]; /* the current file; the older one has ".1" behind */
    void (*on_closed)(struct console *c);
};

/* Connect to the console socket and append to the file at `path`. Returns 0 or -errno with *err
 * set; then c needs no console_close(). */
int console_open(struct console *c, uv_loop_t *loop, const char *socket_path, const char *path,
                 struct err *err);

/* Take what the VMM has written already, without waiting. */
void console_drain(struct console *c);

/* on_closed comes from the loop. The file stays. */
void console_close(struct console *c, void (*on_closed)(struct console *c));

/* The newest output at `path`, at most n bytes, into out; how many. */
size_t console_tail(const char *path, char *out, size_t n);

#endif
