/* Templates, their names and tags, and their builds. */
#ifndef ORCHESTRATOR_STORE_TEMPLATES_H
#define ORCHESTRATOR_STORE_TEMPLATES_H

#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"
#include "orchestrator/store/layers.h"
#include "orchestrator/store/template_ref.h"

#include <limits.h>

#define BUILD_MAKER_SIZE 64

/* A name for builds of one kind: images, or snapshots of sandboxes. */
struct store_template {
    char id[ID_TEMPLATE_SIZE];
    char team_id[ID_UUID_SIZE];    /* empty: the operator's */
    char team_slug[65];            /* of that team */
    char name[TEMPLATE_NAME_SIZE]; /* the first one; empty when it has none */
    bool is_public;
    int64_t created_ns, updated_ns;
    int64_t last_spawned_ns; /* 0: never */
    int64_t spawn_count;
    int64_t build_count;
    bool is_snapshot;
};

/* A build, what sandboxes are made from: an image, or a snapshot of a sandbox. Immutable once its
 * status is "ready". */
struct store_build {
    char id[ID_UUID_SIZE];
    char template_id[ID_TEMPLATE_SIZE];
    char alias[TEMPLATE_NAME_SIZE]; /* the template's name; set by db_template_resolve() only */
    char status[16];                /* building, waiting, ready, error */
    char dir[PATH_MAX];             /* where its files are */
    unsigned vcpus;                 /* 0: the daemon's setting */
    unsigned memory_mb;             /* 0: the daemon's setting */
    uint64_t disk_mb;
    char envd_version[32];
    int64_t created_ns;
    int64_t finished_ns; /* 0: not yet */

    char kind[16];                           /* image, snapshot */
    char base_build_id[ID_UUID_SIZE];        /* the image under a snapshot; an image's own id */
    char base_dir[PATH_MAX];                 /* where the files of that one are */
    char layer_id[ID_UUID_SIZE];             /* the newest layer of its disk; empty for an image */
    char source_sandbox_id[ID_SANDBOX_SIZE]; /* what it is a snapshot of; may be gone */
    bool filesystem_only;                    /* without memory */
    char memory_base[8]; /* what its memory differs from: build (base_build_id), zeros */
    char created_by[BUILD_MAKER_SIZE];
    /* The layers of its disk, the oldest first; set by db_template_resolve() only. */
    char layers[STORE_LAYERS_MAX][ID_UUID_SIZE];
    size_t nlayers;
};

/* The template that a team means by a reference (an id, or a name: first among its own, then among
 * the public ones). ERR_NOT_FOUND "template 'x' not found", ERR_DENIED "you don't have access to
 * template 'x'", ERR_INVALID. The tag of the reference plays no part. */
int db_template_find(struct db *db, const char *team_id, const char *ref,
                     struct store_template *out, struct err *err);

/* The same, and the build that the tag stands for: ERR_NOT_FOUND "tag 't' does not exist for
 * template 'x'" too. */
int db_template_resolve(struct db *db, const char *team_id, const char *ref,
                        struct store_template *out, struct store_build *build, struct err *err);

/* The build with an id, with its layers: ERR_NOT_FOUND when there is none. */
int db_build_find(struct db *db, const char *id, struct store_build *out, struct err *err);

/* Make a finished image known under a name and let the tag "default" stand for it from now on; the
 * template is made when there is none of that name. team_id NULL: the operator's, public to all.
 * build->id, dir, sizes and envd_version are taken as given (an empty id is filled in); the rest is
 * filled in, as is *out. ERR_EXISTS when it is the name of a snapshot. One transaction. */
int db_template_publish(struct db *db, const char *team_id, const char *name,
                        struct store_build *build, struct store_template *out, struct err *err);

/* Forget builds of the template (NULL: of every one) that nothing needs: finished before
 * `before_ns`, and neither a tag nor a sandbox on record, running or paused, nor another build
 * stands on them. remove(user, dir) removes the files of each first, inside a write transaction;
 * what it fails to remove stays on record. A snapshot
 * template that is left with no build goes too. */
int db_template_prune(struct db *db, const char *template_id, int64_t before_ns,
                      bool (*remove)(void *user, const char *dir), void *user, struct err *err);

/* Delete a template of the team with all its builds; when the reference has a tag ("default" too),
 * that tag with its build, and the template with the last one. ERR_NOT_FOUND when the team has no
 * such template or tag; ERR_INVALID "... N sandboxes ..." when a sandbox, running or paused, or a
 * snapshot that stays stands on a build that would go. One transaction; after it removed(user, id,
 * dir) is called for each build that went, whose files nothing needs any more. */
int db_template_delete(struct db *db, const char *team_id, const char *ref,
                       void (*removed)(void *user, const char *build_id, const char *dir),
                       void *user, struct err *err);

/* Templates of images that a team sees, its own and the operator's (NULL: all there are), by name,
 * each with the build that its tag "default" stands for (NULL: none). */
int db_template_list(struct db *db, const char *team_id,
                     void (*each)(void *user, const struct store_template *t,
                                  const struct store_build *build),
                     void *user, struct err *err);

#endif
