/* The files in which the kernel takes limits. */
#include "orchestrator/cgroup/internal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#define CPU_PERIOD_US 100000
#define V2_WEIGHT_MAX 10000
#define V1_SHARES     1024 /* of a group that nobody gave others */
#define TEXT_SIZE     64

const char *limit_name(enum cgroup_limit limit)
{
    static const char *const names[CGROUP_LIMIT_NR] = {
        [CGROUP_MEMORY] = "memory",
        [CGROUP_PIDS] = "pids",
        [CGROUP_CPU] = "cpu",
    };
    return names[limit];
}

int group_write(const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX];
    size_t n = strlen(text);
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    ssize_t written = write(fd, text, n);
    if (written < 0)
        return -errno;
    return written == (ssize_t)n ? 0 : -EIO;
}

static int write_number(const char *dir, const char *file, uint64_t number)
{
    char text[TEXT_SIZE];
    snprintf(text, sizeof(text), "%" PRIu64, number);
    return group_write(dir, file, text);
}

/* A kernel that does not count swap has no such file, and then usually no swap. */
static int write_swap(const char *dir, const char *file, uint64_t bytes)
{
    int rc = write_number(dir, file, bytes);
    return rc == -ENOENT ? 0 : rc;
}

static int set_memory(enum cgroup_version version, const char *dir, const struct cgroup_limits *l)
{
    if (!l->memory_bytes)
        return 0;
    if (version == CGROUP_V2) {
        int rc = write_number(dir, "memory.max", l->memory_bytes);
        return rc < 0 ? rc : write_swap(dir, "memory.swap.max", l->swap_bytes);
    }
    int rc = write_number(dir, "memory.limit_in_bytes", l->memory_bytes);
    if (rc < 0)
        return rc;
    return write_swap(dir, "memory.memsw.limit_in_bytes", l->memory_bytes + l->swap_bytes);
}

static int set_cpu_v2(const char *dir, const struct cgroup_limits *l)
{
    char text[TEXT_SIZE];
    int rc = 0;
    if (l->weight)
        rc = write_number(dir, "cpu.weight", l->weight < V2_WEIGHT_MAX ? l->weight : V2_WEIGHT_MAX);
    if (rc < 0 || !l->cpu_percent)
        return rc;
    snprintf(text, sizeof(text), "%" PRIu64 " %d", (uint64_t)l->cpu_percent * CPU_PERIOD_US / 100,
             CPU_PERIOD_US);
    return group_write(dir, "cpu.max", text);
}

static int set_cpu_v1(const char *dir, const struct cgroup_limits *l)
{
    int rc = 0;
    if (l->weight)
        rc = write_number(dir, "cpu.shares", (uint64_t)l->weight * V1_SHARES / 100);
    if (rc < 0 || !l->cpu_percent)
        return rc;
    rc = write_number(dir, "cpu.cfs_period_us", CPU_PERIOD_US);
    if (rc < 0)
        return rc;
    return write_number(dir, "cpu.cfs_quota_us", (uint64_t)l->cpu_percent * CPU_PERIOD_US / 100);
}

int limit_set(enum cgroup_version version, const char *dir, enum cgroup_limit limit,
              const struct cgroup_limits *limits)
{
    switch (limit) {
    case CGROUP_MEMORY:
        return set_memory(version, dir, limits);
    case CGROUP_PIDS:
        return limits->pids ? write_number(dir, "pids.max", limits->pids) : 0;
    case CGROUP_CPU:
        return version == CGROUP_V2 ? set_cpu_v2(dir, limits) : set_cpu_v1(dir, limits);
    case CGROUP_LIMIT_NR:
        break;
    }
    return -EINVAL;
}
