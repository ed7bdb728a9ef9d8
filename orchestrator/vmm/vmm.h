/*
 * The seam between the life of a sandbox and the program that runs its VM. Nothing above it knows
 * which VMM it is. Everything here is asynchronous on the loop; every operation has a deadline, and
 * past it the VMM is killed and the reason told.
 */
#ifndef ORCHESTRATOR_VMM_VMM_H
#define ORCHESTRATOR_VMM_VMM_H

#include "common/base/err.h"
#include "common/io/defer.h"
#include "orchestrator/link/guest_link.h"
#include "orchestrator/vmm/board.h"
#include "orchestrator/vmm/memory.h"

#include <limits.h>
#include <uv.h>

struct cgroups;
struct vmm; /* one VM and the process that runs it */

/* What boots: immutable files, readable by every VMM's uid. */
struct vmm_template {
    enum vmm_board board; /* of a VMM that waits, too */
    char kernel[PATH_MAX];
    char initramfs[PATH_MAX];
    char cmdline[512]; /* kernel command line, without what the driver adds */
};

#define VMM_LAYERS_MAX    24
#define VMM_VCPUS_MAX     64
#define VMM_MEMORY_MIN_MB 64
#define VMM_MEMORY_MAX_MB 1048576

/* A VM's disk: a root file system, frozen layers on it, and on those the overlay that this VM
 * writes. The layers may be shared and are not written; the daemon must be able to read them, the
 * VMM gets descriptors. The texts are copied. */
struct vmm_disk {
    const char *rootfs;                 /* raw ext4 */
    const char *layers[VMM_LAYERS_MAX]; /* qcow2, the oldest first */
    size_t nlayers;
    const char *top; /* qcow2, made when it does not exist; belongs to the VMM's uid from then on */
};

struct vmm_config {
    const char *id;      /* names the VM in logs, and its control group: [a-z0-9]+ */
    const char *run_dir; /* exists, 0700 of the daemon, and stays so: the VMM gets its files as
                            descriptors. Holds what only the running VM has: sockets, console */
    struct vmm_template template; /* vmm_boot() only */
    struct vmm_disk disk;
    unsigned vcpus;
    unsigned memory_mb;
    uint64_t disk_mb; /* virtual size of the disk the guest sees */
    uid_t uid;        /* uid and gid of the VMM; (uid_t)-1: the daemon's own (no root) */
    bool background;  /* as after vmm_set_background() */
    int memory_fd;    /* of vmm_start(): a memfd of memory_mb MiB, sealed, that the VM's memory is a
                         private mapping of; -1: zeros. Borrowed for the call */
};

/* Why a VM ended. */
enum vmm_end {
    VMM_END_KILLED,   /* vmm_destroy() */
    VMM_END_SHUTDOWN, /* the guest powered off or rebooted */
    VMM_END_PANIC,    /* the guest's kernel panicked */
    VMM_END_EXIT,     /* the VMM's process ended by itself */
    VMM_END_HUNG,     /* the VMM did not answer in time and was killed */
};
const char *vmm_end_name(enum vmm_end end);

struct vmm_events {
    /* A VM that ran is gone and its process reaped. Told once; v lives on (for the console's tail)
     * until vmm_destroy(). Not told of a start that failed, of which done tells, and not after
     * vmm_destroy(), whose own callback comes. */
    void (*on_end)(struct vmm *v, enum vmm_end end, const char *detail);
    /* The host has no room for what the VM writes to its disk: the VM stands still and is continued
     * now and then until it can write; or it could again. May be NULL. */
    void (*on_disk_full)(struct vmm *v, bool full);
};

/* What is written down so that a later daemon finds the VM again. */
struct vmm_record {
    pid_t pid;
    uint64_t start_ticks; /* of the process, /proc/PID/stat field 22: tells a reused pid */
};

struct vmm_driver;

struct vmm_host {
    bool kvm;             /* KVM runs a stock guest here; otherwise TCG */
    char accelerator[8];  /* "kvm" or "tcg" */
    char version[64];     /* of the VMM program */
    char kvm_reason[256]; /* why KVM is not used, a sentence; empty when it is */
    /* Of each board: machine type, with its version, and the clock if the guest's depends on it;
     * empty: the VMM has no such board. vmm_machine_fits() compares two. */
    char machine[VMM_BOARD_NR][32];
    unsigned tsc_khz;   /* of this host, about; 0: no guest's clock depends on it */
    char cpu[16];       /* the guest's CPU model; with KVM it is the host's CPU */
    char cgroups[96];   /* the control groups of VMMs: which, where, and their limits; "none" */
    char weakness[160]; /* what VMMs are not kept from on this host; empty: nothing */
};

