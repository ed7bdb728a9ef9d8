/*
 * One spare is made at a time, when nothing else is being created:
 *
 *   PREPARE -> HELLO -> COMMAND -> REHEARSE -> SYNC -> STOP -> READY    a hot one
 *   PREPARE -> READY                                                    a waiting one
 *
 * A hot one has done once what its sandbox will do first: under emulation code is slow the first
 * time. COMMAND runs a program that does nothing, REHEARSE gives it an identity that is nobody's,
 * SYNC writes its file systems out.
 *
 * A failure goes to UNDO. A spare whose VM ends, or that is dropped, goes there from READY too.
 */
#include "orchestrator/sandbox/pool.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/link/guest_command.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/restore.h"

#include <errno.h>
#include <stdio.h>

/* After a create, and again after a failure, before the next spare is begun. */
#define REFILL_DELAY_MS 20
#define RETRY_DELAY_MS  5000

#define HELLO_DEADLINE_MS 30000
#define SYNC_DEADLINE_MS  30000

/* What the clients' commands are run by, without the files of a login, which are the template's own
 * making; a substitution, since most of those files have one. A template without a shell, or where
 * it does not end in time, goes on without. */
#define COMMAND      "/bin/bash"
#define COMMAND_ARGS "--noprofile", "--norc", "-c", "test \"$(id -u)\" -eq 0"
#define COMMAND_USER "root"

/* Spares are made while so much memory stays for sandboxes that are asked for. */
#define MEMORY_LEFT_MB 1024

enum spare_state {
    SPARE_PREPARE,
    SPARE_HELLO,
    SPARE_COMMAND,
    SPARE_REHEARSE,
    SPARE_SYNC,
    SPARE_STOP,
    SPARE_READY,
    SPARE_UNDO,
    SPARE_NR
};

static const struct sm_rule rules[SPARE_NR] = {
    [SPARE_PREPARE] = { "prepare", SM_TO(SPARE_HELLO) | SM_TO(SPARE_READY) | SM_TO(SPARE_UNDO) },
    [SPARE_HELLO] = { "hello", SM_TO(SPARE_COMMAND) | SM_TO(SPARE_UNDO) },
    [SPARE_COMMAND] = { "command", SM_TO(SPARE_REHEARSE) | SM_TO(SPARE_UNDO) },
    [SPARE_REHEARSE] = { "rehearse", SM_TO(SPARE_SYNC) | SM_TO(SPARE_UNDO) },
    [SPARE_SYNC] = { "sync", SM_TO(SPARE_STOP) | SM_TO(SPARE_UNDO) },
    [SPARE_STOP] = { "stop", SM_TO(SPARE_READY) | SM_TO(SPARE_UNDO) },
    [SPARE_READY] = { "ready", SM_TO(SPARE_UNDO) },
    [SPARE_UNDO] = { "undo", 0 },
};

struct pool_image {
    struct list node; /* of pool->images, the last used first */
    struct source *source;
};

struct spare {
    struct list node; /* of pool->spares */
    struct sm sm;
    struct sandbox_own *own;
    struct source *source;
    struct guest_call *call;
    struct guest_command *command;
    struct sandbox_timings timings;
    struct deferred undo;
    bool hot;
};

struct pool {
    struct sandbox_host *host;
    struct list images, spares;
    uv_timer_t timer;
    uv_timer_t command_timer; /* of the one that is being made */
    int handles;              /* of the timers */
    bool stopping;
    struct spare *making; /* the one not READY yet, or NULL */
};

static void refill_soon(struct pool *p, unsigned ms);

static void on_gone(void *user)
{
    struct spare *s = user;
    struct sandbox_host *h = s->own->sb.host;
    list_remove(&s->node);
    s->own->sb.vmm = NULL;
    s->own->spare = NULL;
    file_remove_tree(s->own->run_dir, NULL);
    sandbox_discard(s->own);
    source_unref(s->source);
    free(s);
    sandbox_host_check_stop(h);
}

static void on_undo(struct deferred *d)
{
    struct spare *s = container_of(d, struct spare, undo);
    struct sandbox *sb = &s->own->sb;
    if (s->call)
        guest_link_cancel(TAKE(s->call));
    if (s->command)
        guest_command_cancel(TAKE(s->command));
    if (sb->link)
        guest_link_close(TAKE(sb->link));
    if (sb->vmm)
        vmm_destroy(sb->vmm, on_gone, s);
    else
        on_gone(s);
}

