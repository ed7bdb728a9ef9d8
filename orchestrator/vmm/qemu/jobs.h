/* Ending the block jobs of a VM, as a step of an operation: while one runs, the top of the disk
 * belongs to it. One that an earlier daemon began counts as well. */
#ifndef ORCHESTRATOR_VMM_QEMU_JOBS_H
#define ORCHESTRATOR_VMM_QEMU_JOBS_H

#include "orchestrator/vmm/qemu/op.h"

struct jobs {
    struct vm_op *op; /* borrowed */
    bool cancelled;   /* the answer to come is that of a cancel */
    int64_t due_ms;
};

/* Begin: the operation's answer() follows. */
void jobs_end(struct jobs *j, struct vm_op *op);

/* In answer(), with its result and error. true: another answer() follows. false: there is no job
 * (any more), or there is the error. */
bool jobs_left(struct jobs *j, const json_t *result, const struct err *err);

#endif
