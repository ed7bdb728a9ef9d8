/*
 * The life of a VM. Starts (boot.c, adopt.c) on the left, ends on the right:
 *
 *   PREPARE -> GREET -> SETUP -> RUNNING -> DYING -> ENDED -> CLEAN -> CLOSING
 *                  (adopt: GREET -> RUNNING)
 *
 * A start that fails goes through DYING (if there is a process) and CLEAN to CLOSING, where done is
 * told; vmm_destroy() takes the same way from wherever the VM is. A VM that ends by itself stays in
 * ENDED until vmm_destroy(). vmm_release() goes to CLOSING at once.
 */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/op.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define LOG_TEXT_MAX  160  /* of QEMU's own messages in an error */
#define LOST_GRACE_MS 1000 /* for a process to be gone that closed its control socket */
#define PANIC_WINDOW  8192 /* of the console's tail, searched for the guest's last words */

static const struct sm_rule rules[VM_NR] = {
    [VM_PREPARE] = { "prepare",
                     SM_TO(VM_GREET) | SM_TO(VM_DYING) | SM_TO(VM_CLEAN) | SM_TO(VM_CLOSING) },
    [VM_GREET] = { "greet", SM_TO(VM_SETUP) | SM_TO(VM_RUNNING) | SM_TO(VM_DYING) |
                                SM_TO(VM_CLEAN) | SM_TO(VM_CLOSING) },
    [VM_SETUP] = { "setup", SM_TO(VM_RUNNING) | SM_TO(VM_DYING) | SM_TO(VM_CLEAN) },
    [VM_RUNNING] = { "running", SM_TO(VM_DYING) | SM_TO(VM_ENDED) | SM_TO(VM_CLOSING) },
    [VM_DYING] = { "dying", SM_TO(VM_ENDED) | SM_TO(VM_CLEAN) },
    [VM_ENDED] = { "ended", SM_TO(VM_CLEAN) | SM_TO(VM_CLOSING) },
    [VM_CLEAN] = { "clean", SM_TO(VM_CLOSING) },
    [VM_CLOSING] = { "closing", 0 },
};

int vm_path(const struct vmm *v, const char *name, char *out, size_t n)
{
    return snprintf(out, n, "%s/%s", v->run_dir, name) < (int)n ? 0 : -ENAMETOOLONG;
}

struct vmm *vm_new(struct vmm_driver *d, const struct vmm_config *config,
                   const struct vmm_events *events, void *user,
                   void (*done)(struct vmm *v, const struct err *err))
{
    struct vmm *v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->driver = d;
    v->host = d->host;
    v->cgroups = d->cgroups;
    v->events = events;
    v->user = user;
    v->done = done;
    v->child.pidfd = v->log_fd = v->memory_fd = -1;
    v->config = *config;
    v->config.memory_fd = -1;
    v->config.disk = (struct vmm_disk){ 0 };
    list_init(&v->ops);
    snprintf(v->id, sizeof(v->id), "%s", config->id);
    v->config.id = v->id;
    v->config.run_dir = v->run_dir;
    v->link.opener = LINK_VIRTIO_SERIAL;
    sm_init(&v->sm, "vmm", v->id, rules, VM_PREPARE);
    if (!str_copy(str_of(config->run_dir), v->run_dir, sizeof(v->run_dir)) ||
        vm_path(v, RUN_LINK, v->link.path, sizeof(v->link.path)) < 0)
        err_fill(&v->err, ERR_INVALID, "the path %s is too long for a socket", config->run_dir);
    if (config->disk.nlayers > VMM_LAYERS_MAX)
        err_fill(&v->err, ERR_INVALID, "a disk has at most %d layers, not %zu", VMM_LAYERS_MAX,
                 config->disk.nlayers);
    else if (chain_copy(&v->disk, &config->disk) < 0)
        err_fill(&v->err, ERR_EXHAUSTED, "out of memory");
    uv_timer_init(d->loop, &v->timer);
    return v;
}

