/* Memory of the host that a capture or a template's RAM is about to fill. */
#ifndef ORCHESTRATOR_SNAPSHOT_HOST_MEMORY_H
#define ORCHESTRATOR_SNAPSHOT_HOST_MEMORY_H

#include "common/base/err.h"

#include <stdint.h>

/* What they leave free: the host must stay able to run its VMs. */
#define HOST_MEMORY_LEFT (UINT64_C(128) << 20)

/* Claim `bytes` of what the host has available, so that two at the same time do not count on the
 * same memory. ERR_UNAVAILABLE when there is too little. Give it back when it is filled (the
 * host's own figure knows of it then) or not needed. */
int host_memory_reserve(uint64_t bytes, struct err *err);
void host_memory_release(uint64_t bytes);

#endif
