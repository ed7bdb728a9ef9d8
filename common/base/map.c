#include "common/base/map.h"

#include <stdlib.h>
#include <sys/random.h>

/* FNV-1a, started from a random value so that a client cannot choose colliding keys. */
static uint32_t hash_of(struct str key)
{
    static uint32_t seed;
    while (seed == 0)
        if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
            seed = 0x811c9dc5U;
    uint32_t h = seed;
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 16777619U;
    return h ^ (h >> 15);
}

void map_deinit(struct map *m)
{
    for (size_t i = 0; i < m->used; i++)
        free(m->entries[i].key);
    free(m->entries);
    free(m->index);
    *m = (struct map){ 0 };
}

static size_t index_size(const struct map *m)
{
    return m->cap * 2;
}

static struct map_entry *find(const struct map *m, struct str key, uint32_t hash)
{
    if (m->cap == 0)
        return NULL;
    size_t mask = index_size(m) - 1;
    for (size_t i = hash & mask; m->index[i]; i = (i + 1) & mask) {
        struct map_entry *e = &m->entries[m->index[i] - 1];
        if (e->key && e->hash == hash && strlen(e->key) == key.n &&
            memcmp(e->key, key.p, key.n) == 0)
            return e;
    }
    return NULL;
}

static void link_entry(struct map *m, size_t n)
{
    size_t mask = index_size(m) - 1;
    size_t i = m->entries[n].hash & mask;
    while (m->index[i])
        i = (i + 1) & mask;
    m->index[i] = (uint32_t)n + 1;
}

/* Make room for one more entry: drop deleted ones, or double. */
static bool grow(struct map *m)
{
    if (m->used < m->cap)
        return true;
    size_t cap = m->cap == 0 ? 8 : (m->count * 2 > m->cap ? m->cap * 2 : m->cap);
    struct map_entry *entries = calloc(cap, sizeof(*entries));
    uint32_t *index = calloc(cap * 2, sizeof(*index));
    if (!entries || !index) {
        free(entries);
        free(index);
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->used; i++)
        if (m->entries[i].key)
            entries[kept++] = m->entries[i];
    free(m->entries);
    free(m->index);
    *m = (struct map){ entries, index, kept, kept, cap };
    for (size_t i = 0; i < kept; i++)
        link_entry(m, i);
    return true;
}

void *map_get(const struct map *m, struct str key)
{
    struct map_entry *e = find(m, key, hash_of(key));
    return e ? e->value : NULL;
}

bool map_set(struct map *m, struct str key, void *value)
{
    uint32_t hash = hash_of(key);
    struct map_entry *e = find(m, key, hash);
    if (e) {
        e->value = value;
        return true;
    }
    char *copy = str_dup(key);
    if (!copy || !grow(m)) {
        free(copy);
        return false;
    }
    m->entries[m->used] = (struct map_entry){ copy, value, hash };
    link_entry(m, m->used);
    m->used++;
    m->count++;
    return true;
}

void *map_remove(struct map *m, struct str key)
{
    struct map_entry *e = find(m, key, hash_of(key));
    if (!e)
        return NULL;
    void *value = e->value;
    free(e->key);
    e->key = NULL;
    e->value = NULL;
    m->count--;
    return value;
}

struct map_entry *map_next(const struct map *m, const struct map_entry *prev)
{
    for (size_t i = prev ? (size_t)(prev - m->entries) + 1 : 0; i < m->used; i++)
        if (m->entries[i].key)
            return &m->entries[i];
    return NULL;
}
