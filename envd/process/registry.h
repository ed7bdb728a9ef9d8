/* The processes that envd started: created by Start, followed by any number of streams, reaped. */
#ifndef ENVD_PROCESS_REGISTRY_H
#define ENVD_PROCESS_REGISTRY_H

#include "envd/core/envd.h"

struct process_registry;

struct process_limits {
    size_t ring_bytes;   /* output kept of one process */
    size_t ring_budget;  /* output kept of all of them */
    unsigned retain_ms;  /* how long an ended process can still be connected to */
    size_t retained_max; /* ended processes kept; beyond it the oldest is forgotten */
};
extern const struct process_limits PROCESS_LIMITS_DEFAULT;

/* NULL when memory is out. SIGPIPE must be ignored by the program. */
struct process_registry *process_registry_new(struct envd *e);

/* For processes started from now on. */
void process_registry_set_limits(struct process_registry *r, const struct process_limits *limits);

/* A child has ended (from waitpid). Returns false when it is none of ours (an orphan that PID 1
 * reaped). */
bool process_registry_reaped(struct process_registry *r, pid_t pid, int status);

/* SIGTERM to every process (and its process group), SIGKILL to what is left after grace_ms, then
 * done; done comes also when something survives even that for grace_ms more. Start is refused from
 * now on. */
void process_registry_stop_all(struct process_registry *r, unsigned grace_ms,
                               void (*done)(void *user), void *user);

/* Processes that have not ended. */
size_t process_registry_count(const struct process_registry *r);

/* Bytes of output held for all of them. */
size_t process_registry_held(const struct process_registry *r);

/* End the streams and forget the processes, which go on without envd. Memory is given back by the
 * next turns of the loop. */
void process_registry_free(struct process_registry *r);

#endif
