/* What the files of single_vm share. */
#ifndef ORCHESTRATOR_BENCH_SINGLE_VM_INTERNAL_H
#define ORCHESTRATOR_BENCH_SINGLE_VM_INTERNAL_H

#include "orchestrator/bench/single_vm.h"
#include "orchestrator/cgroup/cgroup.h"

struct single_vm {
    uv_loop_t loop;
    struct defer_queue defer;
    struct cgroups cgroups;
    struct vmm_driver *driver;
    struct vmm *vm;
    struct guest_link *link;
    uv_timer_t deadline; /* of the step that runs */

    /* The step that runs. */
    bool over;
    int rc;
    struct err err;
    bool ended; /* the VM is gone; `end` says how */
    char end[160];
};

/* Before a step is started: nothing is over. */
void single_vm_begin(struct single_vm *s);

/* From a step's callback. */
void single_vm_finish(struct single_vm *s, const struct err *err);

/* Turn the loop until the step is over; its result. ERR_DEADLINE after timeout_ms, unless that is
 * 0: then the step has a deadline of its own. */
int single_vm_wait(struct single_vm *s, unsigned timeout_ms, struct err *err);

#endif
