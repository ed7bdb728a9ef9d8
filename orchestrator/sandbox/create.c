/*
 * Create a sandbox:
 *
 *   ADMIT -> TEMPLATE -> SOURCE -> TURN -> RESTORE -> CONFIGURE -> [CLOCK ->] RECORD -> DONE
 *
 * ADMIT     its team does not keep too much already (kept.h)
 * TEMPLATE  look up what the reference stands for
 * SOURCE    its files, and its memory once for all its sandboxes
 * TURN      of many at once a few go on, in order (turns.h). One that gets a hot spare has next to
 *           nothing to do and waits for nobody
 * RESTORE   a VM from its snapshot, or a spare of the pool that has come some of the way; of a
 *           snapshot that kept only the disk, a boot
 * CONFIGURE the guest has its identity, its token and a link secret of its own
 * CLOCK     its clock is set again, since CONFIGURE was too slow to set it well
 * RECORD    written down as "running"
 *
 * Nothing is written down before RECORD: a daemon that dies earlier leaves a run directory that no
 * record names, with the VMM's process id in it, and the next one sweeps it.
 *
 * A failure, and be it between RECORD and DONE, goes to UNDO, which takes back in reverse what was
 * done, then to DONE.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/cold_boot.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/kept.h"
#include "orchestrator/sandbox/pool.h"
#include "orchestrator/sandbox/restore.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum create_state {
    CREATE_ADMIT,
    CREATE_TEMPLATE,
    CREATE_SOURCE,
    CREATE_TURN,
    CREATE_RESTORE,
    CREATE_BOOT,
    CREATE_CONFIGURE,
    CREATE_CLOCK,
    CREATE_RECORD,
    CREATE_UNDO_VMM,
    CREATE_UNDO_RECORD,
    CREATE_DONE,
    CREATE_NR
};

#define UNDO SM_TO(CREATE_UNDO_VMM)
static const struct sm_rule rules[CREATE_NR] = {
    [CREATE_ADMIT] = { "admit", SM_TO(CREATE_TEMPLATE) | UNDO },
    [CREATE_TEMPLATE] = { "template", SM_TO(CREATE_SOURCE) | UNDO },
    [CREATE_SOURCE] = { "source", SM_TO(CREATE_TURN) | UNDO },
    [CREATE_TURN] = { "turn", SM_TO(CREATE_RESTORE) | SM_TO(CREATE_BOOT) | UNDO },
    [CREATE_RESTORE] = { "restore", SM_TO(CREATE_CONFIGURE) | UNDO },
    [CREATE_BOOT] = { "boot", SM_TO(CREATE_CONFIGURE) | UNDO },
    [CREATE_CONFIGURE] = { "configure", SM_TO(CREATE_CLOCK) | SM_TO(CREATE_RECORD) | UNDO },
    [CREATE_CLOCK] = { "clock", SM_TO(CREATE_CLOCK) | SM_TO(CREATE_RECORD) | UNDO },
    [CREATE_RECORD] = { "record", SM_TO(CREATE_DONE) | UNDO },
    [CREATE_UNDO_VMM] = { "undo_vmm", SM_TO(CREATE_UNDO_RECORD) },
    [CREATE_UNDO_RECORD] = { "undo_record", SM_TO(CREATE_DONE) },
    [CREATE_DONE] = { "done", UNDO },
};

struct create {
    struct sm sm;
    struct list node; /* of host->creating */
    struct turn turn; /* of host->turns */
    struct sandbox_host *host;
    struct sandbox_own *own;
    struct source *source;
    struct deferred step;
    struct guest_call *call;
    struct kept_check kept;
    struct err err;
    bool recorded;
    bool announced; /* the event log has it */
    bool has_spare;
    unsigned timeout_s, clock_tries;
    char template_ref[TEMPLATE_REF_MAX + 1];
    struct store_create_key create_key; /* no key: none */
    struct sandbox_timings timings;
    enum sandbox_operation kind;
    int64_t began_ns, phase_began;
    sandbox_created_cb done;
    void *user;
};

static void run(struct create *op);

static void on_step(struct deferred *d)
{
    run(container_of(d, struct create, step));
}

/* Go on to `state` from the loop. */
static void go(struct create *op, enum create_state state)
{
    sm_move(&op->sm, state);
    defer(op->host->defer, &op->step, on_step);
}

