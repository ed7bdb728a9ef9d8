/*
 * Bring the disk of a sandbox that was paused with its memory up to that memory:
 *
 *   SOURCE -> RESTORE -> FORGET -> CONT -> SYNC -> LET_GO -> DONE
 *
 * FORGET  written down as paused with its disk alone, before the guest's first instruction: from
 *         there on the disk is not the snapshot's any more
 * SYNC    the guest writes its file systems out
 * LET_GO  its VM is ended
 *
 * A guest that did not answer before it was paused is not asked. A failure goes to LET_GO; until
 * FORGET was passed the memory is what it was.
 */
#include "orchestrator/sandbox/flush.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/restore.h"

#include <errno.h>

#define SYNC_MS 10000 /* for a guest that runs again to have written its file systems out */

enum flush_state {
    FLUSH_SOURCE,
    FLUSH_RESTORE,
    FLUSH_FORGET,
    FLUSH_CONT,
    FLUSH_SYNC,
    FLUSH_LET_GO,
    FLUSH_DONE,
    FLUSH_NR
};

#define LET_GO SM_TO(FLUSH_LET_GO)
static const struct sm_rule rules[FLUSH_NR] = {
    [FLUSH_SOURCE] = { "source", SM_TO(FLUSH_RESTORE) | LET_GO },
    [FLUSH_RESTORE] = { "restore", SM_TO(FLUSH_FORGET) | LET_GO },
    [FLUSH_FORGET] = { "forget", SM_TO(FLUSH_CONT) | LET_GO },
    [FLUSH_CONT] = { "cont", SM_TO(FLUSH_SYNC) | LET_GO },
    [FLUSH_SYNC] = { "sync", LET_GO },
    [FLUSH_LET_GO] = { "let_go", SM_TO(FLUSH_DONE) },
    [FLUSH_DONE] = { "done", 0 },
};

struct flush {
    struct sm sm;
    struct sandbox_own *own;
    struct source *source;
    struct sandbox_timings *timings;
    int64_t phase_began;
    struct deferred step;
    struct guest_call *call;
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void run(struct flush *f);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct flush, step));
}

static void go(struct flush *f, enum flush_state state)
{
    sm_move(&f->sm, state);
    defer(f->own->sb.host->defer, &f->step, on_step);
}

static void step_done(struct flush *f, enum flush_state next, const struct err *err)
{
    if (err && err->code && !f->err.code)
        f->err = *err;
    go(f, f->err.code ? FLUSH_LET_GO : next);
}

static void charge(struct flush *f, enum sandbox_phase phase)
{
    int64_t now = clock_mono_ns();
    f->timings->us[phase] += (uint32_t)((now - f->phase_began) / 1000);
    f->phase_began = now;
}

static void on_source(void *user, struct source *source, const struct err *err)
{
    struct flush *f = user;
    f->source = source;
    charge(f, SANDBOX_PHASE_QUEUE);
    step_done(f, FLUSH_RESTORE, err);
}

static void start_source(struct flush *f)
{
    struct sandbox_own *own = f->own;
    struct err err;
    if (own->sb.unresponsive_at_pause) {
        err_fill(&err, ERR_ABORTED, "its guest did not answer when it was paused");
        step_done(f, FLUSH_LET_GO, &err);
        return;
    }
    source_open_paused(own->sb.host, own, own->snapshot_id, on_source, f);
}

static void on_restored(void *user, const struct err *err)
{
    struct flush *f = user;
    f->phase_began = clock_mono_ns();
    step_done(f, FLUSH_FORGET, err);
}

static void on_forgotten(void *user, const struct err *err)
{
    struct flush *f = user;
    charge(f, SANDBOX_PHASE_SAVE);
    step_done(f, FLUSH_CONT, err);
}

/* A daemon that is to stop leaves it as it was while it can. */
static void start_forget(struct flush *f)
{
    struct err err;
    if (f->own->sb.host->stopping) {
        err_fill(&err, ERR_UNAVAILABLE, "the daemon is stopping");
        step_done(f, FLUSH_LET_GO, &err);
        return;
    }
    sandbox_forget_memory(f->own, on_forgotten, f);
}