static void drop(struct spare *s)
{
    struct pool *p = s->own->sb.host->pool;
    if (sm_state(&s->sm) == SPARE_UNDO)
        return;
    sm_move(&s->sm, SPARE_UNDO);
    if (p->making == s)
        p->making = NULL;
    defer(s->own->sb.host->defer, &s->undo, on_undo);
}

static void fail(struct spare *s, const struct err *err)
{
    struct pool *p = s->own->sb.host->pool;
    log_warn("a spare was not made", LOG_STR("reason", err->msg));
    drop(s);
    refill_soon(p, RETRY_DELAY_MS);
}

static void ready(struct spare *s)
{
    struct pool *p = s->own->sb.host->pool;
    sm_move(&s->sm, SPARE_READY);
    p->making = NULL;
    log_debug("spare is ready", LOG_STR("sandbox_id", s->own->sb.id), LOG_INT("hot", s->hot));
    refill_soon(p, REFILL_DELAY_MS);
}

static void on_stopped(void *user, const struct err *err)
{
    struct spare *s = user;
    if (sm_state(&s->sm) != SPARE_STOP)
        return;
    if (err) {
        fail(s, err);
        return;
    }
    guest_link_set_vm_running(s->own->sb.link, false);
    ready(s);
}

static void out_of_memory(struct spare *s)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED, "out of memory");
    fail(s, &err);
}

static void on_synced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct spare *s = user;
    (void)msg;
    s->call = NULL;
    if (sm_state(&s->sm) != SPARE_SYNC)
        return;
    if (err) {
        fail(s, err);
        return;
    }
    sm_move(&s->sm, SPARE_STOP);
    vmm_pause(s->own->sb.vmm, on_stopped, s);
}

static void on_rehearsed(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct spare *s = user;
    (void)msg;
    s->call = NULL;
    if (sm_state(&s->sm) != SPARE_REHEARSE)
        return;
    if (err) {
        fail(s, err);
        return;
    }
    sm_move(&s->sm, SPARE_SYNC);
    s->call = guest_quiesce(s->own, true, SYNC_DEADLINE_MS, on_synced, s);
    if (!s->call)
        out_of_memory(s);
}

static void rehearse(struct spare *s)
{
    sm_move(&s->sm, SPARE_REHEARSE);
    s->call = guest_rehearse(s->own, on_rehearsed, s);
    if (!s->call)
        out_of_memory(s);
}

/* A guest may be whatever its maker likes, and others wait for their spares. */
static void on_command_late(uv_timer_t *timer)
{
    struct spare *s = container_of(timer, struct pool, command_timer)->making;
    if (!s || !s->command)
        return;
    guest_command_cancel(TAKE(s->command));
    rehearse(s);
}

static void on_command(void *user, const uint8_t *output, size_t n, const struct err *err)
{
    struct spare *s = user;
    (void)output;
    (void)n;
    (void)err;
    s->command = NULL;
    uv_timer_stop(&s->own->sb.host->pool->command_timer);
    if (sm_state(&s->sm) == SPARE_COMMAND)
        rehearse(s);
}

static void on_hello(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct spare *s = user;
    struct err wrong;
    s->call = NULL;
    if (sm_state(&s->sm) != SPARE_HELLO)
        return;
    if (!err && guest_check_hello(msg, &wrong) < 0)
        err = &wrong;
    if (err) {
        fail(s, err);
        return;
    }
    static const char *const args[] = { COMMAND_ARGS, NULL };
    sm_move(&s->sm, SPARE_COMMAND);
    s->command = guest_command_run(s->own->sb.link, COMMAND_USER, COMMAND, args, on_command, s);
    if (s->command)
        uv_timer_start(&s->own->sb.host->pool->command_timer, on_command_late,
                       s->own->sb.host->spare_command_ms, 0);
    else
        rehearse(s);
}

