/* A VMM's process, watched through a pidfd: ours, or one that an earlier daemon started. */
#ifndef ORCHESTRATOR_VMM_PROCESS_H
#define ORCHESTRATOR_VMM_PROCESS_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

/* How a process ended. */
struct process_exit {
    bool known;    /* false for a process that was not our child */
    bool signaled; /* number is a signal, otherwise an exit code */
    int number;
};

/* A sentence such as "ended with exit code 1". */
void process_exit_text(const struct process_exit *e, char *out, size_t n);

/* When the process started, in clock ticks since boot; 0 or -errno. A pid is used again one day,
 * pid and start together are not. */
int process_start_ticks(pid_t pid, uint64_t *ticks);

/* A pidfd of the process `pid` that started at `ticks`; -ESRCH when there is none (any more). */
int process_open(pid_t pid, uint64_t ticks);

/* Wait at most timeout_ms for its end; a child is reaped. Blocking; any thread. 0, or -ETIMEDOUT
 * when it still lives. */
int process_wait(int pidfd, unsigned timeout_ms, struct process_exit *how);

/* Kill and wait at most timeout_ms for its end; a child is reaped. Blocking; any thread. 0, or
 * -ETIMEDOUT when it still lives. */
int process_end(int pidfd, unsigned timeout_ms, struct process_exit *how);

struct process {
    uv_poll_t poll;
    int pidfd;
    bool exited;
    struct process_exit how;
    void (*on_exit)(struct process *p);
    void (*on_closed)(struct process *p);
};

/* Watch it: on_exit comes once, from the loop, after it was reaped. The pidfd is owned from now on,
 * unless this fails. Returns 0 or -errno. */
int process_watch(struct process *p, uv_loop_t *loop, int pidfd,
                  void (*on_exit)(struct process *p));

/* SIGKILL; harmless when it has ended. */
void process_kill(struct process *p);

/* Stop watching and close the pidfd; the process is left as it is. on_closed comes from the loop.
 */
void process_close(struct process *p, void (*on_closed)(struct process *p));

#endif
