/* What a team keeps on the disk while nothing of it runs: paused sandboxes and snapshots. */
#ifndef ORCHESTRATOR_SANDBOX_KEPT_H
#define ORCHESTRATOR_SANDBOX_KEPT_H

#include "orchestrator/sandbox/internal.h"

/* How many of both a team may have; 0: no limit. */
unsigned sandbox_host_kept_max(const struct sandbox_host *h);

struct kept_check {
    struct store_job job;
    struct sandbox_host *host;
    char team_id[ID_UUID_SIZE];
    int64_t kept;
    unsigned max;
    struct err err;
    void (*done)(struct kept_check *k, const struct err *err);
};

/* Ask whether the team may make something more that it can keep. true: it may. false: done comes
 * once, from the loop, and `k` must live until then; err is NULL or ERR_EXHAUSTED. */
bool kept_check(struct sandbox_host *h, const char *team_id, struct kept_check *k,
                void (*done)(struct kept_check *k, const struct err *err));

#endif
