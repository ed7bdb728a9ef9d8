/*
 * What the image builder keeps between runs: <cache>/<step>-<key>/ is the finished result of a step
 * for these inputs. A step works in a folder of its own that is renamed when it is complete, so
 * nothing half-made is ever found; what an interrupted run left is removed by the next.
 */
#ifndef ORCHESTRATOR_IMAGE_CACHE_H
#define ORCHESTRATOR_IMAGE_CACHE_H

#include "common/base/err.h"
#include "common/base/sha256.h"
#include "common/base/str.h"

#include <limits.h>
#include <stdbool.h>

#define CACHE_KEY_SIZE 17
#define CACHE_PATH_MAX (PATH_MAX - 256)

/* The inputs of a step. Every part counts with its name, so that no two lists of parts are alike.
 */
struct cache_key {
    struct sha256 hash;
};
void cache_key_init(struct cache_key *k, const char *step);
void cache_key_add(struct cache_key *k, const char *name, struct str value);
void cache_key_text(const struct cache_key *k, char out[static CACHE_KEY_SIZE]);

struct cache {
    char dir[CACHE_PATH_MAX]; /* $XDG_CACHE_HOME/sandpit/image, ~/.cache/sandpit/image */
    char log[PATH_MAX];       /* what the child processes print */
    int lock;
};

/* Make the folder, wait for the builder that holds it (waiting(user) is called once when there is
 * one) and clear away what an interrupted one left. 0 or -errno. */
int cache_open(struct cache *c, void (*waiting)(void *user), void *user, struct err *err);
void cache_close(struct cache *c);

/* Path of the result of a step; whether it is there. */
bool cache_has(const struct cache *c, const char *step, const char *key, char out[static PATH_MAX]);

/* A new, empty folder to work in. */
int cache_work_dir(const struct cache *c, char out[static PATH_MAX], struct err *err);

/* Remove a work folder, and what a killed child left mounted in it. */
void cache_discard(const char *work);

/* The work folder becomes the step's result for the key, in place of an older one; other keys'
 * results of the step are removed. */
int cache_commit(const struct cache *c, const char *work, const char *step, const char *key,
                 struct err *err);

#endif
