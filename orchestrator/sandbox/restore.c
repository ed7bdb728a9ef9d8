/*
 * Restore a VM:
 *
 *   [TAKE ->] START -> FILL -> LOAD -> CONT -> DONE
 *
 * TAKE   a VMM that waits: that of a spare, when there is one that this sandbox can have; a spare
 *        itself begins with
 * START  a new one
 * FILL   a worker checks the snapshot and writes its pages into the VMM's memory; the guest link is
 *        opened, so that the marker lies in the guest's port before its first instruction
 * LOAD   device state
 * CONT   the guest runs
 *
 * It ends early where its goal is reached and can be gone on with from there.
 */
#include "orchestrator/sandbox/restore.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/pool.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/snapshot.h"

#include <errno.h>
#include <unistd.h>

enum restore_state {
    RESTORE_TAKE,
    RESTORE_START,
    RESTORE_FILL,
    RESTORE_LOAD,
    RESTORE_CONT,
    RESTORE_DONE,
    RESTORE_NR
};

static const struct sm_rule rules[RESTORE_NR] = {
    [RESTORE_TAKE] = { "take", SM_TO(RESTORE_START) | SM_TO(RESTORE_FILL) | SM_TO(RESTORE_DONE) },
    [RESTORE_START] = { "start", SM_TO(RESTORE_FILL) | SM_TO(RESTORE_DONE) },
    [RESTORE_FILL] = { "fill", SM_TO(RESTORE_LOAD) | SM_TO(RESTORE_DONE) },
    [RESTORE_LOAD] = { "load", SM_TO(RESTORE_CONT) | SM_TO(RESTORE_DONE) },
    [RESTORE_CONT] = { "cont", SM_TO(RESTORE_DONE) },
    [RESTORE_DONE] = { "done", 0 },
};

struct restore {
    struct sm sm;
    struct sandbox_own *own;
    struct source *source;
    enum restore_goal goal;
    struct sandbox_timings *timings;
    int64_t phase_began;
    struct deferred step;
    uv_work_t work;
    bool waiting; /* a callback of the current state is due */
    struct vmm_memory memory;
    int state_fd;
    struct err fill_err;
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void run(struct restore *r);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct restore, step));
}

static void charge(struct restore *r, enum sandbox_phase phase)
{
    int64_t now = clock_mono_ns();
    r->timings->us[phase] += (uint32_t)((now - r->phase_began) / 1000);
    r->phase_began = now;
}

static void step_done(struct restore *r, enum restore_state next, const struct err *err)
{
    r->waiting = false;
    if (err && err->code && !r->err.code)
        r->err = *err;
    sm_move(&r->sm, r->err.code ? RESTORE_DONE : next);
    defer(r->own->sb.host->defer, &r->step, on_step);
}

static void on_taken(void *user, bool is_taken)
{
    struct restore *r = user;
    charge(r, SANDBOX_PHASE_VMM);
    step_done(r, is_taken ? RESTORE_FILL : RESTORE_START, NULL);
}

static void take_vmm(struct restore *r)
{
    if (!pool_take_vmm(r->own, r->source, on_taken, r))
        step_done(r, RESTORE_START, NULL);
}

static void on_started(struct vmm *v, const struct err *err)
{
    struct sandbox *sb = vmm_user(v);
    struct restore *r = own_of(sb)->restore;
    charge(r, SANDBOX_PHASE_VMM);
    if (err)
        sb->vmm = NULL;
    step_done(r, r->goal == RESTORE_WAITING ? RESTORE_DONE : RESTORE_FILL, err);
}

static void start_vmm(struct restore *r)
{
    struct sandbox *sb = &r->own->sb;
    struct vmm_config config;
    struct err err;
    AUTO_FREE struct source_paths *paths = malloc(sizeof(*paths));
    if (!paths) {
        err_fill(&err, ERR_EXHAUSTED, "out of memory starting the VM");
        step_done(r, RESTORE_DONE, &err);
        return;
    }
    sandbox_own_run_dir(r->own);
    if (file_make_dirs(r->own->run_dir, 0700, &err) < 0) {
        step_done(r, RESTORE_DONE, &err);
        return;
    }
    source_fill_config(r->source, r->own, paths, &config);
    sb->vmm = vmm_start(sb->host->driver, &config, &sandbox_vmm_events, sb, on_started);
    if (!sb->vmm) {
        err_fill(&err, ERR_EXHAUSTED, "out of memory starting the VM");
        step_done(r, RESTORE_DONE, &err);
    }
}

/* On a worker. */
static void fill(uv_work_t *work)
{
    struct restore *r = container_of(work, struct restore, work);
    struct snapshot_manifest *m = malloc(sizeof(*m));
    int dirfd = -1;
    if (!m) {
        err_fill(&r->fill_err, ERR_EXHAUSTED, "out of memory reading the snapshot");
        return;
    }
    int rc = snapshot_open(r->source->snapshot_dir, m, &dirfd, &r->state_fd, &r->fill_err);
    if (rc == 0 && r->source->diff)
        memory_apply(dirfd, SNAPSHOT_FILE_MEMORY, &m->memory, &r->memory, &r->fill_err);
    if (dirfd >= 0)
        close(dirfd);
    free(m);
}