static void charge(struct create *op, enum sandbox_phase phase)
{
    int64_t now = clock_mono_ns();
    op->timings.us[phase] += (uint32_t)((now - op->phase_began) / 1000);
    op->phase_began = now;
}

/* Once there is a template the request was right: what goes wrong from then on is no mistake of the
 * client's, whatever it was called where it happened. */
static void blame_host(struct err *err)
{
    blame_host_for_lack(err);
    if (err->code != ERR_OK && err->code != ERR_UNAVAILABLE && err->code != ERR_DEADLINE)
        err->code = ERR_INTERNAL;
}

/* The step of the current state has ended, well or not. */
static void step_done(struct create *op, enum create_state next, const struct err *err)
{
    unsigned state = sm_state(&op->sm);
    bool found = state > CREATE_TEMPLATE || (state == CREATE_TEMPLATE && !err);
    if (err && err->code && !op->err.code)
        op->err = *err;
    if (found)
        blame_host(&op->err);
    go(op, op->err.code ? CREATE_UNDO_VMM : next);
}

static void out_of_memory(struct create *op)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED, "out of memory");
    step_done(op, CREATE_UNDO_VMM, &err);
}

static void on_source(void *user, struct source *source, const struct err *err)
{
    struct create *op = user;
    op->source = source;
    step_done(op, CREATE_TURN, err);
}

static void on_admitted(struct kept_check *k, const struct err *err)
{
    step_done(container_of(k, struct create, kept), CREATE_TEMPLATE, err);
}

static void on_template(void *user, const struct store_build *build, const struct err *err)
{
    struct create *op = user;
    if (build && !op->err.code) {
        struct sandbox *sb = &op->own->sb;
        snprintf(sb->alias, sizeof(sb->alias), "%s", build->alias);
        snprintf(sb->template_id, sizeof(sb->template_id), "%s", build->template_id);
        sm_move(&op->sm, CREATE_SOURCE);
        source_open(op->host, build, on_source, op);
        return;
    }
    step_done(op, CREATE_SOURCE, err);
}

/* Whose it is and what was asked of it. */
static void copy_settings(struct sandbox_own *to, const struct sandbox_own *from)
{
    struct sandbox *sb = &to->sb;
    memcpy(sb->team_id, from->sb.team_id, sizeof(sb->team_id));
    memcpy(sb->template_id, from->sb.template_id, sizeof(sb->template_id));
    memcpy(sb->alias, from->sb.alias, sizeof(sb->alias));
    sb->metadata = json_deep_copy(from->sb.metadata);
    sb->config = json_deep_copy(from->sb.config);
    json_decref(to->envs);
    to->envs = json_deep_copy(from->envs);
    sb->secure = from->sb.secure;
    sb->auto_pause = from->sb.auto_pause;
    sb->auto_pause_memory = from->sb.auto_pause_memory;
    sb->auto_resume = from->sb.auto_resume;
    sandbox_make_tokens(sb, from->sb.traffic_token[0] == '\0');
}

/* A spare's VM, with everything that already has its name. */
static void take_spare(struct create *op, struct sandbox_own *spare)
{
    struct sandbox_own *mine = op->own;
    copy_settings(spare, mine);
    spare->sb.create_timeout_s = mine->sb.create_timeout_s;
    spare->create = op;
    op->own = spare;
    mine->create = NULL;
    sandbox_discard(mine);
}

/* Its VM is there, restored or booted. */
static void on_vm(void *user, const struct err *err)
{
    struct create *op = user;
    op->phase_began = clock_mono_ns();
    step_done(op, CREATE_CONFIGURE, err);
}

/* A create that is refused before it is begun is no event. */
static void announce(struct create *op)
{
    op->announced = true;
    sandbox_event(&op->own->sb, SANDBOX_EVENT_CREATED, NULL, NULL);
}

/* How large it is is known from here on. false: the host has no room for that. */
static bool take_shape(struct create *op)
{
    struct err err;
    sandbox_take_shape(op->own, op->source);
    if (sandbox_host_admit_memory(op->host, &err) < 0) {
        step_done(op, CREATE_UNDO_VMM, &err);
        return false;
    }
    announce(op);
    return true;
}

