/* The driver itself, and what is known about a VM without asking QEMU. */
#include "orchestrator/vmm/qemu/probe.h"
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/tsc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *vmm_end_name(enum vmm_end end)
{
    switch (end) {
    case VMM_END_KILLED:
        return "killed";
    case VMM_END_SHUTDOWN:
        return "shutdown";
    case VMM_END_PANIC:
        return "panic";
    case VMM_END_EXIT:
        return "vmm_exit";
    case VMM_END_HUNG:
        return "hung";
    }
    return "unknown";
}

/* Decide on the accelerator, by trying. */
static int choose_accelerator(struct vmm_driver *d, const char *accel, int64_t query_ns,
                              struct err *err)
{
    struct err why = { 0 };
    if (strcmp(accel, "tcg") == 0) {
        snprintf(d->host.kvm_reason, sizeof(d->host.kvm_reason), "emulation was asked for");
    } else if (strcmp(accel, "auto") != 0 && strcmp(accel, "kvm") != 0) {
        return err_set(err, ERR_INVALID, EINVAL, "accelerator \"%s\" is none of auto, kvm, tcg",
                       accel);
    } else if (probe_guest_run(d->program, d->machines[VMM_BOARD_PC], &d->means, true,
                               probe_kvm_deadline_ms(query_ns), &why) == 0) {
        d->host.kvm = true;
    } else if (strcmp(accel, "kvm") == 0) {
        return err_set(err, ERR_PRECONDITION, ENODEV, "KVM was asked for and does not work: %s",
                       why.msg);
    } else {
        snprintf(d->host.kvm_reason, sizeof(d->host.kvm_reason), "%s", why.msg);
    }
    snprintf(d->host.accelerator, sizeof(d->host.accelerator), d->host.kvm ? "kvm" : "tcg");
    return 0;
}

static int describe_board(struct vmm_driver *d, enum vmm_board board, struct err *err)
{
    struct buf devices = { 0 };
    if (d->host.tsc_khz)
        snprintf(d->host.machine[board], sizeof(d->host.machine[board]), "%s" TSC_MARK "%u",
                 d->machines[board], d->host.tsc_khz);
    else
        snprintf(d->host.machine[board], sizeof(d->host.machine[board]), "%s", d->machines[board]);
    if (qemu_args_devices(board, d->machines[board], &devices) == 0)
        d->devices[board] = buf_take_text(&devices);
    buf_deinit(&devices);
    if (!d->devices[board])
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return 0;
}

/* What a snapshot of this host is told by. */
static int describe(struct vmm_driver *d, struct err *err)
{
    int rc = 0;
    snprintf(d->host.cpu, sizeof(d->host.cpu), QEMU_CPU);
    cgroups_text(d->cgroups, d->host.cgroups, sizeof(d->host.cgroups));
    /* KVM's clock tells the guest. Emulated guests count the host's own ticks. */
    if (!d->host.kvm)
        d->host.tsc_khz = tsc_measure();
    for (size_t i = 0; i < VMM_BOARD_NR && rc == 0; i++)
        if (d->machines[i])
            rc = describe_board(d, (enum vmm_board)i, err);
    return rc;
}

static int probe(struct vmm_driver *d, const struct vmm_driver_options *o, struct err *err)
{
    int rc = 0;
    int64_t asked_ns;
    if (!o->program)
        rc = probe_program(d->program, err);
    else if (!str_copy(str_of(o->program), d->program, sizeof(d->program)))
        rc = err_set(err, ERR_INVALID, ENAMETOOLONG, "the path of the VMM program is too long");
    if (rc < 0)
        return rc;
    jail_probe(&d->means);
    jail_weakness(&d->means, d->host.weakness, sizeof(d->host.weakness));
    rc = probe_version(d->program, &d->means, d->host.version, sizeof(d->host.version), err);
    asked_ns = clock_mono_ns();
    if (rc == 0)
        rc = probe_machines(d->program, &d->means, d->machines, err);
    if (rc == 0)
        rc = choose_accelerator(d, o->accel ? o->accel : "auto", clock_mono_ns() - asked_ns, err);
    if (rc == 0)
        rc = describe(d, err);
    return rc;
}

int vmm_driver_new(struct vmm_driver **out, const struct vmm_driver_options *options,
                   struct err *err)
{
    static const struct cgroups none;
    struct vmm_driver *d = calloc(1, sizeof(*d));
    if (!d)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    d->loop = options->loop;
    d->defer = options->defer;
    d->cgroups = options->cgroups ? options->cgroups : &none;
    d->allowance = options->allowance;
    d->ping_interval_ms =
        options->ping_interval_ms ? options->ping_interval_ms : QEMU_PING_INTERVAL_MS;
    d->ping_deadline_ms =
        options->ping_deadline_ms ? options->ping_deadline_ms : QEMU_PING_DEADLINE_MS;
    int rc = probe(d, options, err);
    if (rc < 0) {
        vmm_driver_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

const struct vmm_host *vmm_driver_host(const struct vmm_driver *d)
{
    return &d->host;
}

void vmm_driver_tidy(const struct vmm_driver *d)
{
    size_t n = cgroups_sweep(d->cgroups);
    if (n)
        log_info("control groups of VMs that are gone were removed", LOG_INT("groups", n));
}

void vmm_driver_free(struct vmm_driver *d)
{
    for (size_t i = 0; d && i < VMM_BOARD_NR; i++)
        free(d->devices[i]);
    free(d);
}

const char *vmm_devices_text(const struct vmm_driver *d, enum vmm_board board)
{
    return d->devices[board] ? d->devices[board] : "";
}

void *vmm_user(const struct vmm *v)
{
    return v->user;
}

void vmm_set_user(struct vmm *v, void *user)
{
    v->user = user;
}

bool vmm_is_paused(const struct vmm *v)
{
    return v->paused;
}

bool vmm_disk_is_full(const struct vmm *v)
{
    return v->disk_full;
}

const struct vmm_disk *vmm_disk(const struct vmm *v)
{
    return &v->disk;
}

const struct vmm_host *vmm_host_of(const struct vmm *v)
{
    return &v->host;
}

const struct vmm_record *vmm_record(const struct vmm *v)
{
    return &v->record;
}

const struct link_address *vmm_link_address(const struct vmm *v)
{
    return &v->link;
}

size_t vmm_console_tail(const struct vmm *v, char *out, size_t n)
{
    char path[PATH_MAX];
    return vm_path(v, RUN_LOG, path, sizeof(path)) == 0 ? console_tail(path, out, n) : 0;
}
