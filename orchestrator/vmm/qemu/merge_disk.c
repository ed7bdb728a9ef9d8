/*
 * The frozen layers of a disk into its top, while the VM goes on:
 *
 *   JOBS -> FIND -> NODES -> STREAM -> WAIT -> REMOVE (-> REMOVE ...) -> DONE
 *
 * When QEMU says that its job has ended well, the top stands on the layers that are kept. The nodes
 * of the others are then removed one by one, and with them QEMU's hold on the files.
 */
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/jobs.h"
#include "orchestrator/vmm/qemu/nodes.h"
#include "orchestrator/vmm/qemu/op.h"

#include "common/base/fault.h"
#include "common/base/log.h"

#include <string.h>

#define JOB_NAME "merge"

#define GAVE_WAY "the VM's disk was needed otherwise"

/* Slow enough for a disk that others use as well. */
#define MERGE_BYTES_PER_SECOND (64 << 20)

enum merge_state {
    MERGE_JOBS,
    MERGE_FIND,
    MERGE_NODES,
    MERGE_STREAM,
    MERGE_WAIT,
    MERGE_REMOVE,
    MERGE_DONE,
    MERGE_NR
};

static const struct sm_rule rules[MERGE_NR] = {
    [MERGE_JOBS] = { "jobs", SM_TO(MERGE_FIND) | SM_TO(MERGE_DONE) },
    [MERGE_FIND] = { "find", SM_TO(MERGE_NODES) | SM_TO(MERGE_DONE) },
    [MERGE_NODES] = { "nodes", SM_TO(MERGE_STREAM) | SM_TO(MERGE_DONE) },
    [MERGE_STREAM] = { "stream", SM_TO(MERGE_WAIT) | SM_TO(MERGE_DONE) },
    [MERGE_WAIT] = { "wait", SM_TO(MERGE_REMOVE) | SM_TO(MERGE_DONE) },
    [MERGE_REMOVE] = { "remove", SM_TO(MERGE_REMOVE) | SM_TO(MERGE_DONE) },
    [MERGE_DONE] = { "done", 0 },
};

struct merge {
    struct vm_op op;
    struct jobs jobs;
    size_t keep;
    unsigned top;
    unsigned nodes[VMM_LAYERS_MAX + 1]; /* of the layers, and the top */
    size_t left;                        /* layers whose node is there */
    bool ended;                         /* the job has, before the answer to its start came */
    void (*done)(void *user, const struct err *err);
    void *user;
};

static const struct vm_op_type merge_type;

/* Whether another operation is about to need the disk; one that comes once there is a job ends
 * that.
 */
static bool must_give_way(struct merge *m)
{
    if (!m->op.v->disk_users)
        return false;
    op_fail(&m->op, ERR_CANCELED, GAVE_WAY);
    return true;
}

static void start_jobs(struct merge *m)
{
    const struct vmm *v = m->op.v;
    if (v->waiting || !v->disk.top)
        op_fail(&m->op, ERR_PRECONDITION, "the VM has no disk yet");
    else if (op_is_busy(&m->op, &merge_type))
        op_fail(&m->op, ERR_PRECONDITION, "the VM's disk is being merged already");
    else if (!must_give_way(m))
        jobs_end(&m->jobs, &m->op);
}

static void start_stream(struct merge *m)
{
    char top[NODE_NAME_SIZE], base[NODE_NAME_SIZE];
    struct disk_backing below = chain_backing(&m->op.v->disk, m->keep);
    node_name(m->top, top);
    node_name(m->keep ? m->nodes[m->keep - 1] : 0, base);
    if (must_give_way(m))
        return;
    if (FAULT_POINT("vmm.merge_disk"))
        op_fail(&m->op, ERR_INTERNAL, "fault injected at vmm.merge_disk");
    else
        op_command(&m->op, "block-stream",
                   json_pack("{s:s, s:s, s:s, s:s, s:i}", "job-id", JOB_NAME, "device", top,
                             "base-node", base, "backing-file", below.path, "speed",
                             MERGE_BYTES_PER_SECOND),
                   -1);
}

static void step(struct merge *m)
{
    char name[NODE_NAME_SIZE];
    switch ((enum merge_state)sm_state(&m->op.sm)) {
    case MERGE_JOBS:
        start_jobs(m);
        break;
    case MERGE_FIND:
        op_command(&m->op, "query-block", NULL, -1);
        break;
    case MERGE_NODES:
        op_command(&m->op, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), -1);
        break;
    case MERGE_STREAM:
        start_stream(m);
        break;
    case MERGE_WAIT: /* event() goes on */
        break;
    case MERGE_REMOVE:
        node_name(m->nodes[m->left - 1], name);
        op_command(&m->op, "blockdev-del", json_pack("{s:s}", "node-name", name), -1);
        break;
    case MERGE_DONE:
        op_end(&m->op);
        break;
    case MERGE_NR:
        break;
    }
}

