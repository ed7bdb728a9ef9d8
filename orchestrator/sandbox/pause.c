/*
 * Pause a sandbox:
 *
 *   QUIESCE -> SYNC -> DRAIN -> STOP -> STATE -> WRITE -> RECORD -> DESTROY -> DONE
 *
 * QUIESCE  the guest finishes what is in flight; one that does not answer in time is paused all the
 *          same, unless a healthy one was required
 * SYNC     the guest writes its file systems out; not of a pause that keeps the memory, which has
 *          what the disk has not, unless that was asked for
 * DRAIN    the link's session ends in order, and with it the streams of clients
 * STOP     the virtual CPUs stand still
 * STATE    device state (not of a pause that keeps only the disk)
 * WRITE    a worker writes the snapshot and syncs it, and the overlay
 * RECORD   written down as "paused": from here on it is, and who asked is told
 * DESTROY  the VM goes; what comes for the sandbox meanwhile waits
 *
 * A failure up to RECORD goes to UNDO: the snapshot is removed and the sandbox runs on. A VM that
 * ends meanwhile ends the sandbox, unless RECORD was passed.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/saving.h"

#include <errno.h>
#include <stdio.h>

#define QUIESCE_MS 500   /* for a guest to say that it is quiet */
#define SYNC_MS    10000 /* for its file systems; with its memory, the rest is in that */
#define DRAIN_MS   300

enum pause_state {
    PAUSE_QUIESCE,
    PAUSE_SYNC,
    PAUSE_DRAIN,
    PAUSE_STOP,
    PAUSE_STATE,
    PAUSE_WRITE,
    PAUSE_RECORD,
    PAUSE_DESTROY,
    PAUSE_UNDO,
    PAUSE_DONE,
    PAUSE_NR
};

#define UNDO SM_TO(PAUSE_UNDO)
static const struct sm_rule rules[PAUSE_NR] = {
    [PAUSE_QUIESCE] = { "quiesce", SM_TO(PAUSE_SYNC) | SM_TO(PAUSE_DRAIN) | UNDO },
    [PAUSE_SYNC] = { "sync", SM_TO(PAUSE_DRAIN) | UNDO },
    [PAUSE_DRAIN] = { "drain", SM_TO(PAUSE_STOP) | UNDO },
    [PAUSE_STOP] = { "stop", SM_TO(PAUSE_STATE) | SM_TO(PAUSE_WRITE) | UNDO },
    [PAUSE_STATE] = { "state", SM_TO(PAUSE_WRITE) | UNDO },
    [PAUSE_WRITE] = { "write", SM_TO(PAUSE_RECORD) | UNDO },
    [PAUSE_RECORD] = { "record", SM_TO(PAUSE_DESTROY) | UNDO },
    [PAUSE_DESTROY] = { "destroy", SM_TO(PAUSE_DONE) },
    [PAUSE_UNDO] = { "undo", SM_TO(PAUSE_DONE) },
    [PAUSE_DONE] = { "done", 0 },
};

struct pause {
    struct sm sm;
    struct sandbox_own *own;
    struct deferred step;
    struct guest_call *call;
    struct sandbox_timings timings;
    int64_t began_ns, phase_began;
    struct saving saving;
    bool memory, sync, require_healthy;
    bool stopped, drained;
    bool vm_gone;
    char snapshot_id[ID_UUID_SIZE];
    int64_t end_ns;
    struct err err;
    sandbox_paused_cb done;
    void *user;
};

static void run(struct pause *op);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct pause, step));
}

static void step_done(struct pause *op, enum pause_state next, const struct err *err)
{
    if (err && err->code && !op->err.code)
        op->err = *err;
    if (op->err.code == ERR_PRECONDITION)
        op->err.code = ERR_INTERNAL; /* of the VM: nothing that the client could mend */
    blame_host_for_lack(&op->err);
    sm_move(&op->sm, op->err.code ? PAUSE_UNDO : next);
    defer(op->own->sb.host->defer, &op->step, on_step);
}

