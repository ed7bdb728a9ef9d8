/*
 * Save a running sandbox:
 *
 *   QUIESCE -> NAME_LAYER -> STOP -> STATE -> COPY -> DISK -> CONT -> WRITE -> PUBLISH -> DONE
 *
 * QUIESCE     the guest finishes what is in flight; its streams go on
 * NAME_LAYER  the overlay that it will write from now on is written down before there is any: one
 *             without a file stands for an empty one
 * STOP..CONT  the guest stands still: devices and dirty pages are copied to memory, the disk is
 *             switched to the new overlay
 * WRITE       a worker writes and syncs what was copied; meanwhile the guest moves its clock on by
 *             how long it stood still
 * PUBLISH     the caller writes down what stands on it
 *
 * A failure goes to UNDO, which lets the guest go on. The new overlay stays once DISK was passed.
 */
#include "orchestrator/sandbox/checkpoint.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/saving.h"

#include <errno.h>
#include <stdio.h>

#define QUIESCE_MS      500
#define QUIESCE_SYNC_MS 30000

enum checkpoint_state {
    CHECKPOINT_QUIESCE,
    CHECKPOINT_NAME_LAYER,
    CHECKPOINT_STOP,
    CHECKPOINT_STATE,
    CHECKPOINT_COPY,
    CHECKPOINT_DISK,
    CHECKPOINT_CONT,
    CHECKPOINT_WRITE,
    CHECKPOINT_PUBLISH,
    CHECKPOINT_UNDO,
    CHECKPOINT_UNDO_NAME,
    CHECKPOINT_DONE,
    CHECKPOINT_NR
};

#define UNDO SM_TO(CHECKPOINT_UNDO)
static const struct sm_rule rules[CHECKPOINT_NR] = {
    [CHECKPOINT_QUIESCE] = { "quiesce", SM_TO(CHECKPOINT_NAME_LAYER) | UNDO },
    [CHECKPOINT_NAME_LAYER] = { "name_layer", SM_TO(CHECKPOINT_STOP) | UNDO },
    [CHECKPOINT_STOP] = { "stop", SM_TO(CHECKPOINT_STATE) | SM_TO(CHECKPOINT_DISK) | UNDO },
    [CHECKPOINT_STATE] = { "state", SM_TO(CHECKPOINT_COPY) | UNDO },
    [CHECKPOINT_COPY] = { "copy", SM_TO(CHECKPOINT_DISK) | UNDO },
    [CHECKPOINT_DISK] = { "disk", SM_TO(CHECKPOINT_CONT) | UNDO },
    [CHECKPOINT_CONT] = { "cont", SM_TO(CHECKPOINT_WRITE) | UNDO },
    [CHECKPOINT_WRITE] = { "write", SM_TO(CHECKPOINT_PUBLISH) | UNDO },
    [CHECKPOINT_PUBLISH] = { "publish", SM_TO(CHECKPOINT_DONE) | UNDO },
    [CHECKPOINT_UNDO] = { "undo", SM_TO(CHECKPOINT_UNDO_NAME) },
    [CHECKPOINT_UNDO_NAME] = { "undo_name", SM_TO(CHECKPOINT_DONE) },
    [CHECKPOINT_DONE] = { "done", 0 },
};

struct checkpoint {
    struct sm sm;
    struct sandbox_own *own;
    struct deferred step;
    struct guest_call *call;
    struct guest_call *clock_call; /* waited for by nobody */
    struct sandbox_timings timings;
    int64_t stopped_ns;
    struct saving saving;
    struct checkpoint_result result;
    char old_parent[ID_UUID_SIZE];
    bool memory, require_healthy, named, stopped, switched, vm_gone;
    struct err err;
    checkpoint_publish_cb publish;
    checkpoint_done_cb done;
    void *user;
};

static void run(struct checkpoint *c);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct checkpoint, step));
}

static void go(struct checkpoint *c, enum checkpoint_state state)
{
    sm_move(&c->sm, state);
    defer(c->own->sb.host->defer, &c->step, on_step);
}

static void step_done(struct checkpoint *c, enum checkpoint_state next, const struct err *err)
{
    if (err && err->code && !c->err.code)
        c->err = *err;
    if (c->err.code == ERR_PRECONDITION)
        c->err.code = ERR_INTERNAL; /* of the VM: nothing that the client could mend */
    blame_host_for_lack(&c->err);
    go(c, c->err.code ? CHECKPOINT_UNDO : next);
}

static void forget_clock(struct checkpoint *c)
{
    if (c->clock_call)
        guest_link_cancel(TAKE(c->clock_call));
}

static void on_vm_ended(struct sandbox_own *own, const char *detail)
{
    struct checkpoint *c = own->operation;
    c->vm_gone = true;
    if (!c->err.code)
        err_fill(&c->err, ERR_UNAVAILABLE, "the VM ended while it was saved: %s", detail);
    forget_clock(c);
    if (c->call) {
        guest_link_cancel(TAKE(c->call));
        go(c, CHECKPOINT_UNDO);
    }
}

