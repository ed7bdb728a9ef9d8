/* The registry as the files of this folder see it. */
#ifndef ENVD_PROCESS_REGISTRY_INTERNAL_H
#define ENVD_PROCESS_REGISTRY_INTERNAL_H

#include "envd/process/process.h"

#define REGISTRY_BUCKETS 256

struct process_registry {
    struct envd *envd;
    struct list running; /* in the order of their start */
    struct list ended;   /* in the order of their end */
    size_t nrunning, nended;
    struct process *by_pid[REGISTRY_BUCKETS]; /* running and ended */
    struct process_limits limits;
    struct ring_budget budget;
    struct deferred resume; /* memory was freed: try the paused ones again */
    uv_timer_t retry;       /* the same after memory ran out */
    int dev_null;           /* for processes without stdin; -1 until first used */
    uv_timer_t stop_timer;
    struct deferred stopped;
    void (*on_stopped)(void *user);
    void *on_stopped_user;
    unsigned grace_ms;
    bool stopping, kill_sent, freed;
    size_t alive; /* processes that memory still holds */
};

void registry_add(struct process_registry *r, struct process *p);
void registry_ended(struct process_registry *r, struct process *p);
void registry_remove(struct process_registry *r, struct process *p);

/* An output is paused because memory is out: try again in a while. */
void registry_retry_later(struct process_registry *r);

/* The process of a selector: one that runs, or with `ended` also one that has ended. NULL with
 * *err: ERR_NOT_FOUND, or ERR_UNIMPLEMENTED when nothing is selected. */
struct process *registry_find(struct process_registry *r, const Process__ProcessSelector *selector,
                              bool ended, struct err *err);

/* The last step of process_release(). */
void registry_process_freed(struct process_registry *r);

#endif
