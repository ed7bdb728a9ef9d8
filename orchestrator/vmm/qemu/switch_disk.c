/*
 * A new overlay on the disk of a VM, which may run:
 *
 *   CREATE -> JOBS -> FIND (-> TIDY_NODE -> TIDY_SET) -> WRITER -> READER -> NODE -> SNAPSHOT ->
 * DONE
 *                                                            \________\______\______\
 *                                                              UNDO -> DONE
 *
 * SNAPSHOT is the one moment at which the disk changes: QEMU drains and flushes the old top, puts
 * the new one above it and opens the old one for reading. TIDY removes what a daemon left that died
 * in between.
 */
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/jobs.h"
#include "orchestrator/vmm/qemu/nodes.h"
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/fault.h"
#include "common/base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum switch_state {
    SWITCH_CREATE,
    SWITCH_JOBS,
    SWITCH_FIND,
    SWITCH_TIDY_NODE,
    SWITCH_TIDY_SET,
    SWITCH_WRITER,
    SWITCH_READER,
    SWITCH_NODE,
    SWITCH_SNAPSHOT,
    SWITCH_UNDO,
    SWITCH_DONE,
    SWITCH_NR
};

#define TO_UNDO SM_TO(SWITCH_UNDO)
static const struct sm_rule rules[SWITCH_NR] = {
    [SWITCH_CREATE] = { "create", SM_TO(SWITCH_JOBS) | SM_TO(SWITCH_DONE) },
    [SWITCH_JOBS] = { "jobs", SM_TO(SWITCH_FIND) | SM_TO(SWITCH_DONE) },
    [SWITCH_FIND] = { "find", SM_TO(SWITCH_TIDY_NODE) | SM_TO(SWITCH_WRITER) | SM_TO(SWITCH_DONE) },
    [SWITCH_TIDY_NODE] = { "tidy node", SM_TO(SWITCH_TIDY_SET) },
    [SWITCH_TIDY_SET] = { "tidy set", SM_TO(SWITCH_WRITER) },
    [SWITCH_WRITER] = { "writer", SM_TO(SWITCH_READER) | TO_UNDO },
    [SWITCH_READER] = { "reader", SM_TO(SWITCH_NODE) | TO_UNDO },
    [SWITCH_NODE] = { "node", SM_TO(SWITCH_SNAPSHOT) | TO_UNDO },
    [SWITCH_SNAPSHOT] = { "snapshot", SM_TO(SWITCH_DONE) | TO_UNDO },
    [SWITCH_UNDO] = { "undo", SM_TO(SWITCH_DONE) },
    [SWITCH_DONE] = { "done", 0 },
};

struct switching {
    struct vm_op op;
    struct jobs jobs;
    char *path; /* of the new top */
    int write_fd, read_fd;
    bool made;         /* the file is there */
    unsigned old, new; /* numbers of the nodes */
    void (*done)(void *user, const struct err *err);
    void *user;
};

static const struct vm_op_type switch_type;

/* On a worker. */
static void create(struct vm_op *op)
{
    struct switching *s = container_of(op, struct switching, op);
    const struct vmm *v = op->v;
    uid_t uid = v->driver->means.own_uid ? v->config.uid : (uid_t)-1;
    struct disk_backing below = { .path = v->disk.top, .qcow2 = true };
    s->write_fd = disk_create(s->path, &below, v->config.disk_mb, uid, &op->err);
    s->made = s->write_fd >= 0;
    s->read_fd = s->made ? disk_reopen(s->write_fd, O_RDONLY) : -1;
    if (s->made && s->read_fd < 0)
        err_fill(&op->err, ERR_INTERNAL, "cannot open the disk %s: %s", s->path,
                 strerror(-s->read_fd));
}

