/*
 * Make a paused sandbox run again. With its memory:
 *
 *   SOURCE -> RESTORE -> RECORD -> RETIRE -> CONT -> REFRESH -> DONE
 *
 * and from its disk alone:
 *
 *   SOURCE -> [FLUSH] -> FORGET -> BOOT -> CONFIGURE -> RECORD_BOOT -> DONE
 *
 * RECORD says that it runs, and still what it was paused to, until the resume has ended well: so a
 * later daemon that finds no VM knows that it is paused (recover.c). RETIRE comes before the
 * guest's first instruction: from there on the disk is not the snapshot's any more, so the snapshot
 * must not be found again. FLUSH is of a sandbox that is booted although its memory was kept: its
 * guest writes to the disk what only the memory has (flush.c). What fails there is told, and the
 * disk is taken as it is, unless it is the host that is short of something. FORGET says that there
 * is no memory any more.
 *
 * A failure before CONT or FORGET leaves the sandbox paused as it was; a later one leaves it paused
 * with its disk alone, since its guest ran.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/cold_boot.h"
#include "orchestrator/sandbox/flush.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/pool.h"
#include "orchestrator/sandbox/restore.h"

#include <errno.h>
#include <stdio.h>

enum resume_state {
    RESUME_SOURCE,
    RESUME_RESTORE,
    RESUME_RECORD,
    RESUME_RETIRE,
    RESUME_CONT,
    RESUME_REFRESH,
    RESUME_FLUSH,
    RESUME_FORGET,
    RESUME_BOOT,
    RESUME_CONFIGURE,
    RESUME_RECORD_BOOT,
    RESUME_UNDO_VMM,
    RESUME_UNDO_RECORD,
    RESUME_DONE,
    RESUME_NR
};

#define UNDO SM_TO(RESUME_UNDO_VMM)
static const struct sm_rule rules[RESUME_NR] = {
    [RESUME_SOURCE] = { "source",
                        SM_TO(RESUME_RESTORE) | SM_TO(RESUME_FLUSH) | SM_TO(RESUME_FORGET) | UNDO },
    [RESUME_RESTORE] = { "restore", SM_TO(RESUME_RECORD) | UNDO },
    [RESUME_RECORD] = { "record", SM_TO(RESUME_RETIRE) | UNDO },
    [RESUME_RETIRE] = { "retire", SM_TO(RESUME_CONT) | UNDO },
    [RESUME_CONT] = { "cont", SM_TO(RESUME_REFRESH) | UNDO },
    [RESUME_REFRESH] = { "refresh", SM_TO(RESUME_REFRESH) | SM_TO(RESUME_DONE) | UNDO },
    [RESUME_FLUSH] = { "flush", SM_TO(RESUME_FORGET) | UNDO },
    [RESUME_FORGET] = { "forget", SM_TO(RESUME_BOOT) | UNDO },
    [RESUME_BOOT] = { "boot", SM_TO(RESUME_CONFIGURE) | UNDO },
    [RESUME_CONFIGURE] = { "configure", SM_TO(RESUME_RECORD_BOOT) | UNDO },
    [RESUME_RECORD_BOOT] = { "record_boot", SM_TO(RESUME_DONE) | UNDO },
    [RESUME_UNDO_VMM] = { "undo_vmm", SM_TO(RESUME_UNDO_RECORD) },
    [RESUME_UNDO_RECORD] = { "undo_record", SM_TO(RESUME_DONE) },
    [RESUME_DONE] = { "done", UNDO },
};

struct joiner {
    struct list node;
    sandbox_connected_cb done;
    void *user;
};

struct resume {
    struct sm sm;
    struct sandbox_own *own;
    struct source *source;
    struct deferred step;
    struct guest_call *call;
    struct sandbox_timings timings;
    int64_t began_ns, phase_began;
    int64_t timeout_s, paused_ns;
    unsigned clock_tries;
    bool reboot;
    bool recorded; /* a row says that it runs */
    bool ran;      /* the guest had its first instruction */
    struct err err;
    struct err not_flushed; /* why the disk is booted as it is */
    struct list joiners;
};

static void run(struct resume *op);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct resume, step));
}

static void go(struct resume *op, enum resume_state state)
{
    sm_move(&op->sm, state);
    defer(op->own->sb.host->defer, &op->step, on_step);
}

