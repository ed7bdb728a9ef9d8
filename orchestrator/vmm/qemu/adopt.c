/* VMs of an earlier daemon: taken over, or swept away. */
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/nodes.h"
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define PID_FILE_MAX 64

static void ask(struct vmm *v, const char *command, qmp_done_cb answer)
{
    if (qmp_execute(&v->qmp, command, NULL, QEMU_COMMAND_MS, answer, v) < 0) {
        struct err err;
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        vm_fail(v, &err);
    }
}

/* Whether an answer to an adoption is still of use. */
static bool is_wanted(struct vmm *v, const struct err *err)
{
    if (sm_state(&v->sm) != VM_GREET)
        return false;
    if (err)
        vm_fail(v, err);
    return !err;
}

static void adopted(struct vmm *v)
{
    log_info("vm adopted", LOG_STR("id", v->id), LOG_INT("pid", v->record.pid),
             LOG_INT("paused", v->paused));
    vm_running(v);
}

/* A switch of the disk is written down before it is done. If the daemon died in between, the VM
 * writes what would have become the newest layer. Another path than one of ours is not believed. */
static void on_sets(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    if (!is_wanted(v, err))
        return;
    const struct vmm_disk *d = &v->disk;
    const char *top = node_path(result, v->top_node);
    if (top && d->top && strcmp(top, d->top) != 0) {
        bool behind = d->nlayers && strcmp(top, d->layers[d->nlayers - 1]) == 0;
        log_warn("the disk of a vm is not what is written down", LOG_STR("id", v->id),
                 LOG_INT("behind", behind));
        if (behind)
            chain_pop(&v->disk);
    }
    adopted(v);
}

static void on_blocks(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    if (!is_wanted(v, err))
        return;
    /* There is none while a job is on the disk; nor was a switch under way then. */
    if (node_find_top(result, &v->top_node))
        ask(v, "query-fdsets", on_sets);
    else
        adopted(v);
}

static void on_status(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    if (!is_wanted(v, err))
        return;
    const char *status = json_string_value(json_object_get(result, "status"));
    v->paused = !json_is_true(json_object_get(result, "running"));
    v->waiting = status && strcmp(status, "inmigrate") == 0;
    ask(v, "query-block", on_blocks);
}

void adopt_on_ready(struct vmm *v)
{
    ask(v, "query-status", on_status);
}

/* QEMU's messages are in memory that only it still holds. One that a guest took over may have put
 * any file there that it can name but not read: only sealed memory, as jail_log_new() makes it, is
 * read. */
static int open_log(const struct vmm *v)
{
    char path[48];
    const int seals = F_SEAL_GROW | F_SEAL_SHRINK;
    snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)v->record.pid);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    int have = fcntl(fd, F_GET_SEALS);
    return have >= 0 && (have & seals) == seals ? TAKE_FD(fd) : -1;
}

static int start(struct vmm *v, struct err *err)
{
    if (FAULT_POINT("vmm.adopt"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.adopt");
    int pidfd = process_open(v->record.pid, v->record.start_ticks);
    if (pidfd < 0)
        return err_set(err, ERR_NOT_FOUND, -pidfd, "the VM's process %d is gone: %s",
                       (int)v->record.pid, strerror(-pidfd));
    int rc = vm_watch(v, pidfd, err);
    if (rc == 0)
        rc = vm_open_qmp(v, err);
    if (rc == 0)
        rc = vm_open_console(v, err);
    v->log_fd = open_log(v);
    vm_origin_read(v);
    return rc;
}

static void on_deferred(struct deferred *d)
{
    struct vmm *v = container_of(d, struct vmm, defer);
    struct err err = v->err;
    vm_fail(v, &err);
}

struct vmm *vmm_adopt(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_record *record, const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err))
{
    struct vmm *v = vm_new(d, config, events, user, done);
    if (!v)
        return NULL;
    v->adopted = true;
    v->record = *record;
    if (v->err.code || start(v, &v->err) < 0)
        defer(d->defer, &v->defer, on_deferred);
    else
        sm_move(&v->sm, VM_GREET);
    return v;
}

/* The record that prepare.c left. */
static bool read_record(const char *run_dir, struct vmm_record *record)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    uint64_t pid;
    bool ok = snprintf(path, sizeof(path), "%s/%s", run_dir, RUN_PID) < (int)sizeof(path) &&
              file_read(path, PID_FILE_MAX, &text, NULL) == 0;
    struct str rest = buf_str(&text);
    struct str line = str_split(&rest, '\n');
    struct str first = str_split(&line, ' ');
    ok = ok && line.p && str_to_u64(first, INT32_MAX, &pid) &&
         str_to_u64(line, UINT64_MAX, &record->start_ticks);
    if (ok)
        record->pid = (pid_t)pid;
    buf_deinit(&text);
    return ok;
}

void vmm_sweep(const char *run_dir, const struct vmm_record *record)
{
    struct vmm_record left;
    struct process_exit how;
    struct err err;
    if (!record || record->pid <= 0)
        record = read_record(run_dir, &left) ? &left : NULL;
    AUTO_CLOSE int pidfd = record ? process_open(record->pid, record->start_ticks) : -ESRCH;
    if (pidfd >= 0 && process_end(pidfd, QEMU_KILL_MS, &how) < 0)
        log_error("a VMM of an earlier daemon cannot be ended", LOG_INT("pid", record->pid));
    if (pidfd < 0 && pidfd != -ESRCH)
        log_error("a VMM of an earlier daemon cannot be reached", LOG_INT("pid", record->pid),
                  LOG_STR("reason", strerror(-pidfd)));
    if (file_remove_tree(run_dir, &err) < 0)
        log_error("run directory is left", LOG_STR("run_dir", run_dir), LOG_STR("reason", err.msg));
}