static void claim_spare(struct create *op)
{
    bool hot;
    struct sandbox_own *spare = pool_claim(op->host, op->source, &hot);
    if (!spare)
        return;
    op->kind = hot ? OPERATION_CREATE_HOT : OPERATION_CREATE_WAITING;
    op->has_spare = true;
    take_spare(op, spare);
}

static void have_turn(struct create *op)
{
    bool restored = op->source->snapshot_dir[0];
    if (restored && !op->has_spare)
        claim_spare(op);
    charge(op, SANDBOX_PHASE_QUEUE);
    step_done(op, restored ? CREATE_RESTORE : CREATE_BOOT, NULL);
}

static void on_turn(struct turn *t)
{
    have_turn(container_of(t, struct create, turn));
}

static void wait_turn(struct create *op)
{
    if (op->source->snapshot_dir[0])
        claim_spare(op);
    bool hot = op->has_spare && op->kind == OPERATION_CREATE_HOT;
    if (hot || turn_take(&op->host->turns, &op->turn, on_turn))
        have_turn(op);
}

static void start_restore(struct create *op)
{
    if (!take_shape(op))
        return;
    restore_start(op->own, op->source, RESTORE_RUNNING, &op->timings, on_vm, op);
}

static void start_boot(struct create *op)
{
    op->kind = OPERATION_CREATE_BOOT;
    if (take_shape(op))
        cold_boot_start(op->own, op->source, &op->timings, on_vm, op);
}

static void on_configured(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct create *op = user;
    op->call = NULL;
    if (!err)
        guest_link_set_secret(op->own->sb.link, op->own->link_secret);
    charge(op, SANDBOX_PHASE_INIT);
    step_done(op, err || guest_configured_in_time(op->own, msg) ? CREATE_RECORD : CREATE_CLOCK,
              err);
}

static void on_clock_set(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct create *op = user;
    op->call = NULL;
    charge(op, SANDBOX_PHASE_INIT);
    bool enough = err || guest_refreshed_in_time(op->own, msg) || ++op->clock_tries == CLOCK_TRIES;
    step_done(op, enough ? CREATE_RECORD : CREATE_CLOCK, err);
}

static void start_clock(struct create *op)
{
    op->call = guest_refresh(op->own, 0, on_clock_set, op);
    if (!op->call)
        out_of_memory(op);
}

static void start_configure(struct create *op)
{
    /* A hot spare's guest has run since, and a booted one was in no snapshot. */
    bool first = op->kind != OPERATION_CREATE_HOT && op->kind != OPERATION_CREATE_BOOT;
    uint64_t stopped_ns = first ? op->source->manifest.clock_stopped_ns : 0;
    op->call = guest_configure(op->own, stopped_ns, on_configured, op);
    if (!op->call)
        out_of_memory(op);
}

static void on_record(void *user, const struct err *err)
{
    struct create *op = user;
    op->recorded = !err;
    op->own->create_key = NULL;
    charge(op, SANDBOX_PHASE_SAVE);
    step_done(op, CREATE_DONE, err);
}

static void start_record(struct create *op)
{
    struct sandbox *sb = &op->own->sb;
    sb->started_ns = op->own->run_began_ns = clock_wall_ns();
    sb->end_ns = sb->started_ns + (int64_t)op->timeout_s * 1000000000;
    op->own->create_key = op->create_key.key[0] ? &op->create_key : NULL;
    sandbox_save(op->own, "running", on_record, op);
}

static void on_vmm_undone(void *user)
{
    struct create *op = user;
    op->own->sb.vmm = NULL;
    go(op, CREATE_UNDO_RECORD);
}

static void undo_vmm(struct create *op)
{
    struct sandbox *sb = &op->own->sb;
    if (op->call)
        guest_link_cancel(TAKE(op->call));
    if (sb->link)
        guest_link_close(TAKE(sb->link));
    if (sb->vmm) {
        vmm_destroy(sb->vmm, on_vmm_undone, op);
        return;
    }
    file_remove_tree(op->own->run_dir, NULL);
    go(op, CREATE_UNDO_RECORD);
}

static void on_record_undone(void *user, const struct err *err)
{
    struct create *op = user;
    if (err)
        log_error("a create that failed is still written down", LOG_STR("reason", err->msg));
    sandbox_collect(op->host);
    go(op, CREATE_DONE);
}

