/* The file of a VM's device state. */
#ifndef ORCHESTRATOR_SNAPSHOT_STATE_H
#define ORCHESTRATOR_SNAPSHOT_STATE_H

#include "orchestrator/snapshot/manifest.h"

#define STATE_MAX (UINT64_C(64) << 20)

/* Size and digest of what is in `from`, which is copied to `to` unless that is -1. 0 or -errno;
 * *writing tells which side failed. More than STATE_MAX bytes are -EFBIG. */
int state_copy(int from, int to, struct snapshot_state *out, bool *writing);

#endif
