/* A stopped VM's snapshot on its way to the disk, in steps that an operation drives. */
#ifndef ORCHESTRATOR_SANDBOX_SAVING_H
#define ORCHESTRATOR_SANDBOX_SAVING_H

#include "orchestrator/sandbox/internal.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/snapshot.h"

#include <stdatomic.h>

struct saving {
    struct sandbox_own *own;
    uv_work_t work;
    int state_fd;        /* device state; owned; -1: none */
    char dir[PATH_MAX];  /* of the snapshot; empty: the disk alone is kept */
    char disk[PATH_MAX]; /* the overlay that must be on the disk too */
    struct vmm_memory memory;
    struct memory_copy *copy; /* memory that was copied while the VM stood still, or NULL */
    struct snapshot_manifest manifest;
    bool begun;
    atomic_uint parts; /* that were begun, of what is written at once */
    int dirfd;         /* of the snapshot on its way */
    struct err err, beside_err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

void saving_init(struct saving *s);

/* What will be written for `own`: a snapshot of that id (NULL: none, the disk alone). */
int saving_prepare(struct saving *s, struct sandbox_own *own, const char *snapshot_id,
                   struct err *err);

/* Copy the stopped VM's memory, so that it can go on before it is written. done from the loop, with
 * ERR_UNAVAILABLE when the disk has no room for it; so it is when it is written without a copy. */
void saving_capture(struct saving *s, void (*done)(void *user, const struct err *err), void *user);

/* Write and sync everything, on a worker; done from the loop. */
void saving_write(struct saving *s, void (*done)(void *user, const struct err *err), void *user);

/* Remove what was written. */
void saving_undo(struct saving *s);

/* Let go of what is held. */
void saving_end(struct saving *s);

#endif