void vm_make_plain(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

void vm_log_words(const struct vmm *v, char *out, size_t n)
{
    AUTO_FREE char *text = malloc(QEMU_LOG_SIZE);
    struct str rest = { text, text ? jail_log_read(v->log_fd, text, QEMU_LOG_SIZE) : 0 };
    struct str last = { 0 };
    while (rest.p) {
        struct str line = str_trim(str_split(&rest, '\n'));
        if (line.n && !memmem(line.p, line.n, ": warning: ", 11))
            last = line;
    }
    snprintf(out, n, "%s%.*s", last.n ? ": " : "",
             (int)(last.n < LOG_TEXT_MAX ? last.n : LOG_TEXT_MAX), last.n ? last.p : "");
}

static bool ended_by_itself(const struct vmm *v)
{
    const struct process_exit *how = &v->process.how;
    return how->known && !(how->signaled && how->number == SIGKILL && v->killed);
}

/* The guest's last words, when its kernel says that it panicked. */
static bool find_panic(const struct vmm *v, char *out, size_t n)
{
    static const char words[] = "Kernel panic - not syncing";
    AUTO_FREE char *text = malloc(PANIC_WINDOW);
    size_t len = text ? vmm_console_tail(v, text, PANIC_WINDOW) : 0;
    const char *at = len ? memmem(text, len, words, sizeof(words) - 1) : NULL;
    if (!at)
        return false;
    size_t line = 0, left = len - (size_t)(at - text);
    while (line < left && at[line] != '\r' && at[line] != '\n')
        line++;
    snprintf(out, n, "%.*s", (int)line, at);
    return true;
}

/* How the process ended, with what it said last. */
static void tell_exit(const struct vmm *v, char *out, size_t n)
{
    char how[64], words[LOG_TEXT_MAX + 8];
    process_exit_text(&v->process.how, how, sizeof(how));
    vm_log_words(v, words, sizeof(words));
    snprintf(out, n, "QEMU %s%s%s", how,
             cgroup_ran_out_of_memory(v->cgroups, v->id) ? ", for want of memory" : "", words);
}

/* The process is gone: find out why, unless that was noticed before. */
static void settle_end(struct vmm *v)
{
    if (!v->end_known && v->lost_words[0] && !ended_by_itself(v) && v->killed) {
        v->end = VMM_END_HUNG;
        snprintf(v->detail, sizeof(v->detail), "%s", v->lost_words);
    } else if (!v->end_known) {
        v->end = VMM_END_EXIT;
        tell_exit(v, v->detail, sizeof(v->detail));
    }
    v->end_known = true;
    /* Without its pvpanic driver the guest reboots after a panic; its console tells all the same.
     */
    if (v->end == VMM_END_SHUTDOWN || v->end == VMM_END_PANIC)
        if (find_panic(v, v->detail, sizeof(v->detail)))
            v->end = VMM_END_PANIC;
}

static void on_exit_(struct process *p)
{
    struct vmm *v = container_of(p, struct vmm, process);
    char how[sizeof(v->err.msg)];
    /* Its last words are still in the sockets. */
    if (v->has_qmp)
        qmp_drain(&v->qmp);
    if (v->has_console)
        console_drain(&v->console);
    uv_timer_stop(&v->timer);

    enum vm_state state = (enum vm_state)sm_state(&v->sm);
    if (state == VM_CLEAN || state == VM_CLOSING)
        return;
    bool starting = v->done != NULL;
    if (starting && ended_by_itself(v)) {
        tell_exit(v, how, sizeof(how));
        v->err.code = ERR_OK;
        err_fill(&v->err, ERR_INTERNAL, "%s", how);
    }
    if (v->destroying || starting) {
        vm_clean(v);
        return;
    }
    settle_end(v);
    vm_make_plain(v->detail);
    sm_move(&v->sm, VM_ENDED);
    list_for_each_safe (node, &v->ops) {
        struct vm_op *op = container_of(node, struct vm_op, node);
        if (op->type->event)
            op->type->event(op, NULL, NULL);
    }
    log_info("vm ended", LOG_STR("id", v->id), LOG_STR("end", vmm_end_name(v->end)),
             LOG_STR("detail", v->detail));
    v->events->on_end(v, v->end, v->detail);
}

int vm_watch(struct vmm *v, int pidfd, struct err *err)
{
    int rc = process_watch(&v->process, v->driver->loop, pidfd, on_exit_);
    if (rc < 0) {
        close(pidfd);
        return err_set(err, ERR_INTERNAL, -rc, "cannot watch QEMU's process: %s", uv_strerror(rc));
    }
    v->has_process = true;
    return 0;
}

static void on_qmp_ready(struct qmp *q)
{
    struct vmm *v = container_of(q, struct vmm, qmp);
    if (sm_state(&v->sm) != VM_GREET)
        return;
    if (v->adopted)
        adopt_on_ready(v);
    else
        boot_on_ready(v);
}

static void on_qmp_event(struct qmp *q, const char *name, const json_t *data, int64_t at_ns)
{
    vm_on_event(container_of(q, struct vmm, qmp), name, data, at_ns);
}

/* QEMU is of no use without its control socket. Usually it has ended and its exit tells more. */
static void on_qmp_lost(struct qmp *q, const struct err *err)
{
    struct vmm *v = container_of(q, struct vmm, qmp);
    enum vm_state state = (enum vm_state)sm_state(&v->sm);
    bool starting = state == VM_GREET || state == VM_SETUP;
    if (starting && (v->adopted || err->code == ERR_DEADLINE)) {
        vm_fail(v, err);
    } else if (starting || state == VM_RUNNING) {
        if (starting && !v->err.code)
            v->err = *err;
        snprintf(v->lost_words, sizeof(v->lost_words), "%s", err->msg);
        vm_expect_end(v, LOST_GRACE_MS);
    }
}

static void on_qmp_closed(struct qmp *q)
{
    vm_handle_closed(container_of(q, struct vmm, qmp));
}

static const struct qmp_events qmp_events = {
    .on_ready = on_qmp_ready,
    .on_event = on_qmp_event,
    .on_lost = on_qmp_lost,
    .on_closed = on_qmp_closed,
};

int vm_open_qmp(struct vmm *v, struct err *err)
{
    char path[PATH_MAX];
    vm_path(v, RUN_QMP, path, sizeof(path));
    int rc = qmp_open(&v->qmp, v->driver->loop, path, QEMU_GREETING_MS, &qmp_events, err);
    v->has_qmp = rc == 0;
    return rc;
}

int vm_open_console(struct vmm *v, struct err *err)
{
    char path[PATH_MAX], file[PATH_MAX];
    vm_path(v, RUN_CONSOLE, path, sizeof(path));
    vm_path(v, RUN_LOG, file, sizeof(file));
    int rc = console_open(&v->console, v->driver->loop, path, file, err);
    v->has_console = rc == 0;
    return rc;
}

/* A killed process that does not go away hangs in the kernel; nothing is left to do but to tell. */
static void on_dying_too_long(uv_timer_t *timer)
{
    struct vmm *v = container_of(timer, struct vmm, timer);
    if (v->killed)
        log_error("a killed VMM does not end", LOG_STR("id", v->id), LOG_INT("pid", v->record.pid));
    v->killed = true;
    process_kill(&v->process);
}

void vm_expect_end(struct vmm *v, unsigned grace_ms)
{
    if (sm_state(&v->sm) != VM_DYING)
        sm_move(&v->sm, VM_DYING);
    uv_timer_start(&v->timer, on_dying_too_long, grace_ms, QEMU_KILL_MS);
}

void vm_end_process(struct vmm *v)
{
    v->killed = true;
    process_kill(&v->process);
    vm_expect_end(v, QEMU_KILL_MS);
}

void vm_note_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    if (v->end_known)
        return;
    v->end_known = true;
    v->end = end;
    snprintf(v->detail, sizeof(v->detail), "%s", detail);
}

