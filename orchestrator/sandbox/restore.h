/* A VM restored from a snapshot, up to where its owner wants it. */
#ifndef ORCHESTRATOR_SANDBOX_RESTORE_H
#define ORCHESTRATOR_SANDBOX_RESTORE_H

#include "orchestrator/sandbox/internal.h"

/* How far. A later call with a further goal goes on from there. */
enum restore_goal {
    RESTORE_WAITING, /* the VMM's process waits for a snapshot */
    RESTORE_LOADED,  /* memory and devices are there, the guest stands still, the link is written */
    RESTORE_RUNNING, /* the guest runs; envd was not asked for anything yet */
};

/* Bring own's VM to `goal`, adding to `t` where the time went. done once, never from inside. When
 * it fails what was made stays in own (vmm, link) for its owner to take back. restore_cancel()
 * makes it fail soon; done comes all the same. */
void restore_start(struct sandbox_own *own, struct source *source, enum restore_goal goal,
                   struct sandbox_timings *t, void (*done)(void *user, const struct err *err),
                   void *user);
void restore_cancel(struct sandbox_own *own, const struct err *why);

/* The VM of a restore under way has ended. */
void restore_vm_ended(struct sandbox_own *own, const char *detail);

#endif
