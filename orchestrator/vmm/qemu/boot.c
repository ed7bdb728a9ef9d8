/*
 * A boot, by the states of vm.h:
 *
 *   PREPARE -> GREET -> SETUP -> RUNNING
 *
 * QEMU starts with its virtual CPUs stopped (-S), so that what SETUP asks for is true before the
 * guest's first instruction. A VMM that waits for a snapshot needs no SETUP: all it would ask for
 * is in the device state. A failure anywhere goes to vm_fail().
 */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fault.h"
#include "common/base/log.h"
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/board.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

static void on_step_done(void *user, const json_t *result, const struct err *err);

/* The commands of SETUP, in order. */
enum { STEP_LINK_DOWN, STEP_CONTINUE, STEP_NR };

static int send_step(struct vmm *v)
{
    json_t *arguments = NULL;
    switch (v->setup_step) {
    case STEP_LINK_DOWN:
        if (FAULT_POINT("vmm.set_link"))
            return -EIO;
        arguments = json_pack("{s:s, s:b}", "name", QEMU_NIC_ID, "up", 0);
        if (!arguments)
            return -ENOMEM;
        return qmp_execute(&v->qmp, "set_link", arguments, QEMU_COMMAND_MS, on_step_done, v);
    case STEP_CONTINUE:
        if (FAULT_POINT("vmm.cont"))
            return -EIO;
        return qmp_execute(&v->qmp, "cont", NULL, QEMU_COMMAND_MS, on_step_done, v);
    default:
        vm_running(v);
        return 0;
    }
}

static void next_step(struct vmm *v)
{
    int rc = send_step(v);
    if (rc < 0) {
        struct err err;
        err_fill(&err, ERR_INTERNAL, "cannot set the VM up (step %d): %s", v->setup_step,
                 strerror(-rc));
        vm_fail(v, &err);
    }
}

static void on_step_done(void *user, const json_t *result, const struct err *err)
{
    struct vmm *v = user;
    (void)result;
    if (sm_state(&v->sm) != VM_SETUP)
        return;
    if (err) {
        vm_fail(v, err);
        return;
    }
    v->setup_step++;
    next_step(v);
}

void boot_on_ready(struct vmm *v)
{
    if (v->incoming) {
        v->waiting = v->paused = true;
        vm_running(v);
        return;
    }
    sm_move(&v->sm, VM_SETUP);
    v->setup_step = 0;
    next_step(v);
}

static int connect_vmm(struct vmm *v, struct err *err)
{
    if (FAULT_POINT("vmm.qmp"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.qmp");
    int rc = vm_open_qmp(v, err);
    if (rc < 0)
        return rc;
    if (FAULT_POINT("vmm.console"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.console");
    return vm_open_console(v, err);
}

static void prepare(uv_work_t *work)
{
    struct vmm *v = container_of(work, struct vmm, work);
    if (vm_prepare(v, &v->err) < 0)
        assert(v->err.code);
}

static void on_prepared(uv_work_t *work, int status)
{
    struct vmm *v = container_of(work, struct vmm, work);
    struct err err = v->err;
    (void)status;
    if (!err.code) {
        v->record = (struct vmm_record){ v->child.pid, v->child.start_ticks };
        if (vm_watch(v, TAKE_FD(v->child.pidfd), &err) == 0 && !v->destroying &&
            connect_vmm(v, &err) == 0) {
            sm_move(&v->sm, VM_GREET);
            return;
        }
    }
    if (!err.code)
        err_fill(&err, ERR_CANCELED, "the VM was destroyed while it started");
    vm_fail(v, &err);
}

static int check_config(const struct vmm_driver *d, const struct vmm_config *c, struct err *err)
{
    if (!d->machines[c->template.board])
        return err_set(err, ERR_PRECONDITION, ENOTSUP, "%s has no machine type %s", d->program,
                       qemu_boards[c->template.board].types[0]);
    if (c->vcpus < 1 || c->vcpus > VMM_VCPUS_MAX)
        return err_set(err, ERR_INVALID, EINVAL, "a VM has 1 to %d virtual CPUs, not %u",
                       VMM_VCPUS_MAX, c->vcpus);
    if (c->memory_mb < VMM_MEMORY_MIN_MB || c->memory_mb > VMM_MEMORY_MAX_MB)
        return err_set(err, ERR_INVALID, EINVAL, "a VM has %d to %d MiB of memory, not %u",
                       VMM_MEMORY_MIN_MB, VMM_MEMORY_MAX_MB, c->memory_mb);
    if (!c->disk.rootfs || !c->disk.top)
        return err_set(err, ERR_INVALID, EINVAL, "a VM's disk has a root file system and a top");
    return 0;
}

/* The caller may close its descriptor before a worker comes to use it. */
static int take_memory(struct vmm *v, int fd, struct err *err)
{
    v->memory_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && v->memory_fd < 0)
        return err_set(err, ERR_EXHAUSTED, errno, "cannot keep the memory of the snapshot: %s",
                       strerror(errno));
    return 0;
}

static void on_deferred(struct deferred *d)
{
    struct vmm *v = container_of(d, struct vmm, defer);
    struct err err = v->err;
    vm_fail(v, &err);
}

static struct vmm *start(struct vmm_driver *d, const struct vmm_config *config, bool incoming,
                         const struct vmm_events *events, void *user,
                         void (*done)(struct vmm *v, const struct err *err))
{
    struct vmm *v = vm_new(d, config, events, user, done);
    if (!v)
        return NULL;
    v->incoming = incoming;
    if (!v->err.code && check_config(d, config, &v->err) == 0 &&
        take_memory(v, incoming ? config->memory_fd : -1, &v->err) == 0) {
        int rc = uv_queue_work(d->loop, &v->work, prepare, on_prepared);
        if (rc == 0)
            return v;
        err_fill(&v->err, ERR_EXHAUSTED, "cannot start a worker: %s", uv_strerror(rc));
    }
    defer(d->defer, &v->defer, on_deferred);
    return v;
}

struct vmm *vmm_boot(struct vmm_driver *d, const struct vmm_config *config,
                     const struct vmm_events *events, void *user,
                     void (*done)(struct vmm *v, const struct err *err))
{
    return start(d, config, false, events, user, done);
}

struct vmm *vmm_start(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err))
{
    return start(d, config, true, events, user, done);
}
