/*
 * Spares: VMs that come some of the way to a sandbox before anybody asks for one. A hot spare was
 * restored, ran until envd answered, and stands still; a waiting one is a VMM's process alone.
 * Neither has an identity, and both count in no list of sandboxes.
 */
#ifndef ORCHESTRATOR_SANDBOX_POOL_H
#define ORCHESTRATOR_SANDBOX_POOL_H

#include "orchestrator/sandbox/internal.h"

/* Images that spares are kept for at once, those used last. */
#define POOL_IMAGES 4

struct pool *pool_new(struct sandbox_host *h);

/* A spare for this source, a hot one first, or NULL; which, into *hot. The caller's from now on:
 * its own->create is set next; restore_start() takes it the rest of the way. */
struct sandbox_own *pool_claim(struct sandbox_host *h, const struct source *source, bool *hot);

/* takeover.c: let own, which has no VM and is to be restored from this source, have the VMM of a
 * waiting spare: with its process, run directory and user id, and with own's disk. false: there is
 * none that fits. Otherwise done comes once, from the loop: is_taken, or own is as it was, and
 * nothing holds its disk. Until then own stays. */
bool pool_take_vmm(struct sandbox_own *own, const struct source *source,
                   void (*done)(void *user, bool is_taken), void *user);

/* How many spares are ready. */
struct pool_size {
    size_t hot, waiting;
};
void pool_size(const struct sandbox_host *h, struct pool_size *out);

/* The source of this image, as its row describes it, when spares of it are kept, or NULL;
 * borrowed. */
struct source *pool_source(const struct sandbox_host *h, const struct store_build *image);

/* A sandbox was made from this source: spares for the next one are made in the background. */
void pool_used(struct sandbox_host *h, struct source *source);

/* A sandbox that stands on an image was made to run: the same, if spares of that are kept. */
void pool_used_by(const struct sandbox_own *own);

/* Fill the pool for the template that creates name by default. */
void pool_begin(struct sandbox_host *h);

/* The VM of a spare ended. */
void pool_vm_ended(struct sandbox_own *own, const char *detail);

/* End all spares and make no more; pool_is_empty() tells when they are gone, and then
 * sandbox_host_check_stop() is called. */
void pool_stop(struct sandbox_host *h);
bool pool_is_empty(const struct sandbox_host *h);
void pool_free(struct pool *p);

#endif
