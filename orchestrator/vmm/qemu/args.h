/* QEMU's command line for a VM that boots a template. */
#ifndef ORCHESTRATOR_VMM_QEMU_ARGS_H
#define ORCHESTRATOR_VMM_QEMU_ARGS_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* The inherited descriptors, by the numbers that the command line names. */
enum qemu_fd {
    QEMU_FD_MEMORY = 3,
    QEMU_FD_QMP,
    QEMU_FD_LINK,
    QEMU_FD_CONSOLE,
    QEMU_FD_KERNEL,
    QEMU_FD_INITRAMFS,
    QEMU_FD_ROOTFS,
    QEMU_FD_DISK,
    QEMU_FD_END
};
#define QEMU_NFDS (QEMU_FD_END - QEMU_FD_MEMORY)

/* Ids that QMP commands name. */
#define QEMU_NIC_ID "net0"

#define QEMU_ARGS_MAX 96

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
    const char *name;    /* tells an operator which VM the process is; NULL: none */
    const char *machine; /* such as "pc-i440fx-7.2" */
    bool kvm;
    unsigned vcpus;
    unsigned memory_mb;
    const char *cmdline; /* of the template */
};

/* The machine types we have tried, best first; NULL ends. A machine type is part of a snapshot's
 * identity, so it is named with its version. */
extern const char *const qemu_machine_types[];

/* What every guest of ours starts with: program, machine, CPU, accelerator, no defaults, sandbox.
 */
void qemu_args_base(struct qemu_args *a, const struct qemu_machine *m);

/* The whole command line. The VM starts stopped. 0, or -errno with *err set; deinit either way. */
int qemu_args_build(struct qemu_args *a, const struct qemu_machine *m, struct err *err);

#endif