static void run(struct vm_op *op)
{
    step(container_of(op, struct merge, op));
}

static void go(struct merge *m, enum merge_state state)
{
    sm_move(&m->op.sm, state);
    step(m);
}

/* Whether QEMU's nodes are those of the disk that we know. */
static bool take_nodes(struct merge *m, const json_t *result)
{
    size_t want = m->op.v->disk.nlayers + 1;
    size_t have = node_list(result, m->top, m->nodes, want);
    m->left = want - 1;
    if (have == want && m->nodes[want - 1] == m->top)
        return true;
    err_fill(&m->op.err, ERR_PRECONDITION, "the VM's disk has %zu layers instead of %zu", have,
             want);
    return false;
}

static void ended(struct merge *m)
{
    if (!m->op.err.code)
        chain_cut(&m->op.v->disk, m->keep);
    go(m, m->op.err.code || m->left <= m->keep ? MERGE_DONE : MERGE_REMOVE);
}

/* A step that left something for QEMU to hold on to is no failure of the merge. */
static void removed(struct merge *m, const struct err *err)
{
    if (err)
        log_warn("a merged layer is not let go of", LOG_STR("id", m->op.v->id),
                 LOG_STR("reason", err->msg));
    vm_forget_set(m->op.v, m->nodes[m->left - 1]);
    go(m, --m->left > m->keep ? MERGE_REMOVE : MERGE_DONE);
}

static void answer(struct vm_op *op, const json_t *result, const struct err *err)
{
    struct merge *m = container_of(op, struct merge, op);
    enum merge_state state = (enum merge_state)sm_state(&op->sm);
    if (state == MERGE_JOBS && jobs_left(&m->jobs, result, err))
        return;
    if (state == MERGE_REMOVE) {
        removed(m, err);
        return;
    }
    if (err)
        op->err = *err;
    else if (state == MERGE_JOBS && m->keep >= op->v->disk.nlayers)
        err = &op->err; /* there is nothing to do, which is well */
    else if (state == MERGE_FIND && !node_find_top(result, &m->top))
        err_fill(&op->err, ERR_INTERNAL, "QEMU does not tell the VM's disk");
    else if (state == MERGE_NODES)
        take_nodes(m, result);
    if (err || op->err.code) {
        go(m, MERGE_DONE);
        return;
    }
    go(m, state + 1);
    if (sm_state(&op->sm) == MERGE_WAIT && m->ended)
        ended(m);
}

static void event(struct vm_op *op, const char *name, const json_t *data)
{
    struct merge *m = container_of(op, struct merge, op);
    enum merge_state state = (enum merge_state)sm_state(&op->sm);
    const char *job = json_string_value(json_object_get(data, "device"));
    if (state != MERGE_STREAM && state != MERGE_WAIT)
        return;
    if (!name) {
        err_fill(&op->err, ERR_PRECONDITION, "the VM is not running");
    } else if (!job || strcmp(job, JOB_NAME) != 0) {
        return;
    } else if (strcmp(name, "BLOCK_JOB_CANCELLED") == 0) {
        err_fill(&op->err, ERR_CANCELED, GAVE_WAY);
    } else if (strcmp(name, "BLOCK_JOB_COMPLETED") == 0) {
        const char *why = json_string_value(json_object_get(data, "error"));
        if (why)
            err_fill(&op->err, ERR_INTERNAL, "QEMU could not merge the disk: %s", why);
    } else {
        return;
    }
    if (state == MERGE_WAIT)
        ended(m);
    else
        m->ended = true;
}

static void tell(struct vm_op *op)
{
    struct merge *m = container_of(op, struct merge, op);
    m->done(m->user, op->err.code ? &op->err : NULL);
}

static void drop(struct vm_op *op)
{
    free(container_of(op, struct merge, op));
}

static const struct vm_op_type merge_type = {
    .name = "merge", .run = run, .answer = answer, .event = event, .tell = tell, .drop = drop
};

void vmm_merge_disk(struct vmm *v, size_t keep, void (*done)(void *user, const struct err *err),
                    void *user)
{
    struct merge *m = op_new(v, sizeof(*m), &merge_type);
    sm_init(&m->op.sm, "merge", v->id, rules, MERGE_JOBS);
    m->keep = keep;
    m->done = done;
    m->user = user;
}
