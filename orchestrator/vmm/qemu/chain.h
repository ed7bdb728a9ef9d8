/* A struct vmm_disk that owns its texts, and changes as its VM's disk does. */
#ifndef ORCHESTRATOR_VMM_QEMU_CHAIN_H
#define ORCHESTRATOR_VMM_QEMU_CHAIN_H

#include "orchestrator/vmm/qemu/disk.h"
#include "orchestrator/vmm/vmm.h"

/* 0 or -ENOMEM; chain_free() either way. The number of layers must have been checked. */
int chain_copy(struct vmm_disk *out, const struct vmm_disk *from);
void chain_free(struct vmm_disk *d);

/* The top becomes the newest layer and `top`, which is taken, the new one. There must be room. */
void chain_push(struct vmm_disk *d, char *top);

/* Undo chain_push(). There must be a layer. */
void chain_pop(struct vmm_disk *d);

/* Forget all layers but the oldest `keep`. */
void chain_cut(struct vmm_disk *d, size_t keep);

/* What an overlay on the oldest `nlayers` layers stands on. */
struct disk_backing chain_backing(const struct vmm_disk *d, size_t nlayers);

#endif
