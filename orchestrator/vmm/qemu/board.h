/* The machines that our VMs are: what differs between them on QEMU's command line. */
#ifndef ORCHESTRATOR_VMM_QEMU_BOARD_H
#define ORCHESTRATOR_VMM_QEMU_BOARD_H

#include "orchestrator/vmm/vmm.h"

/* A device's driver, and where it is: device order and addresses are part of a snapshot. */
struct qemu_place {
    const char *driver; /* NULL: this board has none */
    const char *where;
};

struct qemu_board {
    /* The machine types we have tried, best first; NULL ends. A machine type is part of a
     * snapshot's identity, so it is named with its version where it has one. */
    const char *types[4];
    const char *options; /* of the machine, behind its type */
    const char *global;  /* a property of its own devices; NULL: none */
    struct qemu_place serial, disk, net, rng, panic;
};

extern const struct qemu_board qemu_boards[VMM_BOARD_NR];

#endif