static void charge(struct resume *op, enum sandbox_phase phase)
{
    int64_t now = clock_mono_ns();
    op->timings.us[phase] += (uint32_t)((now - op->phase_began) / 1000);
    op->phase_began = now;
}

static void step_done(struct resume *op, enum resume_state next, const struct err *err)
{
    if (err && err->code && !op->err.code)
        op->err = *err;
    blame_host_for_lack(&op->err);
    go(op, op->err.code ? RESUME_UNDO_VMM : next);
}

static void out_of_memory(struct resume *op)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED, "out of memory");
    step_done(op, RESUME_UNDO_VMM, &err);
}

/* Stop waiting for the guest. */
static void interrupt(struct resume *op)
{
    cold_boot_cancel(op->own, &op->err);
    if (op->call) {
        guest_link_cancel(TAKE(op->call));
        go(op, RESUME_UNDO_VMM);
    }
}

static void on_vm_ended(struct sandbox_own *own, const char *detail)
{
    struct resume *op = own->operation;
    if (own->flush) {
        flush_vm_ended(own, detail);
        return;
    }
    if (own->restore)
        restore_vm_ended(own, detail);
    if (!op->err.code)
        err_fill(&op->err, ERR_INTERNAL, "the VM ended while it was resumed: %s", detail);
    interrupt(op);
}

static void on_source(void *user, struct source *source, const struct err *err)
{
    struct resume *op = user;
    op->source = source;
    charge(op, SANDBOX_PHASE_QUEUE);
    enum resume_state boot = op->own->snapshot_id[0] ? RESUME_FLUSH : RESUME_FORGET;
    step_done(op, op->reboot ? boot : RESUME_RESTORE, err);
}

static void on_restored(void *user, const struct err *err)
{
    struct resume *op = user;
    op->phase_began = clock_mono_ns();
    step_done(op, RESUME_RECORD, err);
}

static void set_times(struct resume *op)
{
    op->own->run_began_ns = clock_wall_ns();
    op->own->sb.end_ns = op->own->run_began_ns + op->timeout_s * 1000000000;
}

static void on_recorded(void *user, const struct err *err)
{
    struct resume *op = user;
    charge(op, SANDBOX_PHASE_SAVE);
    step_done(op, sm_state(&op->sm) == RESUME_RECORD ? RESUME_RETIRE : RESUME_DONE, err);
}

static void start_record(struct resume *op)
{
    set_times(op);
    op->recorded = true;
    sandbox_save(op->own, "running", on_recorded, op);
}

static void on_retired(void *user, const struct err *err)
{
    struct resume *op = user;
    op->ran = !err; /* as good as that: its memory is gone */
    step_done(op, RESUME_CONT, err);
}

static void on_running(void *user, const struct err *err)
{
    struct resume *op = user;
    op->phase_began = clock_mono_ns();
    step_done(op, RESUME_REFRESH, err);
}

static void on_refreshed(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct resume *op = user;
    struct err silent;
    op->call = NULL;
    charge(op, SANDBOX_PHASE_LINK);
    if (err && op->own->sb.unresponsive_at_pause) {
        err_fill(&silent, ERR_ABORTED, "the guest does not answer, as before it was paused: %.120s",
                 err->msg);
        silent.reason = SANDBOX_REASON_UNRESPONSIVE;
        err = &silent;
    }
    /* The first one of a restored guest may be too slow to set the clock well. */
    bool enough = err || guest_refreshed_in_time(op->own, msg) || ++op->clock_tries == CLOCK_TRIES;
    step_done(op, enough ? RESUME_DONE : RESUME_REFRESH, err);
}

static void start_refresh(struct resume *op)
{
    uint64_t stopped_ns = op->clock_tries == 0 ? op->source->manifest.clock_stopped_ns : 0;
    op->call = guest_refresh(op->own, stopped_ns, on_refreshed, op);
    if (!op->call)
        out_of_memory(op);
}

static void on_flushed(void *user, const struct err *err)
{
    struct resume *op = user;
    op->phase_began = clock_mono_ns();
    /* What the host lacks now it may have later, and the memory is still there. */
    if (err && (err->code == ERR_EXHAUSTED || err->code == ERR_UNAVAILABLE) &&
        op->own->snapshot_id[0]) {
        step_done(op, RESUME_UNDO_VMM, err);
        return;
    }
    if (err && !op->err.code) {
        op->not_flushed = *err;
        log_warn("what a sandbox had not written out is lost: it is booted from its disk as it is",
                 LOG_STR("sandbox_id", op->own->sb.id), LOG_STR("reason", err->msg));
    }
    step_done(op, RESUME_FORGET, NULL);
}

