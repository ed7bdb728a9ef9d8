#include "orchestrator/fault_points.h"

#include <stddef.h>

const char *const fault_points[] = {
    "create.template",   "create.journal",    "create.boot",
    "create.hello",      "create.configure",  "create.record",
    "http2.read-cached", "image.publish",     "memory.apply",
    "memory.capture",    "memory.load",       "snapshot.begin",
    "snapshot.manifest", "snapshot.memory",   "snapshot.parent",
    "snapshot.rename",   "snapshot.state",    "snapshot.sync",
    "store.commit",      "store.sandbox_put", "vmm.adopt",
    "vmm.console",       "vmm.cont",          "vmm.layer",
    "vmm.load",          "vmm.load_fd",       "vmm.memory",
    "vmm.overlay",       "vmm.qmp",           "vmm.record",
    "vmm.run_dir",       "vmm.save",          "vmm.save_fd",
    "vmm.set_link",      "vmm.socket",        "vmm.spawn",
    "vmm.start",         "vmm.template",      NULL,
};
