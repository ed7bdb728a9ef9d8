/* The same work on a few threads at once. */
#ifndef ORCHESTRATOR_SNAPSHOT_PARALLEL_H
#define ORCHESTRATOR_SNAPSHOT_PARALLEL_H

#include <stddef.h>

#define PARALLEL_MAX 4

/* How many threads that much work for processors is worth: at least 1. */
size_t parallel_threads(size_t items);

/* Call run(user) on `threads` threads (PARALLEL_MAX at most), the caller's among them, and wait for
 * all. The runs share the work out among themselves: a machine that gives fewer threads does it
 * with those. */
void parallel_run(size_t threads, void (*run)(void *user), void *user);

#endif
