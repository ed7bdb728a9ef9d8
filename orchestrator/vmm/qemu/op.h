/*
 * An operation on a VM whose start is over: some commands one after the other, with an answer to
 * whoever asked. What each of them needs beside that is in a struct that begins with this one.
 */
#ifndef ORCHESTRATOR_VMM_QEMU_OP_H
#define ORCHESTRATOR_VMM_QEMU_OP_H

#include "common/base/sm.h"
#include "orchestrator/vmm/qemu/vm.h"

struct vm_op;

struct vm_op_type {
    const char *name;
    /* Begin; from the loop. */
    void (*run)(struct vm_op *op);
    /* What was started last has ended: a command (result is its "return"), or work (NULL). */
    void (*answer)(struct vm_op *op, const json_t *result, const struct err *err);
    /* QEMU told an event (VM_RUNNING only), or the VM has ended (name NULL). May be NULL; without
     * it the operation must not wait for anything but answers. */
    void (*event)(struct vm_op *op, const char *name, const json_t *data);
    /* Call done, with &op->err when its code is set. */
    void (*tell)(struct vm_op *op);
    /* Release what the struct holds, and the struct. */
    void (*drop)(struct vm_op *op);
};

struct vm_op {
    const struct vm_op_type *type;
    struct list node; /* of vmm.ops */
    struct vmm *v;
    struct sm sm; /* the type's own states */
    struct deferred defer;
    uv_work_t work;
    void (*work_fn)(struct vm_op *op);
    bool working;
    struct err err;  /* the first thing that went wrong */
    struct err news; /* to be answered from the loop */
};

/* A zeroed struct of `size` bytes that begins with a vm_op; it is on the VM's list and runs from
 * the loop. Never NULL: nobody could be told. */
void *op_new(struct vmm *v, size_t size, const struct vm_op_type *type);

/* Start one command; the type's answer() follows, never from inside. `arguments` is stolen; fd goes
 * with the command unless it is -1, and stays the caller's. */
void op_command(struct vm_op *op, const char *command, json_t *arguments, int fd);

/* Run `fn` on a worker, then answer(). */
void op_work(struct vm_op *op, void (*fn)(struct vm_op *op));

/* answer() with this error, from the loop. */
void op_fail(struct vm_op *op, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Over: tell, unless the VM is being destroyed, and drop. */
void op_end(struct vm_op *op);

/* Whether another operation of this type is under way. */
bool op_is_busy(const struct vm_op *op, const struct vm_op_type *type);

#endif