/* What a VMM may take of the host beside what its guest has; 0: no limit. Memory counts beside
 * twice the guest's: a page that the guest writes may be there once more, untouched, in the memfd.
 */
struct vmm_allowance {
    unsigned memory_mb, pids, cpus;
};

struct vmm_driver_options {
    uv_loop_t *loop;
    struct defer_queue *defer;
    const char *accel;   /* "auto", "kvm", "tcg" */
    const char *program; /* of the VMM; NULL: found by its name */
    /* Each VMM is asked for its state this often and must answer within the deadline, or it is
     * killed. 0: the defaults of 5 s and 10 s. */
    unsigned ping_interval_ms, ping_deadline_ms;
    /* Where each VMM gets a control group of its own, with the limits of the allowance; NULL:
     * nowhere. Borrowed until the last VM is freed. */
    const struct cgroups *cgroups;
    struct vmm_allowance allowance;
};

/* Find the VMM program and probe the accelerator: with "auto" a minimal guest is started under KVM
 * with a deadline of 5 s, more on a host that is slow; the device node alone proves nothing.
 * Blocking: call before serving. */
int vmm_driver_new(struct vmm_driver **out, const struct vmm_driver_options *options,
                   struct err *err);
/* Remove what is left on the host of VMs that are gone. Blocking; only while none is started. */
void vmm_driver_tidy(const struct vmm_driver *d);
const struct vmm_host *vmm_driver_host(const struct vmm_driver *d);
void vmm_driver_free(struct vmm_driver *d);

/* Machine, CPU and every device with its address: a snapshot can be loaded by a VMM of the same
 * text (and the same memory and virtual CPUs) only. Lives as long as the driver. */
const char *vmm_devices_text(const struct vmm_driver *d, enum vmm_board board);

/* Whether a snapshot of the one machine (of struct vmm_host) runs on the other: they are the same,
 * and a clock that it depends on differs by no more than any two measurements do. */
bool vmm_machine_fits(const char *recorded, const char *here);

/* Start the VMM in its jail and boot the template. done(v, err) once, never from inside: err NULL
 * when the VM runs (its kernel is booting) and its link socket can be connected. When err is set
 * everything was undone, a top that was made too, and v is dead. The returned pointer may be passed
 * to vmm_destroy() at any time before that. */
struct vmm *vmm_boot(struct vmm_driver *d, const struct vmm_config *config,
                     const struct vmm_events *events, void *user,
                     void (*done)(struct vmm *v, const struct err *err));

/* Start a VMM that waits for a snapshot: there is no guest in it yet. done as for vmm_boot(); the
 * caller then fills its memory and calls vmm_load(). */
struct vmm *vmm_start(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err));

/* Take over a VM that an earlier daemon started: the process must be the recorded one and answer.
 * done as for vmm_boot; on failure nothing was touched. The disk may be as it would have been after
 * a vmm_switch_disk() that did not come to its end: vmm_disk() tells. */
struct vmm *vmm_adopt(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_record *record, const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err));

void *vmm_user(const struct vmm *v);

/* Another owner: vmm_user() of all events from now on. */
void vmm_set_user(struct vmm *v, void *user);

/* Whether the virtual CPUs stand still, by what the VMM said last. Tells about an adopted VM whose
 * daemon died between vmm_pause() and vmm_resume(). */
bool vmm_is_paused(const struct vmm *v);

/* The host's wall clock in nanoseconds when the virtual CPUs, and the guest's clock with them, last
 * stood still by vmm_pause(), and when they last went on by vmm_resume(). 0: not known to within
 * VMM_MOMENT_NS. */
#define VMM_MOMENT_NS 2500000
int64_t vmm_stopped_ns(const struct vmm *v);
int64_t vmm_went_on_ns(const struct vmm *v);

const struct vmm_record *vmm_record(const struct vmm *v);

/* The host as it was when the VM was started, maybe by an earlier daemon with another VMM program
 * or accelerator: the machine that a snapshot of the VM is of. */
