/*
 * Create a sandbox:
 *
 *   TEMPLATE -> JOURNAL -> BOOT -> HELLO -> CONFIGURE -> RECORD -> DONE
 *
 * TEMPLATE  look the template's newest build up
 * JOURNAL   write the sandbox down as "creating", so that a daemon that dies from here on finds
 *           what it has to sweep
 * BOOT      the VMM runs and the guest's kernel is booting
 * HELLO     envd answered on the guest link
 * CONFIGURE the guest has its identity, its token and a link secret of its own
 * RECORD    written down as "running"
 *
 * A failure, and be it between RECORD and DONE, goes to UNDO, which takes back in reverse what was
 * done, then to DONE.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/image/image.h"
#include "orchestrator/link/machine_id.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

/* From the start of the VMM to envd's answer; a guest under emulation on a busy host is slow. */
#define BOOT_DEADLINE_MS      120000
#define CONFIGURE_DEADLINE_MS 10000
#define ENTROPY_SIZE          64

enum create_state {
    CREATE_TEMPLATE,
    CREATE_JOURNAL,
    CREATE_BOOT,
    CREATE_HELLO,
    CREATE_CONFIGURE,
    CREATE_RECORD,
    CREATE_UNDO_VMM,
    CREATE_UNDO_JOURNAL,
    CREATE_DONE,
    CREATE_NR
};

#define UNDO SM_TO(CREATE_UNDO_VMM)
static const struct sm_rule rules[CREATE_NR] = {
    [CREATE_TEMPLATE] = { "template", SM_TO(CREATE_JOURNAL) | UNDO },
    [CREATE_JOURNAL] = { "journal", SM_TO(CREATE_BOOT) | UNDO },
    [CREATE_BOOT] = { "boot", SM_TO(CREATE_HELLO) | UNDO },
    [CREATE_HELLO] = { "hello", SM_TO(CREATE_CONFIGURE) | UNDO },
    [CREATE_CONFIGURE] = { "configure", SM_TO(CREATE_RECORD) | UNDO },
    [CREATE_RECORD] = { "record", SM_TO(CREATE_DONE) | UNDO },
    [CREATE_UNDO_VMM] = { "undo_vmm", SM_TO(CREATE_UNDO_JOURNAL) },
    [CREATE_UNDO_JOURNAL] = { "undo_journal", SM_TO(CREATE_DONE) },
    [CREATE_DONE] = { "done", UNDO },
};

struct create {
    struct sm sm;
    struct list node; /* of host->creating */
    struct sandbox_host *host;
    struct sandbox_own *own;
    struct deferred step;
    struct guest_call *call;
    struct err err;
    bool waiting; /* a callback of the current state is due */
    bool journalled;
    unsigned timeout_s;
    char template_ref[TEMPLATE_REF_MAX + 1];
    struct vmm_template boot;
    char rootfs[PATH_MAX];
    json_t *envs;
    struct sandbox_timings timings;
    sandbox_created_cb done;
    void *user;
};

static void run(struct create *op);

static void on_step(struct deferred *d)
{
    struct create *op = container_of(d, struct create, step);
    run(op);
}

/* Go on to `state` from the loop. */
static void go(struct create *op, enum create_state state)
{
    op->waiting = false;
    sm_move(&op->sm, state);
    defer(op->host->defer, &op->step, on_step);
}

/* Once there is a template the request was right: what goes wrong from then on is no mistake of the
 * client's, whatever it was called where it happened. */
static void blame_host(struct err *err)
{
    if (err->code != ERR_OK && err->code != ERR_EXHAUSTED && err->code != ERR_UNAVAILABLE &&
        err->code != ERR_DEADLINE)
        err->code = ERR_INTERNAL;
}

/* The step of the current state has ended, well or not. */
static void step_done(struct create *op, enum create_state next, const struct err *err)
{
    bool found = sm_state(&op->sm) != CREATE_TEMPLATE || !err;
    if (err && err->code && !op->err.code)
        op->err = *err;
    if (found)
        blame_host(&op->err);
    go(op, op->err.code ? CREATE_UNDO_VMM : next);
}

