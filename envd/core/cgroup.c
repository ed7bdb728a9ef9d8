#include "envd/core/cgroup.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

/* Memory that user processes leave to envd and the kernel: an eighth, at most this. */
#define RESERVED_MAX (128ULL << 20)

static int put(const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static int make_group(const char *root, const char *name, const char *cpu, const char *io,
                      const char *memory)
{
    char dir[PATH_MAX], procs[PATH_MAX];
    if (snprintf(dir, sizeof(dir), "%s/%s", root, name) >= (int)sizeof(dir) ||
        snprintf(procs, sizeof(procs), "%s/%s/cgroup.procs", root, name) >= (int)sizeof(procs))
        return -ENAMETOOLONG;
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return -errno;
    /* A kernel without one of the controllers still gives the grouping. */
    put(dir, "cpu.weight", cpu);
    put(dir, "io.weight", io);
    put(dir, "memory.high", memory);
    put(dir, "memory.max", memory);
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void cgroup_setup(struct envd *e, const char *root)
{
    struct sysinfo si;
    unsigned long long total =
        sysinfo(&si) == 0 ? (unsigned long long)si.totalram * si.mem_unit : 0;
    unsigned long long kept = total / 8 < RESERVED_MAX ? total / 8 : RESERVED_MAX;
    char memory[32];
    snprintf(memory, sizeof(memory), "%llu", total - kept);

    put(root, "cgroup.subtree_control", "+cpu +memory");
    put(root, "cgroup.subtree_control", "+io");
    e->cgroup_user = make_group(root, "user", "50", "10", memory);
    e->cgroup_ptys = make_group(root, "ptys", "200", "50", memory);
    if (e->cgroup_user < 0 || e->cgroup_ptys < 0) {
        int rc = e->cgroup_user < 0 ? e->cgroup_user : e->cgroup_ptys;
        log_warn("no cgroups for processes", LOG_STR("root", root),
                 LOG_STR("reason", strerror(-rc)));
        if (e->cgroup_user >= 0)
            close(e->cgroup_user);
        if (e->cgroup_ptys >= 0)
            close(e->cgroup_ptys);
        e->cgroup_user = e->cgroup_ptys = -1;
    }
}
