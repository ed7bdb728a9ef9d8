/* The virtual CPUs stop and go on. */
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/clock.h"

struct pause {
    struct vm_op op;
    bool stop;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void run(struct vm_op *op)
{
    struct pause *p = container_of(op, struct pause, op);
    if (op->v->waiting) {
        op_fail(op, ERR_PRECONDITION, "the VMM waits for a snapshot");
        return;
    }
    op->v->held = p->stop;
    /* QEMU's times are of whole microseconds. */
    op->v->asked_ns = clock_wall_ns() / 1000 * 1000;
    op_command(op, p->stop ? "stop" : "cont", NULL, -1);
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct pause *p = container_of(op, struct pause, op);
    (void)result;
    if (err)
        op->err = *err;
    else
        op->v->paused = p->stop;
    op_end(op);
}

static void tell(struct vm_op *op)
{
    struct pause *p = container_of(op, struct pause, op);
    p->done(p->user, op->err.code ? &op->err : NULL);
}

static void drop(struct vm_op *op)
{
    free(container_of(op, struct pause, op));
}

static const struct vm_op_type pause_type = {
    .name = "pause", .run = run, .answer = answer, .tell = tell, .drop = drop
};

static void start(struct vmm *v, bool stop, void (*done)(void *user, const struct err *err),
                  void *user)
{
    struct pause *p = op_new(v, sizeof(*p), &pause_type);
    p->stop = stop;
    p->done = done;
    p->user = user;
}

void vmm_pause(struct vmm *v, void (*done)(void *user, const struct err *err), void *user)
{
    start(v, true, done, user);
}

void vmm_resume(struct vmm *v, void (*done)(void *user, const struct err *err), void *user)
{
    start(v, false, done, user);
}
