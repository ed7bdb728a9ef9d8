/* What this folder did, how long it took, and what there is: for operators. Bounded memory, nothing
 * is allocated for a sample. */
#ifndef ORCHESTRATOR_SANDBOX_METRICS_H
#define ORCHESTRATOR_SANDBOX_METRICS_H

#include "orchestrator/metrics/histogram.h"
#include "orchestrator/sandbox/sandbox.h"

enum sandbox_operation {
    OPERATION_CREATE,         /* from a snapshot, with no spare */
    OPERATION_CREATE_WAITING, /* from a waiting spare */
    OPERATION_CREATE_HOT,     /* from a hot one */
    OPERATION_CREATE_FORK,    /* a child of a fork */
    OPERATION_CREATE_BOOT,    /* from a disk alone */
    OPERATION_RESUME,
    OPERATION_RESUME_BOOT,
    OPERATION_PAUSE,
    OPERATION_SNAPSHOT,
    OPERATION_FORK,
    OPERATION_KILL,
    OPERATION_NR
};

#define OPERATION_CODES    17 /* of enum err_code */
#define OPERATION_ENDS_MAX 16 /* reasons that sandboxes end for; more are "other" */
#define OPERATION_END_SIZE 32

struct sandbox_metrics {
    struct histogram total[OPERATION_NR];
    struct histogram phases[OPERATION_NR][SANDBOX_PHASE_NR];
    uint64_t failed[OPERATION_NR][OPERATION_CODES]; /* of those with no source of their own */
    struct {
        char reason[OPERATION_END_SIZE];
        uint64_t n;
    } ends[OPERATION_ENDS_MAX];
};

/* An operation that was begun at that time has ended, well or with an error. A phase that took no
 * time was not part of it. t may be NULL. */
void metrics_operation(struct sandbox_metrics *m, enum sandbox_operation what,
                       const struct sandbox_timings *t, int64_t began_ns, const struct err *err);

/* A sandbox has ended. */
void metrics_ended(struct sandbox_metrics *m, const char *reason);

/* These in Prometheus' text format. */
struct buf;
void metrics_write(const struct sandbox_metrics *m, struct buf *out);

#endif
