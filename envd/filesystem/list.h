/* The walk of ListDir: a directory and, to a depth, what is below it, in lexical order. */
#ifndef ENVD_FILESYSTEM_LIST_H
#define ENVD_FILESYSTEM_LIST_H

#include "common/base/err.h"
#include "envd/filesystem/entry.h"

#define LIST_ENTRIES_MAX 100000      /* in one answer */
#define LIST_BYTES_MAX   (32U << 20) /* of memory for one answer */

struct list_level;

/* Private but for the result: n_entries entries, in the arena. */
struct list_walk {
    struct entry_reader reader;
    struct list_level *top;        /* the directory being walked; its parents behind it */
    const struct list_level *here; /* the current directory is this one's, during a step */
    size_t waiting;                /* names read but not yet described */
    size_t max;
    Filesystem__EntryInfo **entries;
    size_t n_entries, cap;
};

/*
 * Begin to list the directory `path` (links are followed) to a depth of 1 or more, at most `max`
 * entries. The entries' paths begin with `path`. ERR_NOT_FOUND, ERR_INVALID when it is no
 * directory, ERR_PRECONDITION for too many links, ERR_INTERNAL. Whatever is returned, call
 * list_walk_deinit() in the end.
 */
int list_walk_init(struct list_walk *w, struct arena *arena, const char *path, uint32_t depth,
                   size_t max, struct err *err);
void list_walk_deinit(struct list_walk *w);

/* Describe at most `budget` more entries. Changes the current directory while it runs, so other
 * threads must not use relative paths. 1: there is more to do, 0: done; else -errno, with
 * ERR_EXHAUSTED beyond the limits. What vanishes during the walk is left out. */
int list_walk_step(struct list_walk *w, size_t budget, struct err *err);

#endif
