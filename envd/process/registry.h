/* The processes that envd started: created by Start, followed by any number of streams, reaped. */
#ifndef ENVD_PROCESS_REGISTRY_H
#define ENVD_PROCESS_REGISTRY_H

#include "envd/core/envd.h"

struct process_registry;

struct process_registry *process_registry_new(struct envd *e);

/* A child has ended (from waitpid). Returns false when it is none of ours (an orphan that PID 1
 * reaped). */
bool process_registry_reaped(struct process_registry *r, pid_t pid, int status);

/* SIGTERM to every process, SIGKILL to what is left after grace_ms, then done. */
void process_registry_stop_all(struct process_registry *r, unsigned grace_ms,
                               void (*done)(void *user), void *user);
size_t process_registry_count(const struct process_registry *r);
void process_registry_free(struct process_registry *r);

#endif