static void on_vm_ended(struct sandbox_own *own, const char *detail)
{
    struct pause *op = own->operation;
    op->vm_gone = true;
    if (!op->err.code)
        err_fill(&op->err, ERR_UNAVAILABLE, "the VM ended while it was paused: %s", detail);
    if (op->call) {
        guest_link_cancel(TAKE(op->call));
        step_done(op, PAUSE_UNDO, NULL);
    }
}

/* The guest did not do what it was asked for in time. */
static void not_healthy(struct pause *op, const struct err *err)
{
    struct err refused;
    err_fill(&refused, ERR_ABORTED, "the guest does not answer: %.160s", err->msg);
    refused.reason = SANDBOX_REASON_UNRESPONSIVE;
    step_done(op, PAUSE_UNDO, &refused);
}

static void on_quiesced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct pause *op = user;
    op->call = NULL;
    guest_note_clock(op->own, msg);
    op->own->sb.unresponsive_at_pause = err != NULL;
    if (err && op->require_healthy)
        not_healthy(op, err);
    else
        step_done(op, err || !op->sync ? PAUSE_DRAIN : PAUSE_SYNC, NULL);
}

static void on_synced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct pause *op = user;
    op->call = NULL;
    guest_note_clock(op->own, msg);
    if (err && op->require_healthy && !op->memory)
        not_healthy(op, err);
    else
        step_done(op, PAUSE_DRAIN, NULL);
}

static void ask_guest(struct pause *op, bool sync, unsigned timeout_ms, guest_done_cb done)
{
    op->call = guest_quiesce(op->own, sync, timeout_ms, done, op);
    if (!op->call) {
        struct err err;
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        step_done(op, PAUSE_UNDO, &err);
    }
}

static void on_drained(void *user, int rc)
{
    struct pause *op = user;
    (void)rc; /* the marker finds a session that did not end in order as well */
    step_done(op, PAUSE_STOP, NULL);
}

/* What is short may end by itself within the time for it; what lasts is ended by who began it. */
static void start_drain(struct pause *op)
{
    struct sandbox *sb = &op->own->sb;
    op->drained = true;
    op->phase_began = clock_mono_ns();
    list_for_each_safe (node, &sb->host->watchers) {
        struct sandbox_watcher *w = container_of(node, struct sandbox_watcher, node);
        w->on_leaving(w, sb);
    }
    guest_link_quiesce(sb->link, DRAIN_MS, GUEST_LINK_END_UNTOLD, on_drained, op);
}

static void on_stopped(void *user, const struct err *err)
{
    struct pause *op = user;
    op->stopped = !err;
    if (!err)
        guest_link_set_vm_running(op->own->sb.link, false);
    step_done(op, op->memory ? PAUSE_STATE : PAUSE_WRITE, err);
}

static void on_state(void *user, int state_fd, const struct err *err)
{
    struct pause *op = user;
    op->saving.state_fd = state_fd;
    step_done(op, PAUSE_WRITE, err);
}

static void on_saved(void *user, const struct err *err)
{
    struct pause *op = user;
    step_done(op, PAUSE_RECORD, err);
}

static void start_write(struct pause *op)
{
    struct err err;
    if (saving_prepare(&op->saving, op->own, op->memory ? op->snapshot_id : NULL, &err) < 0) {
        step_done(op, PAUSE_UNDO, &err);
        return;
    }
    saving_write(&op->saving, on_saved, op);
}

static void tell(struct pause *op)
{
    sandbox_paused_cb done = op->done;
    op->done = NULL;
    if (!done)
        return;
    metrics_operation(&op->own->sb.host->metrics, OPERATION_PAUSE, &op->timings, op->began_ns,
                      &op->err);
    done(op->user, &op->timings, op->err.code ? &op->err : NULL);
}

