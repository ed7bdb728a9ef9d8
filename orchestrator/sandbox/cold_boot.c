/*
 * Boot a VM:
 *
 *   START -> HELLO -> DONE
 *
 * START  a VMM whose guest boots
 * HELLO  envd answers, and speaks this daemon's protocol
 */
#include "orchestrator/sandbox/cold_boot.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "orchestrator/sandbox/guest_identity.h"

#include <errno.h>

/* To envd's answer; a guest under emulation on a busy host is slow. */
#define DEADLINE_MS 120000

enum boot_state { BOOT_START, BOOT_HELLO, BOOT_DONE, BOOT_NR };

static const struct sm_rule rules[BOOT_NR] = {
    [BOOT_START] = { "start", SM_TO(BOOT_HELLO) | SM_TO(BOOT_DONE) },
    [BOOT_HELLO] = { "hello", SM_TO(BOOT_DONE) },
    [BOOT_DONE] = { "done", 0 },
};

struct cold_boot {
    struct sm sm;
    struct sandbox_own *own;
    const struct source *source; /* the owner's */
    struct sandbox_timings *timings;
    int64_t phase_began;
    struct deferred step;
    struct guest_call *call;
    struct err err;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void run(struct cold_boot *b);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct cold_boot, step));
}

static void charge(struct cold_boot *b, enum sandbox_phase phase)
{
    int64_t now = clock_mono_ns();
    b->timings->us[phase] += (uint32_t)((now - b->phase_began) / 1000);
    b->phase_began = now;
}

static void step_done(struct cold_boot *b, enum boot_state next, const struct err *err)
{
    if (err && err->code && !b->err.code)
        b->err = *err;
    sm_move(&b->sm, b->err.code ? BOOT_DONE : next);
    defer(b->own->sb.host->defer, &b->step, on_step);
}

static void out_of_memory(struct cold_boot *b)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED, "out of memory starting the VM");
    step_done(b, BOOT_DONE, &err);
}

static void on_started(struct vmm *v, const struct err *err)
{
    struct sandbox *sb = vmm_user(v);
    struct cold_boot *b = own_of(sb)->cold_boot;
    if (err)
        sb->vmm = NULL;
    charge(b, SANDBOX_PHASE_VMM);
    step_done(b, BOOT_HELLO, err);
}

static void start_vmm(struct cold_boot *b)
{
    struct sandbox_own *own = b->own;
    struct vmm_config config;
    struct err err;
    AUTO_FREE struct source_paths *paths = malloc(sizeof(*paths));
    if (!paths) {
        out_of_memory(b);
        return;
    }
    sandbox_own_run_dir(own);
    if (file_make_dirs(own->run_dir, 0700, &err) < 0) {
        step_done(b, BOOT_DONE, &err);
        return;
    }
    source_fill_config(b->source, own, paths, &config);
    config.memory_fd = -1;
    own->base_build_id[0] = '\0';
    own->sb.vmm =
        vmm_boot(own->sb.host->driver, &config, &sandbox_vmm_events, &own->sb, on_started);
    if (!own->sb.vmm)
        out_of_memory(b);
}

static void on_hello(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct cold_boot *b = user;
    b->call = NULL;
    if (!err)
        guest_check_hello(msg, &b->err);
    charge(b, SANDBOX_PHASE_LINK);
    step_done(b, BOOT_DONE, err);
}

static void start_hello(struct cold_boot *b)
{
    struct sandbox *sb = &b->own->sb;
    sb->link = guest_link_new(sb->host->loop, sb->host->defer, vmm_link_address(sb->vmm),
                              LINK_SECRET_INITIAL, &sandbox_link_events, sb);
    if (sb->link)
        b->call = guest_hello(b->own, DEADLINE_MS, on_hello, b);
    if (!b->call)
        out_of_memory(b);
}

static void finish(struct cold_boot *b)
{
    void (*done)(void *, const struct err *) = b->done;
    void *user = b->user;
    struct err err = b->err;
    b->own->cold_boot = NULL;
    free(b);
    done(user, err.code ? &err : NULL);
}

static const char *const fault_names[BOOT_NR] = {
    [BOOT_START] = "boot.start",
    [BOOT_HELLO] = "boot.hello",
};

static void run(struct cold_boot *b)
{
    enum boot_state state = (enum boot_state)sm_state(&b->sm);
    if (fault_names[state] && FAULT_POINT(fault_names[state]) && !b->err.code)
        err_fill(&b->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    if (b->err.code && state != BOOT_DONE) {
        step_done(b, BOOT_DONE, NULL);
        return;
    }
    switch (state) {
    case BOOT_START:
        start_vmm(b);
        break;
    case BOOT_HELLO:
        start_hello(b);
        break;
    case BOOT_DONE:
        finish(b);
        break;
    case BOOT_NR:
        break;
    }
}

void cold_boot_start(struct sandbox_own *own, const struct source *source,
                     struct sandbox_timings *t, void (*done)(void *user, const struct err *err),
                     void *user)
{
    struct cold_boot *b = calloc(1, sizeof(*b));
    if (!b)
        abort(); /* a few hundred bytes; nobody could be told */
    b->own = own;
    b->source = source;
    b->timings = t;
    b->done = done;
    b->user = user;
    b->phase_began = clock_mono_ns();
    own->cold_boot = b;
    sm_init(&b->sm, "boot", own->sb.id, rules, BOOT_START);
    defer(own->sb.host->defer, &b->step, on_step);
}

void cold_boot_cancel(struct sandbox_own *own, const struct err *why)
{
    struct cold_boot *b = own->cold_boot;
    if (!b)
        return;
    if (!b->err.code)
        b->err = *why;
    if (b->call) {
        guest_link_cancel(TAKE(b->call));
        step_done(b, BOOT_DONE, NULL);
    }
}