void vm_kill(struct vmm *v, enum vmm_end end, const char *detail)
{
    if (sm_state(&v->sm) != VM_RUNNING)
        return;
    log_warn("vm is killed", LOG_STR("id", v->id), LOG_STR("end", vmm_end_name(end)),
             LOG_STR("detail", detail));
    vm_note_end(v, end, detail);
    vm_end_process(v);
}

void vm_fail(struct vmm *v, const struct err *err)
{
    enum vm_state state = (enum vm_state)sm_state(&v->sm);
    if (state >= VM_DYING)
        return;
    if (!v->err.code)
        v->err = *err;
    if (v->adopted && !v->destroying)
        vm_close(v);
    else if (v->has_process && !v->process.exited)
        vm_end_process(v);
    else
        vm_clean(v);
}

static void remove_run_dir(uv_work_t *work)
{
    struct vmm *v = container_of(work, struct vmm, work);
    struct err err;
    vm_group_remove(v);
    if (file_remove_tree(v->run_dir, &err) < 0)
        log_error("run directory is left", LOG_STR("id", v->id), LOG_STR("reason", err.msg));
    if (v->made_top && !v->ran && unlink(v->disk.top) < 0 && errno != ENOENT)
        log_error("disk is left", LOG_STR("id", v->id), LOG_STR("reason", strerror(errno)));
}

