/* QEMU's command line: for a VM that boots, or for one that waits for a snapshot. */
#ifndef ORCHESTRATOR_VMM_QEMU_ARGS_H
#define ORCHESTRATOR_VMM_QEMU_ARGS_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include "orchestrator/vmm/vmm.h"

#include <stdbool.h>
#include <stddef.h>

/* The inherited descriptors, by the numbers that the command line names. */
enum qemu_fd {
    QEMU_FD_MEMORY = 3,
    QEMU_FD_QMP,
    QEMU_FD_LINK,
    QEMU_FD_CONSOLE,
    QEMU_FD_ROOTFS,
    QEMU_FD_TOP,
    QEMU_FD_TOP_READ, /* the same file for reading only: for QEMU to change to once it is frozen */
    QEMU_FD_LAYERS,   /* disk.nlayers of them; behind them the two of a boot */
};
static inline int qemu_fd_kernel(size_t nlayers)
{
    return QEMU_FD_LAYERS + (int)nlayers;
}
static inline int qemu_fd_initramfs(size_t nlayers)
{
    return QEMU_FD_LAYERS + (int)nlayers + 1;
}
#define QEMU_NFDS_MAX (QEMU_FD_LAYERS - QEMU_FD_MEMORY + VMM_LAYERS_MAX + 2)

/*
 * QEMU opens the files of a disk as /dev/fdset/N, so that it needs no permission on them: a frozen
 * layer has the owner it had as a top. Set and node of a layer have the same number, the top of the
 * disk has the greatest.
 */
#define QEMU_SET_ROOTFS  1
#define QEMU_SET_LAYERS  2
#define QEMU_SET_STATE   (1 << 20) /* and following: what device states are written to */
#define QEMU_NODE_ROOTFS "rootfs"
#define QEMU_NODE_LAYER  "disk-" /* followed by the number */
#define QEMU_DISK_ID     "disk0"

/* Ids that QMP commands name. */
#define QEMU_NIC_ID "net0"

#define QEMU_CPU "max"

#define QEMU_ARGS_MAX 224

/* A terminated argument vector; the texts are owned. */
struct qemu_args {
    char *argv[QEMU_ARGS_MAX + 1];
    size_t n;
    bool failed; /* memory ran out, or too many */
};

void qemu_args_deinit(struct qemu_args *a);
void qemu_args_add(struct qemu_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct qemu_machine {
    const char *program;
    const char *name; /* tells an operator which VM the process is; NULL: none */
    enum vmm_board board;
    const char *machine; /* its type, such as "pc-i440fx-7.2" */
    bool kvm;
    unsigned tsc_khz; /* told to the kernel; 0: it finds out by itself */
    unsigned vcpus;
    unsigned memory_mb;
    const struct vmm_disk *disk;
    const char *cmdline; /* of the template; NULL: it waits for a snapshot instead */
};

/* What every guest of ours starts with: program, machine, CPU, accelerator, no defaults, sandbox.
 */
void qemu_args_base(struct qemu_args *a, const struct qemu_machine *m);

/* The whole command line. The VM starts stopped. 0, or -errno with *err set; deinit either way. */
int qemu_args_build(struct qemu_args *a, const struct qemu_machine *m, struct err *err);

/* What of a machine type is part of a snapshot's identity, whatever its disk, memory and virtual
 * CPUs: vmm_devices_text(). 0 or -errno. */
int qemu_args_devices(enum vmm_board board, const char *machine, struct buf *out);

#endif