static void undo_record(struct create *op)
{
    if (!op->recorded) {
        sandbox_drop_layer(op->own);
        go(op, CREATE_DONE);
        return;
    }
    struct store_death death = { .sandbox_id = op->own->sb.id,
                                 .team_id = op->own->sb.team_id,
                                 .when_ns = clock_wall_ns(),
                                 .reason = DEATH_OF_CREATE,
                                 .detail = op->err.msg };
    store_sandbox_end(op->host->store, &death, on_record_undone, op);
}

static void finish(struct create *op)
{
    struct sandbox_host *h = op->host;
    struct sandbox *sb = &op->own->sb;
    list_remove(&op->node);
    turn_end(&h->turns, &op->turn);
    defer_cancel(&op->step);
    op->own->create = NULL;
    metrics_operation(&h->metrics, op->kind, &op->timings, op->began_ns, &op->err);
    if (op->err.code) {
        log_warn("sandbox was not created", LOG_STR("sandbox_id", sb->id),
                 LOG_STR("reason", op->err.msg));
        sm_move(&sb->sm, SANDBOX_ENDED);
        if (op->announced)
            sandbox_event(sb, SANDBOX_EVENT_ENDED, DEATH_OF_CREATE, op->err.msg);
        op->done(op->user, NULL, &op->timings, &op->err);
        sandbox_unref(sb);
    } else {
        sm_move(&sb->sm, SANDBOX_RUNNING);
        sandbox_runs_on(sb);
        sandbox_event(sb, SANDBOX_EVENT_RUNNING, NULL, NULL);
        log_info("sandbox created", LOG_STR("sandbox_id", sb->id),
                 LOG_STR("template", sb->template_id));
        op->done(op->user, sb, &op->timings, NULL);
        if (op->template_ref[0])
            pool_used(h, op->source);
        else
            pool_used_by(op->own);
    }
    source_unref(op->source);
    free(op);
    if (h->collect_wanted)
        sandbox_collect(h);
    sandbox_host_check_stop(h);
}

static const char *const fault_names[CREATE_NR] = {
    [CREATE_ADMIT] = "create.admit",     [CREATE_TEMPLATE] = "create.template",
    [CREATE_RESTORE] = "create.restore", [CREATE_CONFIGURE] = "create.configure",
    [CREATE_CLOCK] = "create.clock",     [CREATE_RECORD] = "create.record",
};

/* Start the current state's one asynchronous step. */
static void run(struct create *op)
{
    enum create_state state = (enum create_state)sm_state(&op->sm);
    if (fault_names[state] && !op->err.code && FAULT_POINT(fault_names[state]))
        err_fill(&op->err, ERR_INTERNAL, "fault injected at %s", fault_names[state]);
    /* The VM may also end, or the daemon be stopped, just before DONE. */
    bool made = state == CREATE_DONE && op->own->sb.vmm;
    if ((fault_names[state] || made) && op->err.code) {
        go(op, CREATE_UNDO_VMM);
        return;
    }
    switch (state) {
    case CREATE_ADMIT:
        /* A fork asked for all its children. */
        if (op->source || kept_check(op->host, op->own->sb.team_id, &op->kept, on_admitted))
            step_done(op, CREATE_TEMPLATE, NULL);
        break;
    case CREATE_TEMPLATE:
        if (op->source)
            step_done(op, CREATE_SOURCE, NULL);
        else
            store_template_find(op->host->store, op->template_ref, op->own->sb.team_id, on_template,
                                op);
        break;
    case CREATE_SOURCE:
        step_done(op, CREATE_TURN, NULL);
        break;
    case CREATE_TURN:
        wait_turn(op);
        break;
    case CREATE_RESTORE:
        start_restore(op);
        break;
    case CREATE_BOOT:
        start_boot(op);
        break;
    case CREATE_CONFIGURE:
        start_configure(op);
        break;
    case CREATE_CLOCK:
        start_clock(op);
        break;
    case CREATE_RECORD:
        start_record(op);
        break;
    case CREATE_UNDO_VMM:
        undo_vmm(op);
        break;
    case CREATE_UNDO_RECORD:
        undo_record(op);
        break;
    case CREATE_DONE:
        finish(op);
        break;
    case CREATE_NR:
        break;
    }
}

