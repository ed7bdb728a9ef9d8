#include "common/base/fault.h"

#ifdef SANDPIT_FAULT_POINTS

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/map.h"

#include <pthread.h>

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

bool fault_due(const char *name)
{
    const char *env = getenv("SANDPIT_FAULTS"), *path = getenv("SANDPIT_FAULTS_FILE");
    if (!env && !path)
        return false;
    uint64_t nth = count_pass(str_of(name));
    bool due = env && listed(str_of(env), str_of(name), nth);
    AUTO_FCLOSE FILE *f = path ? fopen(path, "re") : NULL;
    if (f) {
        char text[1024];
        size_t n = fread(text, 1, sizeof(text), f);
        while (n && (text[n - 1] == '\n' || text[n - 1] == ' '))
            n--;
        due = due || listed((struct str){ text, n }, str_of(name), nth);
    }
    if (due)
        log_warn("fault point", LOG_STR("name", name), LOG_INT("pass", nth));
    return due;
}

#endif