static void on_prepared(void *user, const struct err *err)
{
    struct spare *s = user;
    if (sm_state(&s->sm) != SPARE_PREPARE)
        return; /* dropped meanwhile; undo waits for this no longer than for the VMM */
    if (err) {
        fail(s, err);
        return;
    }
    if (!s->hot) {
        ready(s);
        return;
    }
    sm_move(&s->sm, SPARE_HELLO);
    s->call = guest_hello(s->own, HELLO_DEADLINE_MS, on_hello, s);
    if (!s->call)
        out_of_memory(s);
}

static void make(struct pool *p, struct source *source, bool hot)
{
    struct sandbox_host *h = p->host;
    char id[ID_SANDBOX_SIZE];
    id_sandbox(id);
    int slot = slot_take(h, -1);
    struct spare *s = slot >= 0 ? calloc(1, sizeof(*s)) : NULL;
    struct sandbox_own *own = s ? sandbox_alloc(h, id) : NULL;
    if (!own) {
        if (slot >= 0)
            h->slots[slot] = false;
        free(s);
        return;
    }
    own->slot = slot;
    own->spare = s;
    sandbox_take_shape(own, source);
    s->own = own;
    s->source = source_ref(source);
    s->hot = hot;
    sm_init(&s->sm, "spare", id, rules, SPARE_PREPARE);
    list_push_back(&p->spares, &s->node);
    p->making = s;
    restore_start(own, source, hot ? RESTORE_RUNNING : RESTORE_WAITING, &s->timings, on_prepared,
                  s);
}

/* Whether VMs of the two are the same until they have an identity: a fork stands on the build of
 * its parent, but not on the memory and the disk of that. */
static bool same_start(const struct source *a, const struct source *b)
{
    return strcmp(a->snapshot_dir, b->snapshot_dir) == 0;
}

static size_t count(const struct pool *p, const struct source *source, bool hot)
{
    size_t n = 0;
    list_for_each (node, &p->spares) {
        const struct spare *s = container_of(node, struct spare, node);
        n += sm_state(&s->sm) != SPARE_UNDO && s->hot == hot && same_start(s->source, source);
    }
    return n;
}

static void on_timer(uv_timer_t *timer)
{
    struct pool *p = container_of(timer, struct pool, timer);
    const struct config *c = p->host->config;
    struct err err;
    if (p->making || p->stopping)
        return;
    if (!list_empty(&p->host->creating)) {
        refill_soon(p, REFILL_DELAY_MS);
        return;
    }
    if (sandbox_host_admit(p->host, NULL, &err) < 0 || host_memory_available_mb() < MEMORY_LEFT_MB)
        return; /* the next create that ends comes here again */
    list_for_each (node, &p->images) {
        struct source *source = container_of(node, struct pool_image, node)->source;
        bool hot = count(p, source, true) < c->pool_hot;
        if (hot || count(p, source, false) < c->pool_waiting) {
            make(p, source, hot);
            return;
        }
    }
}

static void refill_soon(struct pool *p, unsigned ms)
{
    if (!p->stopping && (p->host->config->pool_hot || p->host->config->pool_waiting))
        uv_timer_start(&p->timer, on_timer, ms, 0);
}

void pool_size(const struct sandbox_host *h, struct pool_size *out)
{
    *out = (struct pool_size){ 0 };
    list_for_each (node, &h->pool->spares) {
        const struct spare *s = container_of(node, struct spare, node);
        if (sm_state(&s->sm) == SPARE_READY)
            (*(s->hot ? &out->hot : &out->waiting))++;
    }
}

struct sandbox_own *pool_claim(struct sandbox_host *h, const struct source *source, bool *hot)
{
    struct spare *best = NULL;
    list_for_each (node, &h->pool->spares) {
        struct spare *s = container_of(node, struct spare, node);
        if (sm_state(&s->sm) == SPARE_READY && same_start(s->source, source) &&
            (!best || s->hot > best->hot))
            best = s;
    }
    if (!best)
        return NULL;
    struct sandbox_own *own = best->own;
    *hot = best->hot;
    own->spare = NULL;
    vmm_set_background(own->sb.vmm, false);
    list_remove(&best->node);
    source_unref(best->source);
    free(best);
    return own;
}

static void forget_image(struct pool_image *image)
{
    list_remove(&image->node);
    source_unref(image->source);
    free(image);
}

