/* Where a guest's RAM is in the process that runs it. */
#ifndef ORCHESTRATOR_VMM_MEMORY_H
#define ORCHESTRATOR_VMM_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

struct vmm_memory {
    pid_t pid;
    uint64_t address, size; /* one private mapping of a memfd */
};

#endif
