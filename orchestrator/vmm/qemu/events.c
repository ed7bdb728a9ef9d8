/*
 * A VM that runs: what QEMU tells by itself, and whether it still answers.
 *
 * A VM whose disk cannot grow, since the host's is full, is stopped by QEMU and keeps the writes
 * that failed. Each ping continues it, which tries them again: either they fail once more, and the
 * next ping finds the VM stopped, or the VM goes on.
 */
#include "orchestrator/vmm/qemu/op.h"
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <stdio.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* QEMU is about to exit by itself. */
static void on_shutdown(struct vmm *v, const json_t *data)
{
    const char *reason = text_of(data, "reason");
    if (strcmp(reason, "guest-panic") == 0)
        vm_note_end(v, VMM_END_PANIC, "the guest's kernel panicked");
    else if (strcmp(reason, "guest-reset") == 0)
        vm_note_end(v, VMM_END_SHUTDOWN, "the guest rebooted");
    else if (strcmp(reason, "guest-shutdown") == 0)
        vm_note_end(v, VMM_END_SHUTDOWN, "the guest powered off");
    vm_expect_end(v, QEMU_KILL_MS);
}

void vm_note_disk(struct vmm *v, bool full)
{
    v->disk_retried = false;
    if (v->disk_full == full)
        return;
    v->disk_full = full;
    if (full)
        log_warn("vm stands still, the host's disk is full", LOG_STR("id", v->id));
    else
        log_info("vm can write its disk again", LOG_STR("id", v->id));
    if (v->events->on_disk_full && !v->destroying)
        v->events->on_disk_full(v, full);
}

/* Told for each request that failed: on a full disk QEMU has stopped the guest, other errors it has
 * handed to the guest. */
static void on_block_error(struct vmm *v, const json_t *data)
{
    char detail[256];
    snprintf(detail, sizeof(detail), "the host failed to %s the VM's disk: %.160s",
             strcmp(text_of(data, "operation"), "read") == 0 ? "read" : "write",
             text_of(data, "reason"));
    if (strcmp(text_of(data, "action"), "stop") == 0) {
        vm_note_disk(v, true);
    } else if (!v->disk_warned) {
        v->disk_warned = true;
        log_warn("vm disk error", LOG_STR("id", v->id), LOG_STR("detail", detail));
    }
}

static void on_forgotten(void *user, const json_t *result, const struct err *err)
{
    (void)user;
    (void)result;
    (void)err; /* it is gone already */
}

static void forget_sets(struct vmm *v)
{
    while (v->nold_sets)
        (void)!qmp_execute(&v->qmp, "remove-fd",
                           json_pack("{s:i}", "fdset-id", (int)v->old_sets[--v->nold_sets]),
                           QEMU_COMMAND_MS, on_forgotten, v);
}

void vm_forget_set(struct vmm *v, unsigned set)
{
    if (v->nold_sets < OLD_SETS_MAX)
        v->old_sets[v->nold_sets++] = set;
    if (!v->paused)
        forget_sets(v);
}

/* QEMU told at_ns that the guest had stopped: it did so some time after it was asked to. */
static void note_stop(struct vmm *v, int64_t at_ns)
{
    int64_t took = at_ns - v->asked_ns;
    bool exact = v->asked_ns && took >= 0 && took <= 2 * VMM_MOMENT_NS;
    v->paused = true;
    v->stopped_ns = exact ? v->asked_ns + took / 2 : 0;
    v->asked_ns = 0;
}

/* It is told right before the guest's clock goes on. */
static void note_resume(struct vmm *v, int64_t at_ns)
{
    v->paused = false;
    v->went_on_ns = v->asked_ns && at_ns >= v->asked_ns && at_ns <= clock_wall_ns() ? at_ns : 0;
    v->asked_ns = 0;
}

int64_t vmm_stopped_ns(const struct vmm *v)
{
    return v->stopped_ns;
}

int64_t vmm_went_on_ns(const struct vmm *v)
{
    return v->went_on_ns;
}

void vm_on_event(struct vmm *v, const char *name, const json_t *data, int64_t at_ns)
{
    enum vm_state state = (enum vm_state)sm_state(&v->sm);
    if (strcmp(name, "STOP") == 0)
        note_stop(v, at_ns);
    else if (strcmp(name, "RESUME") == 0)
        note_resume(v, at_ns);
    if (state != VM_RUNNING && state != VM_DYING)
        return;
    if (strcmp(name, "SHUTDOWN") == 0)
        on_shutdown(v, data);
    else if (strcmp(name, "RESET") == 0)
        vm_kill(v, VMM_END_SHUTDOWN, "the guest reset the machine");
    else if (strcmp(name, "GUEST_PANICKED") == 0)
        vm_note_end(v, VMM_END_PANIC, "the guest's kernel panicked");
    else if (strcmp(name, "BLOCK_IO_ERROR") == 0)
        on_block_error(v, data);
    else if (strcmp(name, "RESUME") == 0)
        forget_sets(v);
    list_for_each_safe (node, &v->ops) {
        struct vm_op *op = container_of(node, struct vm_op, node);
        if (op->type->event)
            op->type->event(op, name, data);
    }
}

void vm_kill_unanswering(struct vmm *v)
{
    char detail[128];
    snprintf(detail, sizeof(detail), "QEMU did not answer within %u ms",
             v->driver->ping_deadline_ms);
    vm_kill(v, VMM_END_HUNG, detail);
}

static void on_retried(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    (void)result;
    if (!err)
        v->disk_retried = true;
}

static void retry_writes(struct vmm *v)
{
    vm_note_disk(v, true);
    if (!v->held)
        (void)!qmp_execute(&v->qmp, "cont", NULL, v->driver->ping_deadline_ms, on_retried, v);
}

static void on_pong(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    v->ping_sent = false;
    if (sm_state(&v->sm) != VM_RUNNING)
        return;
    if (err) {
        if (err->code == ERR_DEADLINE)
            vm_kill_unanswering(v);
        return; /* a lost connection is told elsewhere */
    }
    v->paused = !json_is_true(json_object_get(result, "running"));
    const char *status = text_of(result, "status");
    if (strcmp(status, "internal-error") == 0)
        vm_kill(v, VMM_END_EXIT, "QEMU stopped the VM after an internal error");
    else if (strcmp(status, "io-error") == 0)
        retry_writes(v);
    else if (v->disk_retried && !v->paused)
        vm_note_disk(v, false);
}

static void on_ping_time(uv_timer_t *timer)
{
    struct vmm *v = container_of(timer, struct vmm, timer);
    if (v->ping_sent)
        return;
    v->ping_sent =
        qmp_execute(&v->qmp, "query-status", NULL, v->driver->ping_deadline_ms, on_pong, v) == 0;
}

void vm_running(struct vmm *v)
{
    unsigned every = v->driver->ping_interval_ms;
    sm_move(&v->sm, VM_RUNNING);
    v->ran = true;
    uv_timer_start(&v->timer, on_ping_time, every, every);
    void (*done)(struct vmm *, const struct err *) = v->done;
    v->done = NULL;
    done(v, NULL);
}