/* Spares of images that are not kept any more. */
static void drop_strangers(struct pool *p)
{
    list_for_each (node, &p->spares) {
        struct spare *s = container_of(node, struct spare, node);
        bool wanted = false;
        list_for_each (other, &p->images)
            wanted |= same_start(container_of(other, struct pool_image, node)->source, s->source);
        if (!wanted && sm_state(&s->sm) == SPARE_READY)
            drop(s);
    }
}

static bool same_row(const struct store_build *a, const struct store_build *b)
{
    return strcmp(a->id, b->id) == 0 && a->vcpus == b->vcpus && a->memory_mb == b->memory_mb &&
           a->disk_mb == b->disk_mb;
}

struct source *pool_source(const struct sandbox_host *h, const struct store_build *image)
{
    list_for_each (node, &h->pool->images) {
        struct source *s = container_of(node, struct pool_image, node)->source;
        if (!s->diff && same_row(&s->build, image))
            return s;
    }
    return NULL;
}

void pool_used(struct sandbox_host *h, struct source *source)
{
    struct pool *p = h->pool;
    size_t n = 0;
    if (p->stopping || !source->snapshot_dir[0])
        return;
    list_for_each_safe (node, &p->images) {
        struct pool_image *image = container_of(node, struct pool_image, node);
        bool same = strcmp(image->source->build.template_id, source->build.template_id) == 0;
        if (same || ++n >= POOL_IMAGES)
            forget_image(image);
    }
    struct pool_image *image = calloc(1, sizeof(*image));
    if (image) {
        image->source = source_ref(source);
        list_push_front(&p->images, &image->node);
    }
    drop_strangers(p);
    refill_soon(p, REFILL_DELAY_MS);
}

static void on_default_source(void *user, struct source *source, const struct err *err)
{
    struct sandbox_host *h = user;
    h->busy--;
    if (err)
        log_warn("no spares of the default template are made", LOG_STR("reason", err->msg));
    if (source && !h->stopping)
        pool_used(h, source);
    source_unref(source);
    sandbox_host_check_stop(h);
}

static void on_default_template(void *user, const struct store_build *build, const struct err *err)
{
    struct sandbox_host *h = user;
    if (err || h->stopping) { /* a host without templates is no mistake */
        h->busy--;
        sandbox_host_check_stop(h);
        return;
    }
    source_open(h, build, on_default_source, h);
}

void pool_begin(struct sandbox_host *h)
{
    if (!h->config->pool_hot && !h->config->pool_waiting)
        return;
    h->busy++;
    store_template_find(h->store, SANDBOX_DEFAULT_TEMPLATE, "", on_default_template, h);
}

void pool_vm_ended(struct sandbox_own *own, const char *detail)
{
    struct err err;
    err_fill(&err, ERR_INTERNAL, "its VM ended: %s", detail);
    if (sm_state(&own->spare->sm) == SPARE_PREPARE)
        restore_vm_ended(own, detail);
    else if (sm_state(&own->spare->sm) != SPARE_UNDO)
        fail(own->spare, &err);
}

struct pool *pool_new(struct sandbox_host *h)
{
    struct pool *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->host = h;
    list_init(&p->images);
    list_init(&p->spares);
    uv_timer_init(h->loop, &p->timer);
    uv_timer_init(h->loop, &p->command_timer);
    p->timer.data = p->command_timer.data = p;
    p->handles = 2;
    return p;
}

void pool_stop(struct sandbox_host *h)
{
    struct pool *p = h->pool;
    struct err why;
    err_fill(&why, ERR_UNAVAILABLE, "the daemon is stopping");
    p->stopping = true;
    uv_timer_stop(&p->timer);
    uv_timer_stop(&p->command_timer);
    list_for_each_safe (node, &p->images)
        forget_image(container_of(node, struct pool_image, node));
    list_for_each (node, &p->spares) {
        struct spare *s = container_of(node, struct spare, node);
        if (s->own->restore)
            restore_cancel(s->own, &why); /* its end drops the spare */
        else
            drop(s);
    }
}

bool pool_is_empty(const struct sandbox_host *h)
{
    return list_empty(&h->pool->spares);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct pool *p = handle->data;
    if (--p->handles == 0)
        free(p);
}

void pool_free(struct pool *p)
{
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
    uv_close((uv_handle_t *)&p->command_timer, on_timer_closed);
}
