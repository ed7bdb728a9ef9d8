#include "orchestrator/snapshot/host_memory.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>

#define MEMINFO_MAX 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t reserved;

/* The line "MemAvailable:   12345 kB", in bytes. */
static int read_available(uint64_t *bytes, struct err *err)
{
    struct buf text = { 0 };
    int rc = file_read("/proc/meminfo", MEMINFO_MAX, &text, err);
    AUTO_FREE char *all = rc < 0 ? NULL : buf_take_text(&text);
    buf_deinit(&text);
    if (rc < 0)
        return rc;
    const char *line = all ? strstr(all, "MemAvailable:") : NULL;
    if (!line || sscanf(line, "MemAvailable: %" SCNu64 " kB", bytes) != 1)
        return err_set(err, ERR_INTERNAL, EIO, "/proc/meminfo does not tell what is available");
    *bytes *= 1024;
    return 0;
}

int host_memory_reserve(uint64_t bytes, struct err *err)
{
    uint64_t available;
    int rc = read_available(&available, err);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&lock);
    uint64_t taken = reserved + HOST_MEMORY_LEFT;
    bool fits = available > taken && available - taken >= bytes;
    if (fits)
        reserved += bytes;
    pthread_mutex_unlock(&lock);
    if (fits)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, ENOMEM,
                   "the host has too little memory: %" PRIu64
                   " MB are needed beside what must stay "
                   "free, %" PRIu64 " MB are available",
                   bytes >> 20, available >> 20);
}

void host_memory_release(uint64_t bytes)
{
    pthread_mutex_lock(&lock);
    reserved -= bytes;
    pthread_mutex_unlock(&lock);
}
