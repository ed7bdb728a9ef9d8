/* A VM booted from a sandbox's disk alone, up to envd's first answer. */
#ifndef ORCHESTRATOR_SANDBOX_COLD_BOOT_H
#define ORCHESTRATOR_SANDBOX_COLD_BOOT_H

#include "orchestrator/sandbox/internal.h"

/* Boot own's VM, adding to `t` where the time went. done once, never from inside. When it fails
 * what was made stays in own (vmm, link) for its owner to take back. */
void cold_boot_start(struct sandbox_own *own, const struct source *source,
                     struct sandbox_timings *t, void (*done)(void *user, const struct err *err),
                     void *user);

/* Make the one under way, if there is one, fail soon; done comes all the same. */
void cold_boot_cancel(struct sandbox_own *own, const struct err *why);

#endif
