/*
 * The device state of a stopped VM, without its memory:
 *
 *   JOBS -> FD -> STATE -> DONE
 *
 * QEMU writes to a descriptor that is handed over, so that it needs no place in the file system.
 * What it wrote is sealed, so that a VMM that was taken over does not change the state under its
 * reader. (It cannot be bounded from the start: QEMU cuts the file to nothing when it opens it.)
 * The command flushes the disk first; a job that still writes to it is ended before.
 */
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/jobs.h"
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/fault.h"
#include "orchestrator/vmm/qemu/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum save_state { SAVE_JOBS, SAVE_FD, SAVE_STATE, SAVE_DONE, SAVE_NR };

static const struct sm_rule rules[SAVE_NR] = {
    [SAVE_JOBS] = { "jobs", SM_TO(SAVE_FD) | SM_TO(SAVE_DONE) },
    [SAVE_FD] = { "fd", SM_TO(SAVE_STATE) | SM_TO(SAVE_DONE) },
    [SAVE_STATE] = { "state", SM_TO(SAVE_DONE) },
    [SAVE_DONE] = { "done", 0 },
};

struct save {
    struct vm_op op;
    struct jobs jobs;
    int fd, write_fd; /* the same memory; QEMU opens for writing only */
    unsigned set;
    void (*done)(void *user, int state_fd, const struct err *err);
    void *user;
};

static int make_memory(struct save *s)
{
    s->fd = memfd_create("device-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->fd < 0)
        return -errno;
    s->write_fd = disk_reopen(s->fd, O_WRONLY);
    return s->write_fd < 0 ? s->write_fd : 0;
}

static int seal(struct save *s)
{
    struct stat st;
    const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL;
    if (fcntl(s->fd, F_ADD_SEALS, seals) < 0 || fstat(s->fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return -ENODATA;
    return st.st_size > VMM_STATE_MAX ? -EFBIG : 0;
}

static void send_fd(struct save *s)
{
    int rc = make_memory(s);
    if (rc < 0)
        op_fail(&s->op, ERR_EXHAUSTED, "cannot make memory for the device state: %s",
                strerror(-rc));
    else if (FAULT_POINT("vmm.save_fd"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.save_fd");
    else
        op_command(&s->op, "add-fd", json_pack("{s:i}", "fdset-id", (int)s->set), s->write_fd);
}

static void send_save(struct save *s)
{
    char path[48];
    snprintf(path, sizeof(path), "/dev/fdset/%u", s->set);
    if (FAULT_POINT("vmm.save"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.save");
    else /* live=true on a stopped VM would take its disk from it */
        op_command(&s->op, "xen-save-devices-state",
                   json_pack("{s:s, s:b}", "filename", path, "live", 0), -1);
}

static void step(struct save *s)
{
    const struct vmm *v = s->op.v;
    switch ((enum save_state)sm_state(&s->op.sm)) {
    case SAVE_JOBS:
        if (v->waiting || !v->paused)
            op_fail(&s->op, ERR_PRECONDITION, "the VM is not stopped");
        else if (v->disk_full)
            op_fail(&s->op, ERR_EXHAUSTED, "the VM's disk cannot be written: the host's is full");
        else
            jobs_end(&s->jobs, &s->op);
        break;
    case SAVE_FD:
        send_fd(s);
        break;
    case SAVE_STATE:
        send_save(s);
        break;
    case SAVE_DONE:
        op_end(&s->op);
        break;
    case SAVE_NR:
        break;
    }
}

static void run(struct vm_op *op)
{
    step(container_of(op, struct save, op));
}

static enum save_state next_state(struct save *s, const struct err *err)
{
    switch ((enum save_state)sm_state(&s->op.sm)) {
    case SAVE_JOBS:
        return err ? SAVE_DONE : SAVE_FD;
    case SAVE_FD:
        return err ? SAVE_DONE : SAVE_STATE;
    case SAVE_STATE:
    case SAVE_DONE:
    case SAVE_NR:
        break;
    }
    return SAVE_DONE;
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct save *s = container_of(op, struct save, op);
    enum save_state state = (enum save_state)sm_state(&op->sm);
    if (state == SAVE_JOBS && jobs_left(&s->jobs, result, err))
        return;
    if (err && !op->err.code)
        op->err = *err;
    int rc = state == SAVE_STATE && !err ? seal(s) : 0;
    if (rc < 0)
        err_fill(&op->err, ERR_INTERNAL, "QEMU left no sound device state: %s", strerror(-rc));
    if (state == SAVE_STATE)
        vm_forget_set(op->v, s->set);
    sm_move(&op->sm, next_state(s, err));
    step(s);
}

static void tell(struct vm_op *op)
{
    struct save *s = container_of(op, struct save, op);
    if (op->err.code)
        s->done(s->user, -1, &op->err);
    else
        s->done(s->user, TAKE_FD(s->fd), NULL);
}

static void drop(struct vm_op *op)
{
    struct save *s = container_of(op, struct save, op);
    if (s->fd >= 0)
        close(s->fd);
    if (s->write_fd >= 0)
        close(s->write_fd);
    op->v->disk_users--;
    free(s);
}

static const struct vm_op_type save_type = {
    .name = "save", .run = run, .answer = answer, .tell = tell, .drop = drop
};

void vmm_save(struct vmm *v, void (*done)(void *user, int state_fd, const struct err *err),
              void *user)
{
    struct save *s = op_new(v, sizeof(*s), &save_type);
    sm_init(&s->op.sm, "save", v->id, rules, SAVE_JOBS);
    v->disk_users++;
    s->fd = s->write_fd = -1;
    s->set = QEMU_SET_STATE + v->saves++;
    s->done = done;
    s->user = user;
}