static void on_filled(uv_work_t *work, int status)
{
    (void)status;
    struct restore *r = container_of(work, struct restore, work);
    step_done(r, RESTORE_LOAD, &r->fill_err);
}

static void start_fill(struct restore *r)
{
    struct sandbox *sb = &r->own->sb;
    struct err err;
    sb->link = guest_link_new(sb->host->loop, sb->host->defer, vmm_link_address(sb->vmm),
                              r->source->manifest.link_secret, &sandbox_link_events, sb);
    if (!sb->link) {
        err_fill(&err, ERR_EXHAUSTED, "out of memory opening the guest link");
        step_done(r, RESTORE_DONE, &err);
        return;
    }
    guest_link_set_vm_running(sb->link, false);
    if (vmm_memory(sb->vmm, &r->memory, &err) < 0) {
        step_done(r, RESTORE_DONE, &err);
        return;
    }
    if (uv_queue_work(sb->host->loop, &r->work, fill, on_filled) < 0) {
        err_fill(&err, ERR_EXHAUSTED, "cannot start a worker");
        step_done(r, RESTORE_DONE, &err);
    }
}

static void on_loaded(void *user, const struct err *err)
{
    struct restore *r = user;
    close(TAKE_FD(r->state_fd));
    r->own->loaded = !err;
    charge(r, SANDBOX_PHASE_RESTORE);
    step_done(r, r->goal == RESTORE_LOADED ? RESTORE_DONE : RESTORE_CONT, err);
}

static void on_running(void *user, const struct err *err)
{
    struct restore *r = user;
    if (!err)
        guest_link_set_vm_running(r->own->sb.link, true);
    step_done(r, RESTORE_DONE, err);
}

static void finish(struct restore *r)
{
    void (*done)(void *, const struct err *) = r->done;
    void *user = r->user;
    struct err err = r->err;
    r->own->restore = NULL;
    if (r->state_fd >= 0)
        close(r->state_fd);
    source_unref(r->source);
    free(r);
    done(user, err.code ? &err : NULL);
}

static const char *const fault_names[RESTORE_NR] = {
    [RESTORE_START] = "restore.start",
    [RESTORE_FILL] = "restore.fill",
    [RESTORE_LOAD] = "restore.load",
    [RESTORE_CONT] = "restore.cont",
};

static void run(struct restore *r)
{
    enum restore_state state = (enum restore_state)sm_state(&r->sm);
    if (fault_names[state] && FAULT_POINT(fault_names[state]) && !r->err.code)
        err_fill(&r->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if (r->err.code && state != RESTORE_DONE) {
        step_done(r, RESTORE_DONE, NULL);
        return;
    }
    r->waiting = true;
    switch (state) {
    case RESTORE_TAKE:
        take_vmm(r);
        break;
    case RESTORE_START:
        start_vmm(r);
        break;
    case RESTORE_FILL:
        start_fill(r);
        break;
    case RESTORE_LOAD:
        vmm_load(r->own->sb.vmm, r->state_fd, on_loaded, r);
        break;
    case RESTORE_CONT:
        vmm_resume(r->own->sb.vmm, on_running, r);
        break;
    case RESTORE_DONE:
        finish(r);
        break;
    case RESTORE_NR:
        break;
    }
}

void restore_start(struct sandbox_own *own, struct source *source, enum restore_goal goal,
                   struct sandbox_timings *t, void (*done)(void *user, const struct err *err),
                   void *user)
{
    struct restore *r = calloc(1, sizeof(*r));
    if (!r)
        abort(); /* a few hundred bytes; nobody could be told */
    r->own = own;
    r->source = source_ref(source);
    r->goal = goal;
    r->timings = t;
    r->done = done;
    r->user = user;
    r->state_fd = -1;
    r->phase_began = clock_mono_ns();
    own->restore = r;
    enum restore_state from = own->spare ? RESTORE_START : RESTORE_TAKE;
    if (own->sb.vmm)
        from = own->loaded ? RESTORE_CONT : RESTORE_FILL;
    sm_init(&r->sm, "restore", own->sb.id, rules, from);
    defer(own->sb.host->defer, &r->step, on_step);
}

void restore_cancel(struct sandbox_own *own, const struct err *why)
{
    if (own->restore && !own->restore->err.code)
        own->restore->err = *why;
}

void restore_vm_ended(struct sandbox_own *own, const char *detail)
{
    if (!own->restore->err.code)
        err_fill(&own->restore->err, ERR_INTERNAL, "the VM ended while it was restored: %s",
                 detail);
}
