#ifndef ORCHESTRATOR_VMM_BOARD_H
#define ORCHESTRATOR_VMM_BOARD_H

/* What a VM is around its processors and its memory: part of a snapshot's identity. */
enum vmm_board {
    VMM_BOARD_PC,    /* PCI and ACPI: any distribution's kernel runs on it */
    VMM_BOARD_MICRO, /* neither, and few devices: a kernel that was built for it */
    VMM_BOARD_NR
};

#endif