static void on_running(void *user, const struct err *err)
{
    struct flush *f = user;
    f->phase_began = clock_mono_ns();
    step_done(f, FLUSH_SYNC, err);
}

static void on_synced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct flush *f = user;
    (void)msg;
    f->call = NULL;
    charge(f, SANDBOX_PHASE_LINK);
    step_done(f, FLUSH_LET_GO, err);
}

static void start_sync(struct flush *f)
{
    struct err err;
    f->call = guest_quiesce(f->own, true, SYNC_MS, on_synced, f);
    if (f->call)
        return;
    err_fill(&err, ERR_EXHAUSTED, "out of memory");
    step_done(f, FLUSH_LET_GO, &err);
}

static void on_destroyed(void *user)
{
    struct flush *f = user;
    f->own->sb.vmm = NULL;
    file_remove_tree(f->own->run_dir, NULL);
    go(f, FLUSH_DONE);
}

static void let_go(struct flush *f)
{
    struct sandbox *sb = &f->own->sb;
    f->own->loaded = false;
    if (sb->link)
        guest_link_close(TAKE(sb->link));
    if (sb->vmm)
        vmm_destroy(sb->vmm, on_destroyed, f);
    else
        on_destroyed(f);
}

static void finish(struct flush *f)
{
    void (*done)(void *, const struct err *) = f->done;
    void *user = f->user;
    struct err err = f->err;
    f->own->flush = NULL;
    source_unref(f->source);
    free(f);
    done(user, err.code ? &err : NULL);
}

static const char *const fault_names[FLUSH_NR] = {
    [FLUSH_SOURCE] = "flush.source", [FLUSH_RESTORE] = "flush.restore",
    [FLUSH_FORGET] = "flush.forget", [FLUSH_CONT] = "flush.cont",
    [FLUSH_SYNC] = "flush.sync",
};

static void run(struct flush *f)
{
    enum flush_state state = (enum flush_state)sm_state(&f->sm);
    if (fault_names[state] && !f->err.code && FAULT_POINT(fault_names[state]))
        err_fill(&f->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if (fault_names[state] && f->err.code) {
        go(f, FLUSH_LET_GO);
        return;
    }
    switch (state) {
    case FLUSH_SOURCE:
        start_source(f);
        break;
    case FLUSH_RESTORE:
        restore_start(f->own, f->source, RESTORE_LOADED, f->timings, on_restored, f);
        break;
    case FLUSH_FORGET:
        start_forget(f);
        break;
    case FLUSH_CONT:
        restore_start(f->own, f->source, RESTORE_RUNNING, f->timings, on_running, f);
        break;
    case FLUSH_SYNC:
        start_sync(f);
        break;
    case FLUSH_LET_GO:
        let_go(f);
        break;
    case FLUSH_DONE:
        finish(f);
        break;
    case FLUSH_NR:
        break;
    }
}

void flush_start(struct sandbox_own *own, struct sandbox_timings *t,
                 void (*done)(void *user, const struct err *err), void *user)
{
    struct flush *f = calloc(1, sizeof(*f));
    if (!f)
        abort(); /* a few hundred bytes; nobody could be told */
    f->own = own;
    f->timings = t;
    f->done = done;
    f->user = user;
    f->phase_began = clock_mono_ns();
    own->flush = f;
    sm_init(&f->sm, "flush", own->sb.id, rules, FLUSH_SOURCE);
    defer(own->sb.host->defer, &f->step, on_step);
}

void flush_vm_ended(struct sandbox_own *own, const char *detail)
{
    struct flush *f = own->flush;
    if (own->restore)
        restore_vm_ended(own, detail);
    if (!f->err.code)
        err_fill(&f->err, ERR_INTERNAL, "the VM ended: %s", detail);
    if (f->call) {
        guest_link_cancel(TAKE(f->call));
        go(f, FLUSH_LET_GO);
    }
}