static void on_removed(uv_work_t *work, int status)
{
    (void)status;
    vm_close(container_of(work, struct vmm, work));
}

void vm_clean(struct vmm *v)
{
    sm_move(&v->sm, VM_CLEAN);
    /* Not the driver's: a VM that was let go while it died may outlive it. */
    if (uv_queue_work(v->timer.loop, &v->work, remove_run_dir, on_removed) < 0) {
        remove_run_dir(&v->work);
        vm_close(v);
    }
}

static void finish(struct vmm *v)
{
    if (v->log_fd >= 0)
        close(v->log_fd);
    if (v->memory_fd >= 0)
        close(v->memory_fd);
    list_for_each_safe (node, &v->ops) {
        struct vm_op *op = container_of(node, struct vm_op, node);
        list_remove(node);
        op->type->drop(op);
    }
    chain_free(&v->disk);
    vm_make_plain(v->err.msg);
    if (v->destroyed)
        v->destroyed(v->destroyed_user);
    else if (v->done)
        v->done(v, &v->err);
    free(v);
}

void vm_handle_closed(struct vmm *v)
{
    if (--v->open_handles == 0)
        finish(v);
}

static void on_process_closed(struct process *p)
{
    vm_handle_closed(container_of(p, struct vmm, process));
}

static void on_console_closed(struct console *c)
{
    vm_handle_closed(container_of(c, struct vmm, console));
}

static void on_timer_closed(uv_handle_t *h)
{
    vm_handle_closed(container_of((uv_timer_t *)h, struct vmm, timer));
}

void vm_close(struct vmm *v)
{
    sm_move(&v->sm, VM_CLOSING);
    defer_cancel(&v->defer);
    v->open_handles = 1 + v->has_process + v->has_qmp + v->has_console;
    list_for_each (node, &v->ops) {
        struct vm_op *op = container_of(node, struct vm_op, node);
        defer_cancel(&op->defer);
        v->open_handles += op->working;
    }
    uv_close((uv_handle_t *)&v->timer, on_timer_closed);
    if (v->has_process)
        process_close(&v->process, on_process_closed);
    if (v->has_qmp)
        qmp_close(&v->qmp);
    if (v->has_console)
        console_close(&v->console, on_console_closed);
}

void vmm_destroy(struct vmm *v, void (*done)(void *user), void *user)
{
    v->destroying = true;
    v->destroyed = done;
    v->destroyed_user = user;
    v->done = NULL;
    switch ((enum vm_state)sm_state(&v->sm)) {
    case VM_GREET:
    case VM_SETUP:
    case VM_RUNNING:
        vm_end_process(v);
        break;
    case VM_ENDED:
        vm_clean(v);
        break;
    case VM_PREPARE: /* the worker's end notices */
    case VM_DYING:
    case VM_CLEAN:
    case VM_CLOSING:
    case VM_NR:
        break;
    }
}

void vmm_release(struct vmm *v)
{
    enum vm_state state = (enum vm_state)sm_state(&v->sm);
    if (state == VM_RUNNING || state == VM_ENDED || (v->adopted && state <= VM_GREET)) {
        v->done = NULL;
        vm_close(v);
    } else {
        vmm_destroy(v, NULL, NULL);
    }
}
