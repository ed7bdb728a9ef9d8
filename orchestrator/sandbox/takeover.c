/*
 * The VMM of a waiting spare for a sandbox that has a disk and a snapshot of its own. Its memory is
 * that of the image, which is what the snapshot's pages are written over; its disk is exchanged
 * for the sandbox's. Everything else of it stays as it is: the process, its user, its control group
 * and its run directory, which have the spare's name and not the sandbox's.
 *
 * So nothing on the host changes hands. The sandbox's row names the run directory once the sandbox
 * is written down as running. A daemon that dies before that leaves a directory that no row names,
 * and the next one ends the VMM in it.
 */
#include "common/base/fault.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/spare.h"

static void hand_over(struct spare *s)
{
    struct sandbox_own *own = s->taker, *spare = s->own;
    log_debug("a sandbox has the VMM of a spare", LOG_STR("sandbox_id", own->sb.id),
              LOG_STR("spare", spare->sb.id));
    own->sb.vmm = TAKE(spare->sb.vmm);
    vmm_set_user(own->sb.vmm, &own->sb);
    memcpy(own->run_dir, spare->run_dir, sizeof(own->run_dir));
    slot_give(own);
    own->slot = spare->slot;
    spare->slot = -1;
    list_remove(&s->node);
    source_unref(s->source);
    spare->spare = NULL;
    sandbox_discard(spare);
    s->taken(s->taken_user, true);
    free(s);
}

static void on_replaced(void *user, const struct err *err)
{
    struct spare *s = user;
    if (sm_state(&s->sm) != SPARE_TAKEN)
        return;
    if (err)
        spare_fail(s, err);
    else
        hand_over(s);
}

static bool fits(const struct spare *s, const struct sandbox_own *own, const struct source *source)
{
    const struct sandbox *have = &s->own->sb, *want = &own->sb;
    return sm_state(&s->sm) == SPARE_READY && !s->hot &&
           strcmp(s->source->image_build_id, source->image_build_id) == 0 &&
           strcmp(s->source->base_build_id, source->base_build_id) == 0 &&
           have->vcpus == want->vcpus && have->memory_mb == want->memory_mb &&
           have->disk_mb == want->disk_mb;
}

static struct spare *find(const struct sandbox_own *own, const struct source *source)
{
    list_for_each (node, &own->sb.host->pool->spares) {
        struct spare *s = container_of(node, struct spare, node);
        if (fits(s, own, source))
            return s;
    }
    return NULL;
}

bool pool_take_vmm(struct sandbox_own *own, const struct source *source,
                   void (*done)(void *user, bool is_taken), void *user)
{
    struct spare *s = find(own, source);
    AUTO_FREE struct source_paths *paths = s ? malloc(sizeof(*paths)) : NULL;
    struct vmm_config config;
    struct err err;
    if (!paths)
        return false;
    sm_move(&s->sm, SPARE_TAKEN);
    s->taker = own;
    s->taken = done;
    s->taken_user = user;
    if (FAULT_POINT("pool.take")) {
        err_fill(&err, ERR_INTERNAL, "fault injected at pool.take");
        spare_fail(s, &err);
        return true;
    }
    vmm_set_background(s->own->sb.vmm, false);
    source_fill_config(source, own, paths, &config);
    vmm_replace_disk(s->own->sb.vmm, &config.disk, on_replaced, s);
    return true;
}