static void on_template(void *user, const struct store_build *build, const struct err *err)
{
    struct create *op = user;
    struct sandbox *sb = &op->own->sb;
    struct image_manifest manifest;
    if (build) {
        snprintf(sb->template_id, sizeof(sb->template_id), "%s", build->template_id);
        snprintf(sb->alias, sizeof(sb->alias), "%s", build->alias);
        snprintf(sb->envd_version, sizeof(sb->envd_version), "%s", build->envd_version);
        snprintf(op->own->build_id, sizeof(op->own->build_id), "%s", build->id);
        sb->vcpus = build->vcpus ? build->vcpus : sb->vcpus;
        sb->memory_mb = build->memory_mb ? build->memory_mb : sb->memory_mb;
        sb->disk_mb = build->disk_mb ? build->disk_mb : sb->disk_mb;
        if (image_manifest_load(build->dir, &manifest, &op->err) == 0)
            image_boot_files(build->dir, &manifest, &op->boot, op->rootfs);
    }
    step_done(op, CREATE_JOURNAL, err);
}

static void on_journal(void *user, const struct err *err)
{
    struct create *op = user;
    op->journalled = true;
    sandbox_event(&op->own->sb, SANDBOX_EVENT_CREATED, NULL, NULL);
    step_done(op, CREATE_BOOT, err);
}

static void on_record(void *user, const struct err *err)
{
    step_done(user, CREATE_DONE, err);
}

static void on_boot(struct vmm *v, const struct err *err)
{
    struct sandbox *sb = vmm_user(v);
    struct create *op = own_of(sb)->create;
    if (err)
        sb->vmm = NULL;
    step_done(op, CREATE_HELLO, err);
}

static void on_hello(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct create *op = user;
    op->call = NULL;
    if (!err) {
        const Sandpit__Guest__V1__HelloResponse *r = (const void *)msg;
        if (r->protocol != GUEST_PROTOCOL)
            err_fill(&op->err, ERR_PRECONDITION,
                     "the template's envd speaks guest protocol %u, this daemon %d", r->protocol,
                     GUEST_PROTOCOL);
    }
    step_done(op, CREATE_CONFIGURE, err);
}

static void on_configured(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct create *op = user;
    (void)msg;
    op->call = NULL;
    if (!err)
        guest_link_set_secret(op->own->sb.link, op->own->link_secret);
    step_done(op, CREATE_RECORD, err);
}

static void start_boot(struct create *op)
{
    struct sandbox_own *own = op->own;
    struct vmm_config config;
    if (file_make_dirs(own->run_dir, 0700, &op->err) < 0) {
        step_done(op, CREATE_UNDO_VMM, NULL);
        return;
    }
    sandbox_fill_config(own, &config);
    config.template = op->boot;
    char top[PATH_MAX + 16];
    snprintf(top, sizeof(top), "%s/disk.qcow2", own->run_dir);
    config.disk = (struct vmm_disk){ .rootfs = op->rootfs, .top = top };
    own->sb.vmm = vmm_boot(op->host->driver, &config, &sandbox_vmm_events, &own->sb, on_boot);
    if (!own->sb.vmm) {
        err_fill(&op->err, ERR_INTERNAL, "out of memory starting the VM");
        step_done(op, CREATE_UNDO_VMM, NULL);
    }
}

static void start_hello(struct create *op)
{
    struct sandbox *sb = &op->own->sb;
    Sandpit__Guest__V1__HelloRequest hello = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    hello.protocol = GUEST_PROTOCOL;
    sb->link = guest_link_new(op->host->loop, op->host->defer, vmm_link_address(sb->vmm),
                              LINK_SECRET_INITIAL, &sandbox_link_events, sb);
    if (sb->link)
        op->call = guest_link_call(sb->link, "/sandpit.guest.v1.Guest/Hello", &hello.base,
                                   &sandpit__guest__v1__hello_response__descriptor,
                                   BOOT_DEADLINE_MS, on_hello, op);
    if (!op->call) {
        err_fill(&op->err, ERR_INTERNAL, "out of memory opening the guest link");
        step_done(op, CREATE_UNDO_VMM, NULL);
    }
}

