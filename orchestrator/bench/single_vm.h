/*
 * One VM and its guest link, driven step by step by a caller that waits for each step: for programs
 * that have nothing else to do, such as a measurement. The loop is its own and turns only
 * inside these functions.
 *
 * Every step ends within the deadline that the VMM's driver or the caller gives it. A step that
 * fails tells why, with the guest's last words when the VM ended; then nothing but
 * single_vm_destroy() and single_vm_close() makes sense.
 */
#ifndef ORCHESTRATOR_BENCH_SINGLE_VM_H
#define ORCHESTRATOR_BENCH_SINGLE_VM_H

#include "common/base/err.h"
#include "common/link/link_marker.h"
#include "orchestrator/link/guest_link.h"
#include "orchestrator/vmm/vmm.h"

struct single_vm;

/* Find the VMM and its accelerator ("auto", "kvm", "tcg"), and where it gets its control group. */
int single_vm_open(struct single_vm **out, const char *accel, const char *cgroup,
                   const struct vmm_allowance *allowance, struct err *err);
void single_vm_close(struct single_vm *s); /* ends a VM that is left; NULL is allowed */

struct vmm_driver *single_vm_driver(const struct single_vm *s);
struct vmm *single_vm_vmm(const struct single_vm *s); /* NULL: there is none */

/* A VMM that waits for a snapshot. There is no VM before. */
int single_vm_start(struct single_vm *s, const struct vmm_config *config, struct err *err);

/* Another disk for one that waits. */
int single_vm_replace_disk(struct single_vm *s, const struct vmm_disk *disk, struct err *err);

int single_vm_load(struct single_vm *s, int state_fd, struct err *err);
int single_vm_pause(struct single_vm *s, struct err *err);
int single_vm_resume(struct single_vm *s, struct err *err);
int single_vm_save(struct single_vm *s, int *state_fd, struct err *err); /* the caller's to close */

/* Open the guest link. Of a VM that stands still (running: false) its first bytes are written
 * before this returns. The session comes when the guest answers: the first call waits for it. */
int single_vm_link(struct single_vm *s, const uint8_t secret[static LINK_SECRET_SIZE], bool running,
                   struct err *err);

/* Call the control service as a guest that was just restored is called; what it answers, beside an
 * error, is not looked at. */
int single_vm_call_first(struct single_vm *s, enum guest_link_first which,
                         const ProtobufCMessage *request, unsigned timeout_ms, struct err *err);

/* Run `command` by bash as `user` in a guest whose envd asks for no token. ERR_UNAVAILABLE when
 * `expected` is not in what it printed. */
int single_vm_run(struct single_vm *s, const char *user, const char *command, const char *expected,
                  unsigned timeout_ms, struct err *err);

/* End the session in order and close the link. */
int single_vm_unlink(struct single_vm *s, unsigned timeout_ms, struct err *err);

/* Let the loop turn for so long. */
int single_vm_settle(struct single_vm *s, unsigned ms, struct err *err);

/* Kill the VM, if there is one; its disk stays. */
void single_vm_destroy(struct single_vm *s);

#endif