static void on_forgotten(void *user, const struct err *err)
{
    step_done(user, RESUME_BOOT, err);
}

/* Its memory is not what goes on from here. */
static void forget_memory(struct sandbox_own *own)
{
    if (own->snapshot_id[0])
        sandbox_drop_snapshot(own->sb.host, own->snapshot_id);
    own->snapshot_id[0] = '\0';
    own->sb.filesystem_only = true;
}

static void on_booted(void *user, const struct err *err)
{
    struct resume *op = user;
    op->phase_began = clock_mono_ns();
    step_done(op, RESUME_CONFIGURE, err);
}

static void on_configured(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct resume *op = user;
    (void)msg;
    op->call = NULL;
    if (!err)
        guest_link_set_secret(op->own->sb.link, op->own->link_secret);
    charge(op, SANDBOX_PHASE_INIT);
    step_done(op, RESUME_RECORD_BOOT, err);
}

static void start_configure(struct resume *op)
{
    op->call = guest_configure(op->own, 0, on_configured, op);
    if (!op->call)
        out_of_memory(op);
}

static void on_vmm_undone(void *user)
{
    struct resume *op = user;
    op->own->sb.vmm = NULL;
    go(op, RESUME_UNDO_RECORD);
}

static void undo_vmm(struct resume *op)
{
    struct sandbox *sb = &op->own->sb;
    if (op->call)
        guest_link_cancel(TAKE(op->call));
    if (sb->link)
        guest_link_close(TAKE(sb->link));
    op->own->loaded = false;
    if (sb->vmm) {
        vmm_destroy(sb->vmm, on_vmm_undone, op);
        return;
    }
    file_remove_tree(op->own->run_dir, NULL);
    go(op, RESUME_UNDO_RECORD);
}

static void on_record_undone(void *user, const struct err *err)
{
    struct resume *op = user;
    if (err)
        log_error("a sandbox that was not resumed is still written down as running",
                  LOG_STR("sandbox_id", op->own->sb.id), LOG_STR("reason", err->msg));
    go(op, RESUME_DONE);
}

static void undo_record(struct resume *op)
{
    op->own->sb.end_ns = op->paused_ns;
    slot_give(op->own);
    if (op->ran)
        forget_memory(op->own);
    if (op->recorded || op->ran)
        sandbox_save(op->own, "paused", on_record_undone, op);
    else
        go(op, RESUME_DONE);
}

static void settle(struct resume *op)
{
    struct sandbox *sb = &op->own->sb;
    list_remove(&sb->node);
    if (op->err.code) {
        log_warn("sandbox was not resumed", LOG_STR("sandbox_id", sb->id),
                 LOG_STR("reason", op->err.msg));
        sm_move(&sb->sm, SANDBOX_PAUSED);
        list_push_back(&sb->host->paused, &sb->node);
        return;
    }
    char detail[EVENT_DETAIL_SIZE] = "";
    if (op->not_flushed.code)
        snprintf(detail, sizeof(detail), "what it had not written out is lost: %.200s",
                 op->not_flushed.msg);
    sandbox_resumed(op->own);
    sm_move(&sb->sm, SANDBOX_RUNNING);
    sandbox_runs_on(sb);
    sandbox_event(sb, SANDBOX_EVENT_RESUMED, op->reboot ? "reboot" : NULL, detail);
    log_info("sandbox resumed", LOG_STR("sandbox_id", sb->id), LOG_INT("reboot", op->reboot),
             LOG_STR("vmm", sandbox_vmm_name(op->own)));
}

static void finish(struct resume *op)
{
    struct sandbox_own *own = op->own;
    own->operation = NULL;
    own->vm_ended = NULL;
    pool_used_by(own);
    metrics_operation(&own->sb.host->metrics, op->reboot ? OPERATION_RESUME_BOOT : OPERATION_RESUME,
                      &op->timings, op->began_ns, &op->err);
    settle(op);
    list_for_each_safe (node, &op->joiners) {
        struct joiner *j = container_of(node, struct joiner, node);
        j->done(j->user, op->err.code ? NULL : &own->sb, true, &op->timings,
                op->err.code ? &op->err : NULL);
        free(j);
    }
    source_unref(op->source);
    free(op);
    transition_end(own);
}

