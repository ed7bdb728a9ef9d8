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
 * From READY it becomes a sandbox as it is, or its VMM that of another one (TAKEN, takeover.c).
 *
 * A failure goes to UNDO. A spare whose VM ends, or that is dropped, goes there from READY too.
 */
#include "orchestrator/sandbox/spare.h"

#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/sandbox/restore.h"

#include <stdio.h>

#define HELLO_DEADLINE_MS 30000
#define SYNC_DEADLINE_MS  30000

/* What the clients' commands are run by, without the files of a login, which are the template's own
 * making; a substitution, since most of those files have one. A template without a shell, or where
 * it does not end in time, goes on without. */
#define COMMAND      "/bin/bash"
#define COMMAND_ARGS "--noprofile", "--norc", "-c", "test \"$(id -u)\" -eq 0"
#define COMMAND_USER "root"

static const struct sm_rule rules[SPARE_NR] = {
    [SPARE_PREPARE] = { "prepare", SM_TO(SPARE_HELLO) | SM_TO(SPARE_READY) | SM_TO(SPARE_UNDO) },
    [SPARE_HELLO] = { "hello", SM_TO(SPARE_COMMAND) | SM_TO(SPARE_UNDO) },
    [SPARE_COMMAND] = { "command", SM_TO(SPARE_REHEARSE) | SM_TO(SPARE_UNDO) },
    [SPARE_REHEARSE] = { "rehearse", SM_TO(SPARE_SYNC) | SM_TO(SPARE_UNDO) },
    [SPARE_SYNC] = { "sync", SM_TO(SPARE_STOP) | SM_TO(SPARE_UNDO) },
    [SPARE_STOP] = { "stop", SM_TO(SPARE_READY) | SM_TO(SPARE_UNDO) },
    [SPARE_READY] = { "ready", SM_TO(SPARE_TAKEN) | SM_TO(SPARE_UNDO) },
    [SPARE_TAKEN] = { "taken", SM_TO(SPARE_UNDO) },
    [SPARE_UNDO] = { "undo", 0 },
};

static void on_gone(void *user)
{
    struct spare *s = user;
    struct sandbox_host *h = s->own->sb.host;
    if (s->taken)
        s->taken(s->taken_user, false);
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

void spare_drop(struct spare *s)
{
    struct pool *p = s->own->sb.host->pool;
    if (sm_state(&s->sm) == SPARE_UNDO)
        return;
    sm_move(&s->sm, SPARE_UNDO);
    if (p->making == s)
        p->making = NULL;
    defer(s->own->sb.host->defer, &s->undo, on_undo);
}

void spare_fail(struct spare *s, const struct err *err)
{
    struct pool *p = s->own->sb.host->pool;
    bool ready = sm_state(&s->sm) >= SPARE_READY;
    log_warn(ready ? "a spare was lost" : "a spare was not made", LOG_STR("reason", err->msg));
    spare_drop(s);
    pool_refill(p, RETRY_DELAY_MS);
}

static void ready(struct spare *s)
{
    struct pool *p = s->own->sb.host->pool;
    sm_move(&s->sm, SPARE_READY);
    p->making = NULL;
    log_debug("spare is ready", LOG_STR("sandbox_id", s->own->sb.id), LOG_INT("hot", s->hot));
    pool_refill(p, REFILL_DELAY_MS);
}

static void on_stopped(void *user, const struct err *err)
{
    struct spare *s = user;
    if (sm_state(&s->sm) != SPARE_STOP)
        return;
    if (err) {
        spare_fail(s, err);
        return;
    }
    guest_link_set_vm_running(s->own->sb.link, false);
    ready(s);
}

static void out_of_memory(struct spare *s)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED, "out of memory");
    spare_fail(s, &err);
}

static void on_synced(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct spare *s = user;
    (void)msg;
    s->call = NULL;
    if (sm_state(&s->sm) != SPARE_SYNC)
        return;
    if (err) {
        spare_fail(s, err);
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
        spare_fail(s, err);
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
        spare_fail(s, err);
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
        spare_fail(s, err);
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

void spare_make(struct pool *p, struct source *source, bool hot)
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

void spare_vm_ended(struct spare *s, const char *detail)
{
    struct err err;
    err_fill(&err, ERR_INTERNAL, "its VM ended: %s", detail);
    if (sm_state(&s->sm) == SPARE_PREPARE)
        restore_vm_ended(s->own, detail);
    else if (sm_state(&s->sm) != SPARE_UNDO)
        spare_fail(s, &err);
}
