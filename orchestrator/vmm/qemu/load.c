/*
 * A snapshot's device state into a VMM that was started to wait for it:
 *
 *   FD -> INCOMING -> WAIT
 *
 * QEMU answers migrate-incoming before it has read anything and exits when it cannot load what it
 * reads, so WAIT asks for its status until it is another. QEMU reads a file without yielding: one
 * or two questions are enough.
 */
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "orchestrator/vmm/qemu/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define STATE_NAME "state"

enum load_state { LOAD_FD, LOAD_INCOMING, LOAD_WAIT, LOAD_NR };

static const struct sm_rule rules[LOAD_NR] = {
    [LOAD_FD] = { "fd", SM_TO(LOAD_INCOMING) },
    [LOAD_INCOMING] = { "incoming", SM_TO(LOAD_WAIT) },
    [LOAD_WAIT] = { "wait", 0 },
};

struct load {
    struct vm_op op;
    int fd; /* another descriptor of the state, or a negative errno */
    int64_t due_ms;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void send_fd(struct load *l)
{
    if (!l->op.v->waiting)
        op_fail(&l->op, ERR_PRECONDITION, "the VMM does not wait for a snapshot");
    else if (l->fd < 0)
        op_fail(&l->op, ERR_INTERNAL, "cannot open the device state: %s", strerror(-l->fd));
    else if (FAULT_POINT("vmm.load_fd"))
        op_fail(&l->op, ERR_INTERNAL, "fault injected at vmm.load_fd");
    else
        op_command(&l->op, "getfd", json_pack("{s:s}", "fdname", STATE_NAME), l->fd);
}

static void step(struct load *l)
{
    switch ((enum load_state)sm_state(&l->op.sm)) {
    case LOAD_FD:
        send_fd(l);
        break;
    case LOAD_INCOMING:
        if (FAULT_POINT("vmm.load"))
            op_fail(&l->op, ERR_INTERNAL, "fault injected at vmm.load");
        else
            op_command(&l->op, "migrate-incoming", json_pack("{s:s}", "uri", "fd:" STATE_NAME), -1);
        break;
    case LOAD_WAIT:
        if (clock_mono_ms() > l->due_ms)
            op_fail(&l->op, ERR_DEADLINE, "QEMU did not load the snapshot in time");
        else
            op_command(&l->op, "query-status", NULL, -1);
        break;
    case LOAD_NR:
        break;
    }
}

static void run(struct vm_op *op)
{
    step(container_of(op, struct load, op));
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct load *l = container_of(op, struct load, op);
    const char *status = json_string_value(json_object_get(result, "status"));
    if (err) {
        op->err = *err;
        if (err->code == ERR_DEADLINE)
            vm_kill_unanswering(op->v);
        op_end(op);
    } else if (sm_state(&op->sm) < LOAD_WAIT) {
        sm_move(&op->sm, sm_state(&op->sm) + 1);
        step(l);
    } else if (!status || strcmp(status, "inmigrate") == 0) {
        step(l);
    } else {
        op->v->waiting = false;
        op->v->paused = op->v->held = true;
        op_end(op);
    }
}

static void tell(struct vm_op *op)
{
    struct load *l = container_of(op, struct load, op);
    l->done(l->user, op->err.code ? &op->err : NULL);
}

static void drop(struct vm_op *op)
{
    struct load *l = container_of(op, struct load, op);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}

static const struct vm_op_type load_type = {
    .name = "load", .run = run, .answer = answer, .tell = tell, .drop = drop
};

void vmm_load(struct vmm *v, int state_fd, void (*done)(void *user, const struct err *err),
              void *user)
{
    struct load *l = op_new(v, sizeof(*l), &load_type);
    sm_init(&l->op.sm, "load", v->id, rules, LOAD_FD);
    l->done = done;
    l->user = user;
    l->fd = disk_reopen(state_fd, O_RDONLY);
    l->due_ms = clock_mono_ms() + QEMU_COMMAND_MS;
}