static void on_quiesced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct checkpoint *c = user;
    struct err refused;
    c->call = NULL;
    guest_note_clock(c->own, msg);
    c->saving.manifest.guest_unresponsive = err != NULL;
    if (err && c->require_healthy) {
        err_fill(&refused, ERR_ABORTED, "the guest does not answer: %.160s", err->msg);
        refused.reason = SANDBOX_REASON_UNRESPONSIVE;
        step_done(c, CHECKPOINT_UNDO, &refused);
        return;
    }
    step_done(c, CHECKPOINT_NAME_LAYER, NULL);
}

static void start_quiesce(struct checkpoint *c)
{
    c->call =
        guest_quiesce(c->own, !c->memory, c->memory ? QUIESCE_MS : QUIESCE_SYNC_MS, on_quiesced, c);
    if (!c->call) {
        struct err err;
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        step_done(c, CHECKPOINT_UNDO, &err);
    }
}

static void on_named(void *user, const struct err *err)
{
    step_done(user, CHECKPOINT_STOP, err);
}

static void start_name_layer(struct checkpoint *c)
{
    struct sandbox_own *own = c->own;
    memcpy(c->result.layer_id, own->layer_id, sizeof(c->result.layer_id));
    memcpy(c->old_parent, own->parent_layer_id, sizeof(c->old_parent));
    memcpy(own->parent_layer_id, own->layer_id, sizeof(own->parent_layer_id));
    id_uuid(own->layer_id);
    c->named = true;
    sandbox_save(own, "running", on_named, c);
}

static void on_stopped(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    struct err full;
    c->stopped = !err;
    c->stopped_ns = clock_mono_ns();
    if (!err) {
        guest_link_set_vm_running(c->own->sb.link, false);
        if (saving_prepare(&c->saving, c->own, c->memory ? c->result.id : NULL, &full) < 0)
            err = &full;
        /* The frozen overlay is what must reach the disk. */
        layer_path(c->own->sb.host, c->result.layer_id, c->saving.disk);
    }
    step_done(c, c->memory ? CHECKPOINT_STATE : CHECKPOINT_DISK, err);
}

static void on_state(void *user, int state_fd, const struct err *err)
{
    struct checkpoint *c = user;
    c->saving.state_fd = state_fd;
    step_done(c, CHECKPOINT_COPY, err);
}

static void on_copied(void *user, const struct err *err)
{
    step_done(user, CHECKPOINT_DISK, err);
}

static void on_switched(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    c->switched = !err;
    step_done(c, CHECKPOINT_CONT, err);
}

static void on_clock(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct checkpoint *c = user;
    (void)msg;
    (void)err;
    c->clock_call = NULL;
}

static void on_running(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    if (!err) {
        c->stopped = false;
        guest_link_set_vm_running(c->own->sb.link, true);
        if (!c->saving.manifest.guest_unresponsive)
            c->clock_call = guest_refresh(c->own, guest_clock_stopped_ns(c->own), on_clock, c);
    }
    log_info("sandbox stood still", LOG_STR("sandbox_id", c->own->sb.id),
             LOG_INT("us", (clock_mono_ns() - c->stopped_ns) / 1000));
    step_done(c, CHECKPOINT_WRITE, err);
}

static void on_written(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    c->timings.us[SANDBOX_PHASE_SAVE] = (uint32_t)((clock_mono_ns() - c->stopped_ns) / 1000);
    step_done(c, CHECKPOINT_PUBLISH, err);
}

void checkpoint_published(struct checkpoint *c, const struct err *err)
{
    if (!err)
        c->err.code = ERR_OK; /* whatever became of the VM meanwhile: something stands on it */
    step_done(c, CHECKPOINT_DONE, err);
}

static void on_running_again(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    if (err)
        log_error("a sandbox that was not saved does not go on",
                  LOG_STR("sandbox_id", c->own->sb.id), LOG_STR("reason", err->msg));
    else
        guest_link_set_vm_running(c->own->sb.link, true);
    go(c, CHECKPOINT_UNDO_NAME);
}

static void undo(struct checkpoint *c)
{
    saving_undo(&c->saving);
    if (c->stopped && !c->vm_gone)
        vmm_resume(c->own->sb.vmm, on_running_again, c);
    else
        go(c, CHECKPOINT_UNDO_NAME);
}

static void on_name_undone(void *user, const struct err *err)
{
    struct checkpoint *c = user;
    if (err)
        log_error("the disk of a sandbox is not what is written down",
                  LOG_STR("sandbox_id", c->own->sb.id), LOG_STR("reason", err->msg));
    go(c, CHECKPOINT_DONE);
}

static void undo_name(struct checkpoint *c)
{
    struct sandbox_own *own = c->own;
    if (!c->named || c->switched) {
        go(c, CHECKPOINT_DONE);
        return;
    }
    memcpy(own->layer_id, c->result.layer_id, sizeof(own->layer_id));
    memcpy(own->parent_layer_id, c->old_parent, sizeof(own->parent_layer_id));
    sandbox_save(own, "running", on_name_undone, c);
}

