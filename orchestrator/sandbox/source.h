/*
 * What a sandbox's VM is started from: a disk made of the image's root file system and frozen
 * layers, and, unless only the disk was kept, a snapshot of devices and memory.
 */
#ifndef ORCHESTRATOR_SANDBOX_SOURCE_H
#define ORCHESTRATOR_SANDBOX_SOURCE_H

#include "common/base/err.h"
#include "common/base/list.h"
#include "orchestrator/snapshot/manifest.h"
#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

/* Memory of images that no sandbox needs at the moment, kept for the next one. */
#define BASES_KEPT 4

struct sandbox_host;

/* The memory of an image's snapshot, once for all its sandboxes. */
struct base_memory {
    struct list node; /* of host->bases, the last used first */
    char build_id[ID_UUID_SIZE];
    int fd; /* sealed memfd */
    unsigned refs;
};

struct source {
    unsigned refs;
    struct sandbox_host *host;
    struct store_build build; /* the image or the snapshot */
    struct vmm_template boot; /* for a cold boot */
    char rootfs[PATH_MAX];
    char image_layer[PATH_MAX];        /* of the image's own snapshot; empty: none */
    char snapshot_dir[PATH_MAX];       /* empty: only the disk was kept */
    struct snapshot_manifest manifest; /* of that */
    struct base_memory *base;          /* NULL: the memory stands on zeros */
    bool diff;                         /* the snapshot has memory of its own beside the base's */
    char base_build_id[ID_UUID_SIZE];  /* empty: zeros */
    char image_build_id[ID_UUID_SIZE];
    char layers[STORE_LAYERS_MAX][ID_UUID_SIZE]; /* frozen, oldest first, above the image */
    size_t nlayers;
};

/* Open a build. done once, never from inside, with a reference that is the callee's, or err. */
typedef void (*source_cb)(void *user, struct source *source, const struct err *err);
void source_open(struct sandbox_host *h, const struct store_build *build, source_cb done,
                 void *user);

/* Open what a paused sandbox stands on: its image, its layers, and its snapshot when
 * `snapshot_id` is not empty. */
struct sandbox_own;
void source_open_paused(struct sandbox_host *h, const struct sandbox_own *own,
                        const char *snapshot_id, source_cb done, void *user);

/* The same of a sandbox that was saved while it runs: every layer up to `layer_id` is frozen. */
void source_open_frozen(struct sandbox_host *h, const struct sandbox_own *own, const char *layer_id,
                        const char *snapshot_id, source_cb done, void *user);

struct source *source_ref(struct source *s);
void source_unref(struct source *s);

/* Paths below the data directory. */
void layer_path(const struct sandbox_host *h, const char *layer_id, char out[static PATH_MAX]);
void snapshot_folder(const struct sandbox_host *h, const char *id, char out[static PATH_MAX]);

/* The VM of a sandbox on this source; `config` borrows from both and from `paths`. */
struct source_paths {
    char layers[STORE_LAYERS_MAX][PATH_MAX];
    char top[PATH_MAX];
};
void source_fill_config(const struct source *s, const struct sandbox_own *own,
                        struct source_paths *paths, struct vmm_config *config);

/* Let go of all that is kept. */
void source_bases_free(struct sandbox_host *h);

#endif
