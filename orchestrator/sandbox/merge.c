/*
 * Each snapshot and each fork leaves a running sandbox one more layer under its disk. When there
 * are many, what they hold is copied into the one it writes, while it goes on; they stay for those
 * that stand on them too. A merge that another transition cuts short is begun again by the next
 * snapshot.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/log.h"

/* Layers above the root file system, the image's own among them, that are not worth a merge. */
#define MERGE_ABOVE 6

/* What stays under the merged one: the image's own layer. */
#define MERGE_KEEP 1

struct merge {
    struct sandbox *sb;
    char layer_id[ID_UUID_SIZE]; /* that took the others up */
};

static void on_merged(void *user, const struct err *err)
{
    struct merge *m = user;
    struct sandbox_own *own = own_of(m->sb);
    own->merge = NULL;
    if (err && err->code != ERR_CANCELED) {
        log_warn("the layers of a disk were not merged", LOG_STR("sandbox_id", m->sb->id),
                 LOG_STR("reason", err->msg));
    } else if (!err) {
        log_info("the layers of a disk were merged", LOG_STR("sandbox_id", m->sb->id));
        if (strcmp(own->layer_id, m->layer_id) == 0)
            own->parent_layer_id[0] = '\0';
        store_layer_set_parent(m->sb->host->store, m->layer_id, "", NULL, NULL);
        sandbox_collect(m->sb->host);
    }
    sandbox_unref(m->sb);
    free(m);
}

void merge_layers(struct sandbox_own *own)
{
    if (own->merge || !own->sb.vmm || vmm_disk(own->sb.vmm)->nlayers <= MERGE_ABOVE)
        return;
    struct merge *m = calloc(1, sizeof(*m));
    if (!m)
        return; /* the next snapshot comes here again */
    m->sb = &own->sb;
    memcpy(m->layer_id, own->layer_id, sizeof(m->layer_id));
    own->merge = m;
    sandbox_ref(&own->sb);
    vmm_merge_disk(own->sb.vmm, MERGE_KEEP, on_merged, m);
}

void merge_forget(struct sandbox_own *own)
{
    if (!own->merge)
        return;
    free(TAKE(own->merge));
    sandbox_unref(&own->sb);
}
