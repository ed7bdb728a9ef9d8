#include "orchestrator/vmm/qemu/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int copy(const char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return text && !*out ? -ENOMEM : 0;
}

static void drop(const char **text)
{
    free((void *)(uintptr_t)*text);
    *text = NULL;
}

int chain_copy(struct vmm_disk *out, const struct vmm_disk *from)
{
    *out = (struct vmm_disk){ 0 };
    assert(from->nlayers <= VMM_LAYERS_MAX);
    int rc = copy(&out->rootfs, from->rootfs);
    while (rc == 0 && out->nlayers < from->nlayers) {
        rc = copy(&out->layers[out->nlayers], from->layers[out->nlayers]);
        out->nlayers++;
    }
    return rc == 0 ? copy(&out->top, from->top) : rc;
}

void chain_free(struct vmm_disk *d)
{
    drop(&d->rootfs);
    drop(&d->top);
    chain_cut(d, 0);
}

void chain_push(struct vmm_disk *d, char *top)
{
    assert(d->nlayers < VMM_LAYERS_MAX);
    d->layers[d->nlayers++] = d->top;
    d->top = top;
}

void chain_pop(struct vmm_disk *d)
{
    assert(d->nlayers > 0);
    drop(&d->top);
    d->top = d->layers[--d->nlayers];
    d->layers[d->nlayers] = NULL;
}

void chain_cut(struct vmm_disk *d, size_t keep)
{
    while (d->nlayers > keep)
        drop(&d->layers[--d->nlayers]);
}

struct disk_backing chain_backing(const struct vmm_disk *d, size_t nlayers)
{
    if (nlayers == 0)
        return (struct disk_backing){ .path = d->rootfs };
    return (struct disk_backing){ .path = d->layers[nlayers - 1], .qcow2 = true };
}