static const char *const fault_names[RESUME_NR] = {
    [RESUME_SOURCE] = "resume.source",       [RESUME_RESTORE] = "resume.restore",
    [RESUME_RECORD] = "resume.record",       [RESUME_RETIRE] = "resume.retire",
    [RESUME_REFRESH] = "resume.refresh",     [RESUME_FORGET] = "resume.forget",
    [RESUME_CONFIGURE] = "resume.configure", [RESUME_RECORD_BOOT] = "resume.record_boot",
};

static void run(struct resume *op)
{
    struct sandbox_own *own = op->own;
    enum resume_state state = (enum resume_state)sm_state(&op->sm);
    if (fault_names[state] && !op->err.code && FAULT_POINT(fault_names[state]))
        err_fill(&op->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if ((fault_names[state] || (state == RESUME_DONE && own->sb.vmm)) && op->err.code) {
        go(op, RESUME_UNDO_VMM);
        return;
    }
    switch (state) {
    case RESUME_SOURCE:
        source_open_paused(own->sb.host, own, op->reboot ? "" : own->snapshot_id, on_source, op);
        break;
    case RESUME_RESTORE:
        restore_start(own, op->source, RESTORE_LOADED, &op->timings, on_restored, op);
        break;
    case RESUME_RECORD:
    case RESUME_RECORD_BOOT:
        start_record(op);
        break;
    case RESUME_RETIRE:
        sandbox_retire_snapshot(own, on_retired, op);
        break;
    case RESUME_CONT:
        restore_start(own, op->source, RESTORE_RUNNING, &op->timings, on_running, op);
        break;
    case RESUME_REFRESH:
        start_refresh(op);
        break;
    case RESUME_FLUSH:
        flush_start(own, &op->timings, on_flushed, op);
        break;
    case RESUME_FORGET:
        sandbox_forget_memory(own, on_forgotten, op);
        break;
    case RESUME_BOOT:
        op->ran = true;
        cold_boot_start(own, op->source, &op->timings, on_booted, op);
        break;
    case RESUME_CONFIGURE:
        start_configure(op);
        break;
    case RESUME_UNDO_VMM:
        undo_vmm(op);
        break;
    case RESUME_UNDO_RECORD:
        undo_record(op);
        break;
    case RESUME_DONE:
        finish(op);
        break;
    case RESUME_NR:
        break;
    }
}

void resume_cancel_boots(struct sandbox_host *h)
{
    list_for_each (node, &h->paused) {
        struct sandbox_own *own = own_of(container_of(node, struct sandbox, node));
        struct resume *op = own->operation;
        if (own->transition != TRANSITION_RESUME || !op->reboot)
            continue;
        if (!op->err.code)
            err_fill(&op->err, ERR_UNAVAILABLE, "the daemon is stopping");
        interrupt(op);
    }
}

void resume_join(struct sandbox_own *own, sandbox_connected_cb done, void *user)
{
    struct resume *op = own->operation;
    struct joiner *j = malloc(sizeof(*j));
    if (!j)
        abort(); /* nobody could be told */
    j->done = done;
    j->user = user;
    list_push_back(&op->joiners, &j->node);
}

void resume_begin(struct sandbox_own *own, int64_t timeout_s, bool reboot,
                  sandbox_connected_cb done, void *user)
{
    struct sandbox *sb = &own->sb;
    struct sandbox_host *h = sb->host;
    struct resume *op = calloc(1, sizeof(*op));
    if (!op)
        abort(); /* nobody could be told */
    op->own = own;
    op->timeout_s = timeout_s;
    op->reboot = reboot || sb->filesystem_only;
    op->paused_ns = sb->end_ns;
    op->began_ns = op->phase_began = clock_mono_ns();
    list_init(&op->joiners);
    transition_begin(own, TRANSITION_RESUME);
    own->operation = op;
    resume_join(own, done, user);
    own->vm_ended = on_vm_ended;
    sm_move(&sb->sm, SANDBOX_RESUMING);
    if (sandbox_host_admit(h, sb->team_id, &op->err) == 0 &&
        sandbox_host_admit_memory(h, &op->err) == 0 && (own->slot = slot_take(h, -1)) < 0)
        err_fill(&op->err, ERR_EXHAUSTED, "no user id is free for another VM");
    sm_init(&op->sm, "resume", sb->id, rules, RESUME_SOURCE);
    defer(h->defer, &op->step, on_step);
}