/* It is written down: whatever becomes of the VM from here on does not matter. */
static void become_paused(struct pause *op)
{
    struct sandbox *sb = &op->own->sb;
    op->err.code = ERR_OK;
    sm_move(&sb->sm, SANDBOX_PAUSED);
    sandbox_event(sb, SANDBOX_EVENT_PAUSED, NULL, NULL);
    log_info("sandbox paused", LOG_STR("sandbox_id", sb->id), LOG_INT("memory", op->memory),
             LOG_INT("save_us", op->timings.us[SANDBOX_PHASE_SAVE]));
    tell(op);
}

static void on_recorded(void *user, const struct err *err)
{
    struct pause *op = user;
    op->timings.us[SANDBOX_PHASE_SAVE] += (uint32_t)((clock_mono_ns() - op->phase_began) / 1000);
    if (err) {
        op->own->snapshot_id[0] = '\0';
        op->own->sb.filesystem_only = false;
        op->own->sb.end_ns = op->end_ns;
    } else {
        become_paused(op);
    }
    step_done(op, PAUSE_DESTROY, err);
}

static void start_record(struct pause *op)
{
    struct sandbox_own *own = op->own;
    op->end_ns = own->sb.end_ns;
    own->sb.end_ns = clock_wall_ns();
    own->sb.filesystem_only = !op->memory;
    if (op->memory)
        memcpy(own->snapshot_id, op->snapshot_id, sizeof(own->snapshot_id));
    sandbox_save(own, "paused", on_recorded, op);
}

static void on_destroyed(void *user)
{
    struct pause *op = user;
    op->own->sb.vmm = NULL;
    file_remove_tree(op->own->run_dir, NULL);
    sm_move(&op->sm, PAUSE_DONE);
    defer(op->own->sb.host->defer, &op->step, on_step);
}

static void start_destroy(struct pause *op)
{
    guest_link_close(TAKE(op->own->sb.link));
    merge_forget(op->own);
    vmm_destroy(op->own->sb.vmm, on_destroyed, op);
}

static void on_running_again(void *user, const struct err *err)
{
    struct pause *op = user;
    if (err)
        log_error("a sandbox whose pause failed does not go on",
                  LOG_STR("sandbox_id", op->own->sb.id), LOG_STR("reason", err->msg));
    else
        guest_link_set_vm_running(op->own->sb.link, true);
    sm_move(&op->sm, PAUSE_DONE);
    defer(op->own->sb.host->defer, &op->step, on_step);
}

static void undo(struct pause *op)
{
    saving_undo(&op->saving);
    op->own->sb.unresponsive_at_pause = false;
    if (op->drained)
        guest_link_resume(op->own->sb.link);
    if (op->stopped && !op->vm_gone) {
        vmm_resume(op->own->sb.vmm, on_running_again, op);
        return;
    }
    sm_move(&op->sm, PAUSE_DONE);
    defer(op->own->sb.host->defer, &op->step, on_step);
}

static void settle(struct sandbox_own *own, struct pause *op)
{
    struct sandbox *sb = &own->sb;
    if (!op->err.code) {
        slot_give(own);
        own->loaded = false;
        return;
    }
    log_warn("sandbox was not paused", LOG_STR("sandbox_id", sb->id),
             LOG_STR("reason", op->err.msg));
    list_remove(&sb->node);
    sm_move(&sb->sm, SANDBOX_RUNNING);
    sandbox_runs_on(sb);
}

static void finish(struct pause *op)
{
    struct sandbox_own *own = op->own;
    own->operation = NULL;
    own->vm_ended = NULL;
    saving_end(&op->saving);
    settle(own, op);
    if (op->vm_gone && op->err.code)
        sandbox_end(&own->sb, own->end_reason, own->end_detail, "guest", NULL, NULL);
    tell(op);
    free(op);
    transition_end(own);
}

static const char *const fault_names[PAUSE_NR] = {
    [PAUSE_QUIESCE] = "pause.quiesce", [PAUSE_SYNC] = "pause.sync",   [PAUSE_DRAIN] = "pause.drain",
    [PAUSE_STOP] = "pause.stop",       [PAUSE_STATE] = "pause.state", [PAUSE_WRITE] = "pause.write",
    [PAUSE_RECORD] = "pause.record",
};