const struct vmm_host *vmm_host_of(const struct vmm *v);
const struct link_address *vmm_link_address(const struct vmm *v);

/*
 * What follows is for a VM whose start is over. Each calls done(user, ..., err) once, from the
 * loop, and not after vmm_destroy() or vmm_release(). When the VMM does not answer it is killed,
 * and on_end comes too. One operation of a kind at a time.
 */

/* Stop and continue the virtual CPUs. ERR_PRECONDITION for a VMM that waits for its snapshot. */
void vmm_pause(struct vmm *v, void (*done)(void *user, const struct err *err), void *user);
void vmm_resume(struct vmm *v, void (*done)(void *user, const struct err *err), void *user);

/* Whether the VMM is to be in nobody's way: it gets of the CPUs what others leave, as far as the
 * host lets us say so. For any VMM, and at once. */
void vmm_set_background(struct vmm *v, bool background);

/* Where the VM's memory is mapped in its process. Its anonymous pages are those that differ from
 * memory_fd. Reads /proc; any thread may use the answer. */
int vmm_memory(const struct vmm *v, struct vmm_memory *out, struct err *err);

/* Give a VMM that waits, and was never given one before, another disk than it was started with, of
 * the same size and on the same root file system; its top is made when it does not exist and
 * belongs to the VMM's uid. What it had is let go of at the latest when the VM runs. On failure a
 * top that was made is removed, and the VMM is of no more use. */
void vmm_replace_disk(struct vmm *v, const struct vmm_disk *disk,
                      void (*done)(void *user, const struct err *err), void *user);

/* Load the device state at state_fd (from its beginning, whatever its offset is; borrowed for the
 * call) into a VMM that waits and whose memory was filled. The guest stands still until
 * vmm_resume(). A state that cannot be loaded is the VMM's end: on_end comes too. */
void vmm_load(struct vmm *v, int state_fd, void (*done)(void *user, const struct err *err),
              void *user);

/* Device state of a stopped VM in a new sealed memfd at its beginning, which belongs to done. What
 * the VM wrote is then in its disk's files. */
#define VMM_STATE_MAX (16 << 20)
void vmm_save(struct vmm *v, void (*done)(void *user, int state_fd, const struct err *err),
              void *user);

/* Put a new overlay `new_top`, which must not exist, on the disk; what was its top is frozen from
 * then on. The VM may run. On failure nothing has changed and there is no such file; when the VM
 * was destroyed meanwhile, the file may be there. Ends a vmm_merge_disk(). */
void vmm_switch_disk(struct vmm *v, const char *new_top,
                     void (*done)(void *user, const struct err *err), void *user);

/* Copy what all layers but the oldest `keep` hold into the top, slowly, while the VM goes on; then
 * the top stands on those and the VMM has let go of the other files. ERR_CANCELED when the disk was
 * needed for a switch or a save meanwhile: then the layers are needed as before. */
void vmm_merge_disk(struct vmm *v, size_t keep, void (*done)(void *user, const struct err *err),
                    void *user);

/* The disk as the VMM has it now. */
const struct vmm_disk *vmm_disk(const struct vmm *v);

/* Whether the VM stands still because the host's disk is full. */
bool vmm_disk_is_full(const struct vmm *v);

/* The newest console output (at most n bytes) into out; how many. For the death record. */
size_t vmm_console_tail(const struct vmm *v, char *out, size_t n);

/* Kill the VMM, reap it, remove everything in run_dir and run_dir itself, but no disk; then
 * done(user) (may be NULL) and v is freed. No other callback comes any more. A start that failed,
 * or is not over, is undone. */
void vmm_destroy(struct vmm *v, void (*done)(void *user), void *user);

/* Let go of the VM without touching it (the daemon stops, the sandbox stays). v frees itself in the
 * loop's next turns, no callback comes. A VM that was not started yet is destroyed instead. */
void vmm_release(struct vmm *v);

/* End a VM of an earlier daemon that is not to be adopted: kill the recorded process if it is still
 * that one, wait for it (bounded), remove run_dir. record may be NULL or hold pid 0: then the one
 * that the driver left in run_dir before the VMM ran is used, so that no VMM escapes a daemon that
 * died while it started it. Blocking; call before serving. */
void vmm_sweep(const char *run_dir, const struct vmm_record *record);

#endif
