/* A hash map from text to pointer. Keys are copied; values are borrowed. Iteration order is the
 * order of insertion as long as nothing was deleted. */
#ifndef COMMON_BASE_MAP_H
#define COMMON_BASE_MAP_H

#include "common/base/str.h"

struct map_entry {
    char *key; /* NULL: free slot */
    void *value;
    uint32_t hash;
};

/* All zero is a valid empty map. */
struct map {
    struct map_entry *entries;
    uint32_t *index; /* power of two; entry number + 1, or 0 */
    size_t used;     /* entries written, deleted ones included */
    size_t count;    /* live entries */
    size_t cap;
};

void map_deinit(struct map *m);

/* The value of key, or NULL. */
void *map_get(const struct map *m, struct str key);

/* Set key to value (not NULL), replacing an earlier one. false when memory is out. */
bool map_set(struct map *m, struct str key, void *value);

/* Remove key and return its value, or NULL when there was none. */
void *map_remove(struct map *m, struct str key);

/* Loop: for (struct map_entry *e = map_next(m, NULL); e; e = map_next(m, e)). The current entry
 * may be removed; nothing may be added meanwhile. */
struct map_entry *map_next(const struct map *m, const struct map_entry *prev);

#endif
