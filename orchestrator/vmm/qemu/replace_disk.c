/*
 * Another disk for a VMM that waits for its snapshot:
 *
 *   OPEN -> [SET -> NODE ->]... TOP_WRITER -> TOP_READER -> TOP_NODE -> SWAP -> [REMOVE ->]... DONE
 *
 * What both disks have of frozen layers stays. The others of the new one become nodes above them,
 * numbered on from the old top, so that numbers still ascend from the root to the top (args.h).
 * SWAP gives the guest's device the new top; then nothing stands on the old layers, and their nodes
 * are removed, the top first.
 *
 * There is no way back: a VMM for which a step failed has no guest to lose, and is ended.
 */
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/layers.h"
#include "orchestrator/vmm/qemu/nodes.h"
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/fault.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum replace_state {
    REPLACE_OPEN,
    REPLACE_SET,
    REPLACE_NODE,
    REPLACE_TOP_WRITER,
    REPLACE_TOP_READER,
    REPLACE_TOP_NODE,
    REPLACE_SWAP,
    REPLACE_REMOVE,
    REPLACE_DONE,
    REPLACE_NR
};

#define DONE SM_TO(REPLACE_DONE)
static const struct sm_rule rules[REPLACE_NR] = {
    [REPLACE_OPEN] = { "open", SM_TO(REPLACE_SET) | SM_TO(REPLACE_TOP_WRITER) | DONE },
    [REPLACE_SET] = { "set", SM_TO(REPLACE_NODE) | DONE },
    [REPLACE_NODE] = { "node", SM_TO(REPLACE_SET) | SM_TO(REPLACE_TOP_WRITER) | DONE },
    [REPLACE_TOP_WRITER] = { "top_writer", SM_TO(REPLACE_TOP_READER) | DONE },
    [REPLACE_TOP_READER] = { "top_reader", SM_TO(REPLACE_TOP_NODE) | DONE },
    [REPLACE_TOP_NODE] = { "top_node", SM_TO(REPLACE_SWAP) | DONE },
    [REPLACE_SWAP] = { "swap", SM_TO(REPLACE_REMOVE) | DONE },
    [REPLACE_REMOVE] = { "remove", SM_TO(REPLACE_REMOVE) | DONE },
    [REPLACE_DONE] = { "done", 0 },
};

struct replacing {
    struct vm_op op;
    struct vmm_disk disk;
    size_t shared;  /* layers of both */
    size_t next;    /* the layer that becomes a node */
    unsigned first; /* number of the first new node */
    unsigned old,
        keep; /* numbers of the old node to be removed, and of the newest one that stays */
    int layers[VMM_LAYERS_MAX], top[2];
    bool made; /* the top */
    void (*done)(void *user, const struct err *err);
    void *user;
};

static const struct vm_op_type replace_type;

static unsigned number_of(const struct replacing *r, size_t layer)
{
    if (layer < r->shared)
        return QEMU_SET_LAYERS + (unsigned)layer;
    return r->first + (unsigned)(layer - r->shared);
}

/* On a worker. */
static void open_files(struct vm_op *op)
{
    struct replacing *r = container_of(op, struct replacing, op);
    const struct vmm *v = op->v;
    uid_t uid = v->driver->means.own_uid ? v->config.uid : (uid_t)-1;
    for (size_t i = r->shared; i < r->disk.nlayers; i++) {
        r->layers[i] = layers_open_frozen(r->disk.layers[i], "disk layer", &op->err);
        if (r->layers[i] < 0)
            return;
    }
    if (layers_open_top(&r->disk, v->config.disk_mb, uid, r->top, &r->made, &op->err) < 0)
        r->top[0] = r->top[1] = -1;
}

static void start_open(struct replacing *r)
{
    const struct vmm *v = r->op.v;
    /* The numbers are known of a disk that is as the command line said. */
    if (!v->waiting || v->adopted || v->next_set)
        op_fail(&r->op, ERR_PRECONDITION, "the VMM does not wait with the disk it was given");
    else if (strcmp(v->disk.rootfs, r->disk.rootfs) != 0)
        op_fail(&r->op, ERR_PRECONDITION, "the disks have not the same root file system");
    else if (FAULT_POINT("vmm.replace_open"))
        op_fail(&r->op, ERR_INTERNAL, "fault injected at vmm.replace_open");
    else
        op_work(&r->op, open_files);
}

static void start_set(struct replacing *r, unsigned number, const char *path, int fd)
{
    if (FAULT_POINT("vmm.replace_set"))
        op_fail(&r->op, ERR_INTERNAL, "fault injected at vmm.replace_set");
    else
        op_command(&r->op, "add-fd",
                   json_pack("{s:i, s:s}", "fdset-id", (int)number, "opaque", path), fd);
}

/* As args.c makes it of a VMM that is started with this disk. */
static void start_node(struct replacing *r, size_t layer, bool top)
{
    char name[NODE_NAME_SIZE], below[NODE_NAME_SIZE], file[NODE_NAME_SIZE];
    node_name(number_of(r, layer), name);
    node_name(layer ? number_of(r, layer - 1) : 0, below);
    snprintf(file, sizeof(file), "/dev/fdset/%u", number_of(r, layer));
    json_t *node = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "driver", "qcow2", "node-name", name,
                             "backing", below, "file", "driver", "file", "filename", file);
    json_t *options =
        top ? json_pack("{s:s}", "discard", "unmap") : json_pack("{s:b}", "read-only", 1);
    json_t *of_file = json_object_get(node, "file");
    json_object_update(node, options);
    json_object_update(of_file, options);
    if (!top)
        json_object_set_new(of_file, "locking", json_string("off"));
    json_decref(options);
    if (!FAULT_POINT("vmm.replace_node")) {
        op_command(&r->op, "blockdev-add", node, -1);
        return;
    }
    json_decref(node);
    op_fail(&r->op, ERR_INTERNAL, "fault injected at vmm.replace_node");
}