static void start_create(struct switching *s)
{
    const struct vmm *v = s->op.v;
    if (v->waiting || !v->disk.top)
        op_fail(&s->op, ERR_PRECONDITION, "the VM has no disk yet");
    else if (op_is_busy(&s->op, &switch_type))
        op_fail(&s->op, ERR_PRECONDITION, "the VM's disk is being switched already");
    else if (v->disk.nlayers == VMM_LAYERS_MAX)
        op_fail(&s->op, ERR_EXHAUSTED, "the VM's disk has %d layers already", VMM_LAYERS_MAX);
    else if (FAULT_POINT("vmm.switch_create"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.switch_create");
    else
        op_work(&s->op, create);
}

static void start_fd(struct switching *s, int fd)
{
    if (FAULT_POINT("vmm.switch_fd"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.switch_fd");
    else
        op_command(&s->op, "add-fd",
                   json_pack("{s:i, s:s}", "fdset-id", (int)s->new, "opaque", s->path), fd);
}

static void start_node(struct switching *s)
{
    char name[NODE_NAME_SIZE], file[NODE_NAME_SIZE];
    node_name(s->new, name);
    snprintf(file, sizeof(file), "/dev/fdset/%u", s->new);
    if (FAULT_POINT("vmm.switch_node"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.switch_node");
    else
        op_command(&s->op, "blockdev-add",
                   json_pack("{s:s, s:s, s:s, s:n, s:{s:s, s:s, s:s}}", "driver", "qcow2",
                             "node-name", name, "discard", "unmap", "backing", "file", "driver",
                             "file", "filename", file, "discard", "unmap"),
                   -1);
}

static void start_snapshot(struct switching *s)
{
    char below[NODE_NAME_SIZE], above[NODE_NAME_SIZE];
    node_name(s->old, below);
    node_name(s->new, above);
    if (FAULT_POINT("vmm.switch_disk"))
        op_fail(&s->op, ERR_INTERNAL, "fault injected at vmm.switch_disk");
    else
        op_command(&s->op, "blockdev-snapshot",
                   json_pack("{s:s, s:s}", "node", below, "overlay", above), -1);
}

static void remove_node(struct switching *s)
{
    char name[NODE_NAME_SIZE];
    node_name(s->new, name);
    op_command(&s->op, "blockdev-del", json_pack("{s:s}", "node-name", name), -1);
}

static void remove_set(struct switching *s)
{
    op_command(&s->op, "remove-fd", json_pack("{s:i}", "fdset-id", (int)s->new), -1);
}

static void finish(struct switching *s)
{
    if (!s->op.err.code)
        chain_push(&s->op.v->disk, TAKE(s->path));
    else if (s->made && unlink(s->path) < 0)
        log_error("disk is left", LOG_STR("path", s->path), LOG_STR("reason", strerror(errno)));
    op_end(&s->op);
}

static void step(struct switching *s)
{
    switch ((enum switch_state)sm_state(&s->op.sm)) {
    case SWITCH_CREATE:
        start_create(s);
        break;
    case SWITCH_JOBS:
        jobs_end(&s->jobs, &s->op);
        break;
    case SWITCH_FIND:
        op_command(&s->op, "query-block", NULL, -1);
        break;
    case SWITCH_WRITER:
        start_fd(s, s->write_fd);
        break;
    case SWITCH_READER:
        start_fd(s, s->read_fd);
        break;
    case SWITCH_NODE:
        start_node(s);
        break;
    case SWITCH_SNAPSHOT:
        start_snapshot(s);
        break;
    case SWITCH_TIDY_NODE:
    case SWITCH_UNDO:
        remove_node(s);
        break;
    case SWITCH_TIDY_SET:
        remove_set(s);
        break;
    case SWITCH_DONE:
        finish(s);
        break;
    case SWITCH_NR:
        break;
    }
}

static void run(struct vm_op *op)
{
    step(container_of(op, struct switching, op));
}

/* What follows the present state. */
static enum switch_state next_state(const struct switching *s, bool failed)
{
    switch ((enum switch_state)sm_state(&s->op.sm)) {
    case SWITCH_CREATE:
        return failed ? SWITCH_DONE : SWITCH_JOBS;
    case SWITCH_JOBS:
        return failed ? SWITCH_DONE : SWITCH_FIND;
    case SWITCH_FIND:
        if (failed)
            return SWITCH_DONE;
        return s->op.v->adopted ? SWITCH_TIDY_NODE : SWITCH_WRITER;
    case SWITCH_TIDY_NODE:
        return SWITCH_TIDY_SET;
    case SWITCH_TIDY_SET:
        return SWITCH_WRITER;
    case SWITCH_WRITER:
        return failed ? SWITCH_UNDO : SWITCH_READER;
    case SWITCH_READER:
        return failed ? SWITCH_UNDO : SWITCH_NODE;
    case SWITCH_NODE:
        return failed ? SWITCH_UNDO : SWITCH_SNAPSHOT;
    case SWITCH_SNAPSHOT:
        return failed ? SWITCH_UNDO : SWITCH_DONE;
    case SWITCH_UNDO:
    case SWITCH_DONE:
    case SWITCH_NR:
        break;
    }
    return SWITCH_DONE;
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct switching *s = container_of(op, struct switching, op);
    enum switch_state state = (enum switch_state)sm_state(&op->sm);
    if (state == SWITCH_JOBS && jobs_left(&s->jobs, result, err))
        return;
    bool tidy = state == SWITCH_TIDY_NODE || state == SWITCH_TIDY_SET;
    bool failed = err && !tidy;
    if (failed && !op->err.code)
        op->err = *err;
    if (state == SWITCH_FIND && !failed && !node_find_top(result, &s->old)) {
        err_fill(&op->err, ERR_INTERNAL, "QEMU does not tell the VM's disk");
        failed = true;
    }
    if (state == SWITCH_FIND && !failed) {
        s->new = s->old + 1 > op->v->next_set ? s->old + 1 : op->v->next_set;
        op->v->next_set = s->new + 1;
    }
    if (state == SWITCH_UNDO)
        vm_forget_set(op->v, s->new);
    sm_move(&op->sm, next_state(s, failed));
    step(s);
}

static void tell(struct vm_op *op)
{
    struct switching *s = container_of(op, struct switching, op);
    s->done(s->user, op->err.code ? &op->err : NULL);
}

static void drop(struct vm_op *op)
{
    struct switching *s = container_of(op, struct switching, op);
    if (s->write_fd >= 0)
        close(s->write_fd);
    if (s->read_fd >= 0)
        close(s->read_fd);
    op->v->disk_users--;
    free(s->path);
    free(s);
}

static const struct vm_op_type switch_type = {
    .name = "switch", .run = run, .answer = answer, .tell = tell, .drop = drop
};

void vmm_switch_disk(struct vmm *v, const char *new_top,
                     void (*done)(void *user, const struct err *err), void *user)
{
    struct switching *s = op_new(v, sizeof(*s), &switch_type);
    sm_init(&s->op.sm, "switch", v->id, rules, SWITCH_CREATE);
    v->disk_users++;
    s->write_fd = s->read_fd = -1;
    s->done = done;
    s->user = user;
    s->path = strdup(new_top);
    if (!s->path)
        abort(); /* as op_new() */
}