/* Stop waiting for the guest. */
static void interrupt(struct create *op)
{
    if (op->own->restore)
        restore_cancel(op->own, &op->err);
    cold_boot_cancel(op->own, &op->err);
    if (op->call) {
        guest_link_cancel(TAKE(op->call));
        go(op, CREATE_UNDO_VMM);
    }
    if (turn_waits(&op->turn)) {
        turn_end(&op->host->turns, &op->turn);
        go(op, CREATE_UNDO_VMM);
    }
}

/* The VM of a create that is under way has ended by itself. */
void create_vm_ended(struct create *op, const char *detail)
{
    if (!op->err.code)
        err_fill(&op->err, ERR_INTERNAL, "the VM ended while it was started: %s", detail);
    interrupt(op);
}

void create_cancel_all(struct sandbox_host *h)
{
    list_for_each (node, &h->creating) {
        struct create *op = container_of(node, struct create, node);
        if (!op->err.code)
            err_fill(&op->err, ERR_UNAVAILABLE, "the daemon is stopping");
        interrupt(op);
    }
}

size_t create_count(const struct sandbox_host *h, const char *team_id)
{
    size_t n = 0;
    list_for_each (node, &h->creating) {
        const struct create *op = container_of(node, struct create, node);
        n += !team_id || strcmp(op->own->sb.team_id, team_id) == 0;
    }
    return n;
}

static struct create *create_new(struct sandbox_host *h, unsigned timeout_s,
                                 sandbox_created_cb done, void *user)
{
    char id[ID_SANDBOX_SIZE];
    id_sandbox(id);
    struct create *op = calloc(1, sizeof(*op));
    struct sandbox_own *own = op ? sandbox_alloc(h, id) : NULL;
    if (!own)
        abort(); /* a few hundred bytes; there is nothing to answer with */
    own->create = op;
    own->sb.create_timeout_s = timeout_s;
    op->host = h;
    op->own = own;
    op->timeout_s = timeout_s;
    op->done = done;
    op->user = user;
    op->began_ns = op->phase_began = clock_mono_ns();
    return op;
}

static void create_begin(struct create *op)
{
    struct sandbox_host *h = op->host;
    list_push_back(&h->creating, &op->node);
    sm_init(&op->sm, "create", op->own->sb.id, rules, CREATE_ADMIT);
    if (h->draining)
        err_fill(&op->err, ERR_UNAVAILABLE, "this node is draining: it takes no new sandboxes");
    else if (sandbox_host_admit(h, op->own->sb.team_id, &op->err) == 0 &&
             (op->own->slot = slot_take(h, -1)) < 0)
        err_fill(&op->err, ERR_EXHAUSTED, "no user id is free for another VM");
    defer(h->defer, &op->step, on_step);
}

void sandbox_create(struct sandbox_host *h, const struct sandbox_spec *spec,
                    sandbox_created_cb done, void *user)
{
    struct create *op = create_new(h, spec->timeout_s, done, user);
    struct sandbox *sb = &op->own->sb;
    snprintf(sb->team_id, sizeof(sb->team_id), "%s", spec->team_id);
    sb->metadata = spec->metadata ? json_incref(spec->metadata) : json_object();
    sb->config = spec->config ? json_incref(spec->config) : json_object();
    json_decref(op->own->envs);
    op->own->envs = spec->envs ? json_incref(spec->envs) : json_object();
    sb->secure = spec->secure;
    sb->auto_pause = spec->auto_pause;
    sb->auto_pause_memory = spec->auto_pause_memory;
    sb->auto_resume = spec->auto_resume;
    sandbox_write_lifecycle(sb);
    sandbox_make_tokens(sb, spec->allow_public_traffic);
    snprintf(op->template_ref, sizeof(op->template_ref), "%s", spec->template_ref);
    if (spec->create_key)
        op->create_key = *spec->create_key;
    create_begin(op);
}

void create_from_source(struct sandbox_host *h, const struct sandbox_own *like,
                        struct source *source, unsigned timeout_s, sandbox_created_cb done,
                        void *user)
{
    struct create *op = create_new(h, timeout_s, done, user);
    copy_settings(op->own, like);
    op->source = source_ref(source);
    op->kind = OPERATION_CREATE_FORK;
    create_begin(op);
}
