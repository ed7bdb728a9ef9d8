/* Whether a snapshot can be run where this program runs. */
#ifndef ORCHESTRATOR_SNAPSHOT_HOST_CHECK_H
#define ORCHESTRATOR_SNAPSHOT_HOST_CHECK_H

#include "orchestrator/snapshot/manifest.h"
#include "orchestrator/vmm/vmm.h"

/* Fill the manifest's fields of the machine that this host decides: VMM, machine type, accelerator,
 * processor. */
int snapshot_describe_host(struct snapshot_manifest *m, const struct vmm_host *host,
                           enum vmm_board board, struct err *err);

/* SHA-256 of a text as hex, for the fields that hold one. */
void snapshot_digest_text(const char *text, char out[static SNAPSHOT_DIGEST_SIZE]);

/* 0 when this host can resume the snapshot; ERR_PRECONDITION with the first difference as a
 * sentence when not. The processor counts only under KVM: emulation shows every guest the same. */
int snapshot_check_host(const struct snapshot_manifest *m, const struct vmm_host *host,
                        enum vmm_board board, struct err *err);

/* The same for what the snapshot's build and the VMM's driver say: the kernel's digest, its command
 * line, and the driver's text about the devices. */
int snapshot_check_machine(const struct snapshot_manifest *m, const char *kernel_sha256,
                           const char *cmdline, const char *devices, struct err *err);

#endif