static void start_swap(struct replacing *r)
{
    char top[NODE_NAME_SIZE];
    node_name(number_of(r, r->disk.nlayers), top);
    if (FAULT_POINT("vmm.replace_disk"))
        op_fail(&r->op, ERR_INTERNAL, "fault injected at vmm.replace_disk");
    else
        op_command(
            &r->op, "qom-set",
            json_pack("{s:s, s:s, s:s}", "path", QEMU_DISK_ID, "property", "drive", "value", top),
            -1);
}

static void start_remove(struct replacing *r)
{
    char name[NODE_NAME_SIZE];
    node_name(r->old, name);
    if (FAULT_POINT("vmm.replace_remove"))
        op_fail(&r->op, ERR_INTERNAL, "fault injected at vmm.replace_remove");
    else
        op_command(&r->op, "blockdev-del", json_pack("{s:s}", "node-name", name), -1);
}

static void finish(struct replacing *r)
{
    struct vmm *v = r->op.v;
    if (!r->op.err.code) {
        chain_free(&v->disk);
        v->disk = r->disk;
        v->next_set = number_of(r, r->disk.nlayers) + 1;
        r->disk = (struct vmm_disk){ 0 };
    } else if (r->made && unlink(r->disk.top) < 0) {
        log_error("disk is left", LOG_STR("path", r->disk.top), LOG_STR("reason", strerror(errno)));
    }
    op_end(&r->op);
}

static void step(struct replacing *r)
{
    size_t top = r->disk.nlayers;
    switch ((enum replace_state)sm_state(&r->op.sm)) {
    case REPLACE_OPEN:
        start_open(r);
        break;
    case REPLACE_SET:
        start_set(r, number_of(r, r->next), r->disk.layers[r->next], r->layers[r->next]);
        break;
    case REPLACE_NODE:
        start_node(r, r->next, false);
        break;
    case REPLACE_TOP_WRITER:
    case REPLACE_TOP_READER:
        start_set(r, number_of(r, top), r->disk.top,
                  r->top[sm_state(&r->op.sm) == REPLACE_TOP_READER]);
        break;
    case REPLACE_TOP_NODE:
        start_node(r, top, true);
        break;
    case REPLACE_SWAP:
        start_swap(r);
        break;
    case REPLACE_REMOVE:
        start_remove(r);
        break;
    case REPLACE_DONE:
        finish(r);
        break;
    case REPLACE_NR:
        break;
    }
}

static void run(struct vm_op *op)
{
    step(container_of(op, struct replacing, op));
}

static enum replace_state next_state(const struct replacing *r)
{
    enum replace_state now = (enum replace_state)sm_state(&r->op.sm);
    if (now == REPLACE_OPEN || now == REPLACE_NODE)
        return r->next < r->disk.nlayers ? REPLACE_SET : REPLACE_TOP_WRITER;
    if (now == REPLACE_REMOVE)
        return r->old > r->keep ? REPLACE_REMOVE : REPLACE_DONE;
    return now + 1;
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct replacing *r = container_of(op, struct replacing, op);
    (void)result;
    if (err) {
        op->err = *err;
        sm_move(&op->sm, REPLACE_DONE);
    } else {
        if (sm_state(&op->sm) == REPLACE_NODE)
            r->next++;
        if (sm_state(&op->sm) == REPLACE_REMOVE)
            vm_forget_set(op->v, r->old--);
        sm_move(&op->sm, next_state(r));
    }
    step(r);
}

static void tell(struct vm_op *op)
{
    struct replacing *r = container_of(op, struct replacing, op);
    r->done(r->user, op->err.code ? &op->err : NULL);
}

static void drop(struct vm_op *op)
{
    struct replacing *r = container_of(op, struct replacing, op);
    for (size_t i = 0; i < ARRAY_LEN(r->layers); i++)
        if (r->layers[i] >= 0)
            close(r->layers[i]);
    for (size_t i = 0; i < ARRAY_LEN(r->top); i++)
        if (r->top[i] >= 0)
            close(r->top[i]);
    chain_free(&r->disk);
    free(r);
}

static const struct vm_op_type replace_type = {
    .name = "replace", .run = run, .answer = answer, .tell = tell, .drop = drop
};

void vmm_replace_disk(struct vmm *v, const struct vmm_disk *disk,
                      void (*done)(void *user, const struct err *err), void *user)
{
    struct replacing *r = op_new(v, sizeof(*r), &replace_type);
    sm_init(&r->op.sm, "replace", v->id, rules, REPLACE_OPEN);
    r->done = done;
    r->user = user;
    for (size_t i = 0; i < ARRAY_LEN(r->layers); i++)
        r->layers[i] = -1;
    r->top[0] = r->top[1] = -1;
    if (chain_copy(&r->disk, disk) < 0)
        abort(); /* as op_new() */
    const size_t had = v->disk.nlayers;
    while (r->shared < had && r->shared < disk->nlayers &&
           strcmp(v->disk.layers[r->shared], disk->layers[r->shared]) == 0)
        r->shared++;
    r->next = r->shared;
    r->old = QEMU_SET_LAYERS + (unsigned)had;
    r->keep = QEMU_SET_LAYERS + (unsigned)r->shared - 1;
    r->first = r->old + 1;
}
