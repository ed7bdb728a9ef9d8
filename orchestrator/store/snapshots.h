/* Snapshots of sandboxes: builds that later sandboxes begin from. Each tag of a snapshot template
 * is a snapshot to clients. */
#ifndef ORCHESTRATOR_STORE_SNAPSHOTS_H
#define ORCHESTRATOR_STORE_SNAPSHOTS_H

#include "orchestrator/store/templates.h"

struct store_snapshot {
    char id[TEMPLATE_REF_MAX + 1];   /* "<team's slug>/<name>:<tag>", or "<template>:<tag>" */
    char name[TEMPLATE_REF_MAX + 1]; /* "<team's slug>/<name>", empty when it has none */
    char template_id[ID_TEMPLATE_SIZE];
    char tag[TEMPLATE_NAME_SIZE];
    char build_id[ID_UUID_SIZE];
    char source_sandbox_id[ID_SANDBOX_SIZE];
    int64_t created_ns;
};

/* Make a snapshot known to its team. `name` is "[<slug>/]name[:tag]": the tag, or "default", stands
 * for this build from now on, in the team's snapshot template of that name, which is made when
 * there is none; NULL: in a new template without a name. Taken as given from *b: id (when not
 * empty), dir, sizes, envd_version, created_ns (when not 0), layer_id (on record), base_build_id
 * (an image), memory_base ("build" when empty), source_sandbox_id, filesystem_only, created_by; the
 * rest is filled in, as is *out. ERR_INVALID for a name against the rules, ERR_EXISTS for one of an
 * image's template, ERR_NOT_FOUND when the image is not on record. One transaction. */
int db_snapshot_publish(struct db *db, const char *team_id, const char *name, struct store_build *b,
                        struct store_snapshot *out, struct err *err);

/* What to list; NULL and 0: not asked for. */
struct snapshot_filter {
    const char *sandbox_id; /* of this sandbox */
    const char *name;       /* a reference; without a tag all tags of it */
    /* The page after the snapshot that was created then, with this template and tag. */
    int64_t after_ns;
    const char *after_template, *after_tag;
    unsigned limit;
};

/* The team's snapshots, the newest first. ERR_INVALID for a name that is no reference. The record
 * is borrowed for the call. */
int db_snapshot_list(struct db *db, const char *team_id, const struct snapshot_filter *filter,
                     void (*each)(void *user, const struct store_snapshot *snapshot), void *user,
                     struct err *err);

/* How many paused sandboxes and snapshots the team has; a build that another one replaced counts
 * until it is pruned. */
int db_team_kept(struct db *db, const char *team_id, int64_t *n, struct err *err);

#endif
