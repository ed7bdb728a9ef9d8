#include "common/base/fault.h"

#ifdef SANDPIT_FAULT_POINTS

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/map.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define LIST_MAX  1024
#define POINT_MAX 64
#define LOOK_NS   10000000

static bool listed(struct str list, struct str name, uint64_t nth)
{
    list = str_trim(list);
    while (list.p) {
        struct str item = str_trim(str_split(&list, ','));
        ptrdiff_t colon = str_find(item, ':');
        if (colon < 0 && str_eq(item, name))
            return true;
        uint64_t at;
        if (colon >= 0 && str_eq((struct str){ item.p, (size_t)colon }, name) &&
            str_to_u64(str_from(item, (size_t)colon + 1), UINT32_MAX, &at) && at == nth)
            return true;
    }
    return false;
}

/* How often each point was passed, as a pointer-sized number. Points are passed by workers too. */
static uint64_t count_pass(struct str name)
{
    static struct map passes;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    uint64_t n = (uint64_t)(uintptr_t)map_get(&passes, name) + 1;
    map_set(&passes, name, (void *)(uintptr_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}

static bool in_file(const char *path, struct str name, uint64_t nth)
{
    char text[LIST_MAX];
    AUTO_FCLOSE FILE *f = fopen(path, "re");
    if (!f)
        return false;
    size_t n = fread(text, 1, sizeof(text), f);
    while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    return listed((struct str){ text, n }, name, nth);
}

static void stand_still(const char *path, const char *name)
{
    const struct timespec look = { .tv_nsec = LOOK_NS };
    char held[POINT_MAX];
    int n = snprintf(held, sizeof(held), "%s@", name);
    bool told = false;
    while (n < POINT_MAX && in_file(path, (struct str){ held, (size_t)n }, 0)) {
        if (!told)
            log_warn("fault point holds", LOG_STR("name", name));
        told = true;
        nanosleep(&look, NULL);
    }
}

bool fault_due(const char *name)
{
    const char *env = getenv("SANDPIT_FAULTS"), *path = getenv("SANDPIT_FAULTS_FILE");
    if (!env && !path)
        return false;
    uint64_t nth = count_pass(str_of(name));
    if (path)
        stand_still(path, name);
    bool due = (env && listed(str_of(env), str_of(name), nth)) ||
               (path && in_file(path, str_of(name), nth));
    if (due)
        log_warn("fault point", LOG_STR("name", name), LOG_INT("pass", nth));
    return due;
}

#endif
