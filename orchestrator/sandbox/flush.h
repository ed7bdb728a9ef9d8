/* What a paused sandbox's memory has and its disk has not, written to the disk by its guest. */
#ifndef ORCHESTRATOR_SANDBOX_FLUSH_H
#define ORCHESTRATOR_SANDBOX_FLUSH_H

#include "orchestrator/sandbox/internal.h"

/* Of a sandbox that was paused with its memory and has a slot; afterwards it has no VM. done comes
 * from the loop, with an error when the disk is as its guest had last written it out by itself. The
 * memory is kept and on record when it was not used; own->snapshot_id tells. */
void flush_start(struct sandbox_own *own, struct sandbox_timings *t,
                 void (*done)(void *user, const struct err *err), void *user);

/* Told of the end of the VM while own->flush is there. */
void flush_vm_ended(struct sandbox_own *own, const char *detail);

#endif
