/* What the installed QEMU and this host can do. Everything here blocks. */
#ifndef ORCHESTRATOR_VMM_QEMU_PROBE_H
#define ORCHESTRATOR_VMM_QEMU_PROBE_H

#include "common/base/err.h"
#include "orchestrator/vmm/jail.h"
#include "orchestrator/vmm/vmm.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A guest that does not end within this under KVM does not run. On a host that is slow at the
 * moment, as while it boots, it has more: so many times what the program took to answer a query.
 * Emulation instead of KVM would be no snapshot's machine. */
#define PROBE_KVM_DEADLINE_MS  5000
#define PROBE_KVM_QUERIES_LONG 10
unsigned probe_kvm_deadline_ms(int64_t query_ns);
/* Under emulation the same guest needs about 0.2 s on an idle host. */
#define PROBE_TCG_DEADLINE_MS 30000
/* For --version and -machine help, 0.1 s on an idle host. */
#define PROBE_QUERY_DEADLINE_MS 60000

/* The boot sector of the probe's guest (probe_guest.c). */
#define PROBE_SECTOR_SIZE 512
extern const uint8_t probe_sector[PROBE_SECTOR_SIZE];
/* What it writes to the exit port when everything in it worked, and QEMU's exit code for that. */
#define PROBE_EXIT_PORT 0xf4
#define PROBE_EXIT_CODE 99

/* Find the program in PATH, /usr/libexec and the like. 0, or -ENOENT with *err set. */
int probe_program(char out[static PATH_MAX], struct err *err);

/* Its version, such as "QEMU 7.2.22 (...)", and of each board the first machine type of ours that
 * it has. It must have one for a PC; NULL: it has none for that board. */
int probe_version(const char *program, const struct jail_means *means, char *out, size_t n,
                  struct err *err);
int probe_machines(const char *program, const struct jail_means *means,
                   const char *machines[static VMM_BOARD_NR], struct err *err);

/* Run the probe's guest, a stock guest in small, with the options that our VMs have: firmware boots
 * it from a virtio disk, it enters 64-bit mode with paging, uses SSE, and counts timer interrupts.
 * 0 when it did all of that within timeout_ms; otherwise *err says what happened. */
int probe_guest_run(const char *program, const char *machine, const struct jail_means *means,
                    bool kvm, unsigned timeout_ms, struct err *err);

#endif