static void finish(struct checkpoint *c)
{
    struct sandbox_own *own = c->own;
    struct sandbox_host *h = own->sb.host;
    own->operation = NULL;
    own->vm_ended = NULL;
    forget_clock(c);
    saving_end(&c->saving);
    if (c->vm_gone)
        sandbox_end(&own->sb, own->end_reason, own->end_detail, "guest", NULL, NULL);
    if (c->err.code)
        log_warn("sandbox was not saved", LOG_STR("sandbox_id", own->sb.id),
                 LOG_STR("reason", c->err.msg));
    if (c->named)
        sandbox_collect(h);
    c->done(c->user, &c->timings, c->err.code ? &c->err : NULL);
    if (!c->err.code)
        merge_layers(own);
    free(c);
    transition_end(own);
}

static const char *const fault_names[CHECKPOINT_NR] = {
    [CHECKPOINT_QUIESCE] = "checkpoint.quiesce", [CHECKPOINT_NAME_LAYER] = "checkpoint.name_layer",
    [CHECKPOINT_STOP] = "checkpoint.stop",       [CHECKPOINT_STATE] = "checkpoint.state",
    [CHECKPOINT_COPY] = "checkpoint.copy",       [CHECKPOINT_DISK] = "checkpoint.disk",
    [CHECKPOINT_CONT] = "checkpoint.cont",       [CHECKPOINT_WRITE] = "checkpoint.write",
    [CHECKPOINT_PUBLISH] = "checkpoint.publish",
};

static void run(struct checkpoint *c)
{
    struct sandbox_own *own = c->own;
    enum checkpoint_state state = (enum checkpoint_state)sm_state(&c->sm);
    char path[PATH_MAX];
    if (fault_names[state] && !c->err.code && FAULT_POINT(fault_names[state]))
        err_fill(&c->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if (fault_names[state] && c->err.code) {
        go(c, CHECKPOINT_UNDO);
        return;
    }
    switch (state) {
    case CHECKPOINT_QUIESCE:
        start_quiesce(c);
        break;
    case CHECKPOINT_NAME_LAYER:
        start_name_layer(c);
        break;
    case CHECKPOINT_STOP:
        vmm_pause(own->sb.vmm, on_stopped, c);
        break;
    case CHECKPOINT_STATE:
        vmm_save(own->sb.vmm, on_state, c);
        break;
    case CHECKPOINT_COPY:
        saving_capture(&c->saving, on_copied, c);
        break;
    case CHECKPOINT_DISK:
        layer_path(own->sb.host, own->layer_id, path);
        vmm_switch_disk(own->sb.vmm, path, on_switched, c);
        break;
    case CHECKPOINT_CONT:
        vmm_resume(own->sb.vmm, on_running, c);
        break;
    case CHECKPOINT_WRITE:
        saving_write(&c->saving, on_written, c);
        break;
    case CHECKPOINT_PUBLISH:
        c->result.manifest = c->memory ? &c->saving.manifest : NULL;
        c->publish(c->user, c, &c->result);
        break;
    case CHECKPOINT_UNDO:
        undo(c);
        break;
    case CHECKPOINT_UNDO_NAME:
        undo_name(c);
        break;
    case CHECKPOINT_DONE:
        finish(c);
        break;
    case CHECKPOINT_NR:
        break;
    }
}

bool checkpoint_refused(struct sandbox_host *h, struct sandbox *sb, const char *id, struct err *err)
{
    if (!sb)
        err_fill(err, ERR_NOT_FOUND, "Sandbox \"%.64s\" not found", id);
    else if (h->stopping)
        err_fill(err, ERR_UNAVAILABLE, "the daemon is stopping");
    else if (sm_state(&sb->sm) != SANDBOX_RUNNING)
        err_fill(err, ERR_ABORTED, "Sandbox \"%s\" is not running", sb->id);
    else if (own_of(sb)->transition != TRANSITION_NONE)
        err_fill(err, ERR_ABORTED, "Sandbox \"%s\" is being saved already", sb->id);
    else if (vmm_disk(sb->vmm)->nlayers + 2 > VMM_LAYERS_MAX)
        err_fill(
            err, ERR_UNAVAILABLE,
            "the disk of sandbox \"%s\" has too many layers, which are being merged: try again "
            "later",
            sb->id);
    else
        return false;
    return true;
}

void checkpoint_start(struct sandbox *sb, bool memory, bool require_healthy,
                      checkpoint_publish_cb publish, checkpoint_done_cb done, void *user)
{
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (!c)
        abort(); /* nobody could be told */
    c->own = own_of(sb);
    c->memory = memory;
    c->require_healthy = require_healthy;
    c->publish = publish;
    c->done = done;
    c->user = user;
    c->result.own = c->own;
    id_uuid(c->result.id);
    saving_init(&c->saving);
    transition_begin(c->own, TRANSITION_SNAPSHOT);
    c->own->operation = c;
    c->own->vm_ended = on_vm_ended;
    sm_init(&c->sm, "checkpoint", sb->id, rules, CHECKPOINT_QUIESCE);
    defer(sb->host->defer, &c->step, on_step);
}
