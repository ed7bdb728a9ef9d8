/* A VM's control group, with what its process may take. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fault.h"
#include "common/base/log.h"

#include <errno.h>

static void set_limits(const struct vmm *v, struct cgroup_limits *out)
{
    const struct vmm_allowance *a = &v->driver->allowance;
    const uint64_t guest = (uint64_t)v->config.memory_mb << 20;
    *out = (struct cgroup_limits){ .pids = a->pids, .weight = v->config.vcpus };
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
