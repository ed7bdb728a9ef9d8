/* A VM's control group, with what its process may take. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* Of a virtual CPU, and of a VMM that is in nobody's way. */
#define WEIGHT_OF_VCPU    100
#define WEIGHT_BACKGROUND 20

/* What the kernel makes of `nice` for a whole session that is in no CPU group. */
#define NICE_BACKGROUND 7

static unsigned weight_of(const struct vmm *v)
{
    return v->config.background ? WEIGHT_BACKGROUND : v->config.vcpus * WEIGHT_OF_VCPU;
}

void vm_set_session_nice(pid_t pid, bool background)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/autogroup", (int)pid);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) /* a kernel without is one that has nothing to say here */
        (void)!dprintf(fd, "%d", background ? NICE_BACKGROUND : 0);
}

void vmm_set_background(struct vmm *v, bool background)
{
    if (v->config.background == background)
        return;
    v->config.background = background;
    int rc = cgroup_set_weight(v->cgroups, v->id, weight_of(v));
    if (rc < 0)
        log_warn("a VM's share of the CPUs is not what it should be", LOG_STR("id", v->id),
                 LOG_STR("reason", strerror(-rc)));
    vm_set_session_nice(v->record.pid, background);
}

static void set_limits(const struct vmm *v, struct cgroup_limits *out)
{
    const struct vmm_allowance *a = &v->driver->allowance;
    const uint64_t guest = (uint64_t)v->config.memory_mb << 20;
    *out = (struct cgroup_limits){ .pids = a->pids, .weight = weight_of(v) };
    if (a->memory_mb) {
        out->memory_bytes = 2 * guest + ((uint64_t)a->memory_mb << 20);
        out->swap_bytes = guest;
    }
    if (a->cpus)
        out->cpu_percent = (v->config.vcpus + a->cpus) * 100;
}

int vm_group_make(const struct vmm *v, struct cgroup_door *door, struct err *err)
{
    struct cgroup_limits limits;
    if (FAULT_POINT("vmm.cgroup"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.cgroup");
    set_limits(v, &limits);
    int rc = cgroup_create(v->cgroups, v->id, &limits, err);
    return rc < 0 ? rc : cgroup_door_open(v->cgroups, v->id, door, err);
}

void vm_group_remove(const struct vmm *v)
{
    int rc = cgroup_remove(v->cgroups, v->id);
    if (rc < 0)
        log_error("a control group is left", LOG_STR("id", v->id),
                  LOG_STR("reason", strerror(-rc)));
}
