/* What makes a root file system a guest of ours: envd, the user, and the few files it needs. */
#ifndef ORCHESTRATOR_IMAGE_BAKE_H
#define ORCHESTRATOR_IMAGE_BAKE_H

#include "common/base/err.h"
#include "common/base/str.h"

struct bake {
    const char *tree; /* the folder, changed in place */
    const char *name; /* of the template */
    const char *build_id;
    struct str envd; /* the program itself */
    bool own;        /* we made the tree: the machine's names in it are replaced */
};

/* 0 or -errno; on failure the tree is half changed. */
int bake_tree(const struct bake *b, struct err *err);

#endif
