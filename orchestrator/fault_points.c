#include "orchestrator/fault_points.h"

#include <stddef.h>

const char *const fault_points[] = {
    "create.template",
    "create.journal",
    "create.boot",
    "create.hello",
    "create.configure",
    "create.record",
    "http2.read-cached",
    "image.publish",
    "store.commit",
    "store.sandbox_put",
    "vmm.adopt",
    "vmm.console",
    "vmm.cont",
    "vmm.memory",
    "vmm.overlay",
    "vmm.qmp",
    "vmm.record",
    "vmm.run_dir",
    "vmm.set_link",
    "vmm.socket",
    "vmm.spawn",
    "vmm.template",
    NULL,
};
