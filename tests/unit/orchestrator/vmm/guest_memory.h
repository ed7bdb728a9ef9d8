/* The memory of a VM that stands still, copied by the test's own simple means. */
#ifndef TESTS_UNIT_ORCHESTRATOR_VMM_GUEST_MEMORY_H
#define TESTS_UNIT_ORCHESTRATOR_VMM_GUEST_MEMORY_H

#include "orchestrator/vmm/vmm.h"

/* A sealed memfd of the size of the VM's memory that holds its pages which differ from what it is
 * mapped from, and zeros elsewhere; *pages: how many. */
int guest_memory_copy(const struct vmm *v, size_t *pages);

/* Write those pages of `from` that the VM `v` had changed into the memory of `to`. */
size_t guest_memory_carry(const struct vmm *v, const struct vmm *to);

#endif