static void run(struct pause *op)
{
    enum pause_state state = (enum pause_state)sm_state(&op->sm);
    if (fault_names[state] && !op->err.code && FAULT_POINT(fault_names[state]))
        err_fill(&op->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if (fault_names[state] && op->err.code) {
        step_done(op, PAUSE_UNDO, NULL);
        return;
    }
    switch (state) {
    case PAUSE_QUIESCE:
        ask_guest(op, false, QUIESCE_MS, on_quiesced);
        break;
    case PAUSE_SYNC:
        ask_guest(op, true, SYNC_MS, on_synced);
        break;
    case PAUSE_DRAIN:
        start_drain(op);
        break;
    case PAUSE_STOP:
        vmm_pause(op->own->sb.vmm, on_stopped, op);
        break;
    case PAUSE_STATE:
        vmm_save(op->own->sb.vmm, on_state, op);
        break;
    case PAUSE_WRITE:
        start_write(op);
        break;
    case PAUSE_RECORD:
        start_record(op);
        break;
    case PAUSE_DESTROY:
        start_destroy(op);
        break;
    case PAUSE_UNDO:
        undo(op);
        break;
    case PAUSE_DONE:
        finish(op);
        break;
    case PAUSE_NR:
        break;
    }
}

struct refusal {
    struct deferred d;
    struct err err;
    sandbox_paused_cb done;
    void *user;
};

static void on_refused(struct deferred *d)
{
    struct refusal *r = container_of(d, struct refusal, d);
    r->done(r->user, &(struct sandbox_timings){ 0 }, &r->err);
    free(r);
}

/* Why it cannot be paused now. */
static bool refuse(struct sandbox_host *h, const struct sandbox *sb, const char *id,
                   struct err *err)
{
    if (!sb)
        err_fill(err, ERR_NOT_FOUND, "Sandbox \"%.64s\" not found", id);
    else if (h->stopping)
        err_fill(err, ERR_UNAVAILABLE, "the daemon is stopping");
    else if (sm_state(&sb->sm) != SANDBOX_RUNNING)
        err_fill(err, ERR_ABORTED, "Sandbox \"%s\" is %s", sb->id,
                 sm_state(&sb->sm) == SANDBOX_RESUMING ? "being resumed" : "already paused");
    else if (own_of((struct sandbox *)(uintptr_t)sb)->transition != TRANSITION_NONE)
        err_fill(err, ERR_ABORTED, "Sandbox \"%s\" is being saved", sb->id);
    else
        return false;
    return true;
}

void sandbox_pause(struct sandbox_host *h, const char *id, const char *team_id,
                   const struct sandbox_pause_spec *spec, sandbox_paused_cb done, void *user)
{
    struct sandbox *sb = sandbox_lookup(h, id, team_id);
    struct err err;
    if (refuse(h, sb, id, &err)) {
        struct refusal *r = calloc(1, sizeof(*r));
        if (!r)
            abort(); /* nobody could be told */
        *r = (struct refusal){ .err = err, .done = done, .user = user };
        defer(h->defer, &r->d, on_refused);
        return;
    }
    struct pause *op = calloc(1, sizeof(*op));
    if (!op)
        abort(); /* nobody could be told */
    op->own = own_of(sb);
    op->memory = spec->memory;
    op->sync = spec->sync || !spec->memory;
    op->require_healthy = spec->require_healthy;
    op->done = done;
    op->user = user;
    op->began_ns = op->phase_began = clock_mono_ns();
    id_uuid(op->snapshot_id);
    saving_init(&op->saving);
    transition_begin(op->own, TRANSITION_PAUSE);
    op->own->operation = op;
    op->own->vm_ended = on_vm_ended;
    sm_move(&sb->sm, SANDBOX_PAUSING);
    list_remove(&sb->node);
    list_push_back(&h->paused, &sb->node);
    sm_init(&op->sm, "pause", sb->id, rules, PAUSE_QUIESCE);
    defer(h->defer, &op->step, on_step);
}