/* The object's members as protobuf map entries, in `arena`; the texts are borrowed. */
static size_t map_entries(json_t *envs, struct arena *arena,
                          Sandpit__Guest__V1__ConfigureRequest__EnvsEntry ***out)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    *out = arena_alloc(arena, json_object_size(envs) * sizeof(**out) + 1);
    json_object_foreach (envs, name, value) {
        Sandpit__Guest__V1__ConfigureRequest__EnvsEntry *e = arena_alloc(arena, sizeof(*e));
        if (!*out || !e)
            return 0;
        sandpit__guest__v1__configure_request__envs_entry__init(e);
        e->key = (char *)(uintptr_t)name;
        e->value = (char *)(uintptr_t)json_string_value(value);
        (*out)[n++] = e;
    }
    return n;
}

static void start_configure(struct create *op)
{
    struct sandbox *sb = &op->own->sb;
    struct arena arena = { 0 };
    uint8_t entropy[ENTROPY_SIZE];
    if (getrandom(entropy, sizeof(entropy), 0) != (ssize_t)sizeof(entropy))
        memset(entropy, 0, sizeof(entropy));

    Sandpit__Guest__V1__ConfigureRequest r = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    char default_user[] = "user", machine_id[MACHINE_ID_SIZE];
    r.sandbox_id = sb->id;
    r.template_id = sb->template_id;
    r.hostname = sb->id;
    machine_id_of(sb->id, machine_id);
    r.machine_id = machine_id;
    r.link_secret = (ProtobufCBinaryData){ LINK_SECRET_SIZE, op->own->link_secret };
    r.access_token = sb->envd_token;
    r.n_envs = map_entries(op->envs, &arena, &r.envs);
    r.default_user = default_user;
    r.wall_clock_ns = clock_wall_ns();
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    op->call = guest_link_call(sb->link, "/sandpit.guest.v1.Guest/Configure", &r.base,
                               &sandpit__guest__v1__configure_response__descriptor,
                               CONFIGURE_DEADLINE_MS, on_configured, op);
    arena_deinit(&arena);
    if (!op->call) {
        err_fill(&op->err, ERR_INTERNAL, "out of memory calling the guest");
        step_done(op, CREATE_UNDO_VMM, NULL);
    }
}

static void start_record(struct create *op)
{
    struct sandbox *sb = &op->own->sb;
    sb->started_ns = clock_wall_ns();
    sb->end_ns = sb->started_ns + (int64_t)op->timeout_s * 1000000000;
    sandbox_save(op->own, "running", on_record, op);
}

static void on_vmm_undone(void *user)
{
    struct create *op = user;
    op->own->sb.vmm = NULL;
    go(op, CREATE_UNDO_JOURNAL);
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
    go(op, CREATE_UNDO_JOURNAL);
}

static void on_journal_undone(void *user, const struct err *err)
{
    if (err)
        log_error("a create that failed is still written down", LOG_STR("reason", err->msg));
    go(user, CREATE_DONE);
}

static void undo_journal(struct create *op)
{
    if (!op->journalled) {
        go(op, CREATE_DONE);
        return;
    }
    struct store_death death = { .sandbox_id = op->own->sb.id,
                                 .team_id = op->own->sb.team_id,
                                 .when_ns = clock_wall_ns(),
                                 .reason = "create_failed",
                                 .detail = op->err.msg };
    store_sandbox_end(op->host->store, &death, on_journal_undone, op);
}

static void finish(struct create *op)
{
    struct sandbox_host *h = op->host;
    struct sandbox *sb = &op->own->sb;
    list_remove(&op->node);
    defer_cancel(&op->step);
    if (op->err.code) {
        log_warn("sandbox was not created", LOG_STR("sandbox_id", sb->id),
                 LOG_STR("reason", op->err.msg));
        op->own->create = NULL;
        sm_move(&sb->sm, SANDBOX_ENDED);
        if (op->journalled)
            sandbox_event(sb, SANDBOX_EVENT_ENDED, "create_failed", op->err.msg);
        op->done(op->user, NULL, &op->timings, &op->err);
        sandbox_unref(sb);
    } else {
        op->own->create = NULL;
        sm_move(&sb->sm, SANDBOX_RUNNING);
        sandbox_running(sb);
        sandbox_event(sb, SANDBOX_EVENT_RUNNING, NULL, NULL);
        log_info("sandbox created", LOG_STR("sandbox_id", sb->id),
                 LOG_STR("template", sb->template_id));
        op->done(op->user, sb, &op->timings, NULL);
    }
    json_decref(op->envs);
    free(op);
    sandbox_host_check_stop(h);
}

