/* What a snapshot of a running sandbox and a fork of it have in common. */
#ifndef ORCHESTRATOR_SANDBOX_CHECKPOINT_H
#define ORCHESTRATOR_SANDBOX_CHECKPOINT_H

#include "orchestrator/sandbox/internal.h"
#include "orchestrator/snapshot/manifest.h"

/* What was saved: borrowed for the call of done. Its folder is snapshot_folder(id); layer_id is the
 * overlay that was frozen. */
struct checkpoint_result {
    char id[ID_UUID_SIZE];
    char layer_id[ID_UUID_SIZE];
    const struct sandbox_own *own;
    const struct snapshot_manifest *manifest; /* NULL: the disk alone */
};

/* Save the running sandbox, which goes on. `publish` is called when everything is on the disk, to
 * write down what stands on it, and calls checkpoint_published() exactly once; the sandbox's
 * transition ends then. done comes last. When it fails nothing is left. */
struct checkpoint;
typedef void (*checkpoint_publish_cb)(void *user, struct checkpoint *c,
                                      const struct checkpoint_result *r);
typedef void (*checkpoint_done_cb)(void *user, const struct sandbox_timings *t,
                                   const struct err *err);
void checkpoint_start(struct sandbox *sb, bool memory, bool require_healthy,
                      checkpoint_publish_cb publish, checkpoint_done_cb done, void *user);
void checkpoint_published(struct checkpoint *c, const struct err *err);

/* Why none can be made now; false when one can. */
bool checkpoint_refused(struct sandbox_host *h, struct sandbox *sb, const char *id,
                        struct err *err);

#endif