static const char *const fault_names[CREATE_NR] = {
    [CREATE_TEMPLATE] = "create.template",   [CREATE_JOURNAL] = "create.journal",
    [CREATE_BOOT] = "create.boot",           [CREATE_HELLO] = "create.hello",
    [CREATE_CONFIGURE] = "create.configure", [CREATE_RECORD] = "create.record",
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
    op->waiting = true;
    switch (state) {
    case CREATE_TEMPLATE:
        store_template_find(op->host->store, op->template_ref, op->own->sb.team_id, on_template,
                            op);
        break;
    case CREATE_JOURNAL:
        sandbox_save(op->own, "creating", on_journal, op);
        break;
    case CREATE_BOOT:
        start_boot(op);
        break;
    case CREATE_HELLO:
        start_hello(op);
        break;
    case CREATE_CONFIGURE:
        start_configure(op);
        break;
    case CREATE_RECORD:
        start_record(op);
        break;
    case CREATE_UNDO_VMM:
        undo_vmm(op);
        break;
    case CREATE_UNDO_JOURNAL:
        undo_journal(op);
        break;
    case CREATE_DONE:
        finish(op);
        break;
    case CREATE_NR:
        break;
    }
}

/* The VM of a create that is under way has ended by itself. */
void create_vm_ended(struct create *op, const char *detail)
{
    if (!op->err.code)
        err_fill(&op->err, ERR_INTERNAL, "the VM ended while it was booting: %s", detail);
    if (op->call) {
        guest_link_cancel(TAKE(op->call));
        go(op, CREATE_UNDO_VMM);
    }
}

void create_cancel_all(struct sandbox_host *h)
{
    list_for_each (node, &h->creating) {
        struct create *op = container_of(node, struct create, node);
        if (!op->err.code)
            err_fill(&op->err, ERR_UNAVAILABLE, "the daemon is stopping");
        if (op->call) {
            guest_link_cancel(TAKE(op->call));
            go(op, CREATE_UNDO_VMM);
        }
    }
}

static struct create *create_new(struct sandbox_host *h, const struct sandbox_spec *spec,
                                 const char *id)
{
    struct create *op = calloc(1, sizeof(*op));
    struct sandbox_own *own = op ? sandbox_alloc(h, id) : NULL;
    if (!own) {
        free(op);
        return NULL;
    }
    struct sandbox *sb = &own->sb;
    snprintf(sb->team_id, sizeof(sb->team_id), "%s", spec->team_id);
    sb->metadata = spec->metadata ? json_incref(spec->metadata) : json_object();
    sb->config = spec->config ? json_incref(spec->config) : json_object();
    sb->secure = spec->secure;
    sandbox_make_tokens(sb, spec->allow_public_traffic);
    id_random_bytes(own->link_secret, sizeof(own->link_secret));
    own->create = op;
    op->host = h;
    op->own = own;
    op->timeout_s = spec->timeout_s;
    op->envs = spec->envs ? json_incref(spec->envs) : json_object();
    snprintf(op->template_ref, sizeof(op->template_ref), "%s", spec->template_ref);
    return op;
}

void sandbox_create(struct sandbox_host *h, const struct sandbox_spec *spec,
                    sandbox_created_cb done, void *user)
{
    char id[ID_SANDBOX_SIZE];
    id_sandbox(id);
    struct create *op = create_new(h, spec, id);
    if (!op)
        abort(); /* a few hundred bytes; there is nothing to answer with */
    op->done = done;
    op->user = user;
    list_push_back(&h->creating, &op->node);
    sm_init(&op->sm, "create", id, rules, CREATE_TEMPLATE);

    unsigned capacity = sandbox_host_capacity(h);
    if (h->stopping)
        err_fill(&op->err, ERR_UNAVAILABLE, "the daemon is stopping");
    else if (h->draining)
        err_fill(&op->err, ERR_UNAVAILABLE, "this node is draining: it takes no new sandboxes");
    else if (h->by_id.count > capacity || (op->own->slot = slot_take(h, -1)) < 0)
        err_fill(&op->err, ERR_EXHAUSTED,
                 "you have reached the maximum number of concurrent E2B sandboxes (%u)", capacity);
    defer(h->defer, &op->step, on_step);
}
