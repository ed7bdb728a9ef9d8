/* One VM of the qemu driver; what the files of this folder share. vm.c has the picture. */
#ifndef ORCHESTRATOR_VMM_QEMU_VM_H
#define ORCHESTRATOR_VMM_QEMU_VM_H

#include "common/base/cleanup.h"
#include "common/base/sm.h"
#include "orchestrator/cgroup/cgroup.h"
#include "orchestrator/vmm/console.h"
#include "orchestrator/vmm/jail.h"
#include "orchestrator/vmm/process.h"
#include "orchestrator/vmm/qemu/qmp.h"
#include "orchestrator/vmm/vmm.h"

/* Deadlines. A host that runs more VMs than it has processors is slow, not broken. */
#define QEMU_GREETING_MS      20000 /* from its start to the end of QMP's negotiation */
#define QEMU_COMMAND_MS       10000
#define QEMU_KILL_MS          10000 /* for a killed process to be gone */
#define QEMU_PING_INTERVAL_MS 5000
#define QEMU_PING_DEADLINE_MS 10000

#define QEMU_LOG_SIZE 65536 /* of QEMU's own messages, per VM */

/* Names in run_dir. */
#define RUN_QMP     "qmp.sock"
#define RUN_LINK    "link.sock"
#define RUN_CONSOLE "console.sock"
#define RUN_LOG     "console.log"
#define RUN_PID     "pid"    /* "PID TICKS\n" */
#define RUN_ORIGIN  "origin" /* accelerator, version and machine of struct vmm_host, a line each */

/* Sets of descriptors that wait for their removal: those of a merge, and of saves. */
#define OLD_SETS_MAX 64

struct vmm_driver {
    uv_loop_t *loop;
    struct defer_queue *defer;
    char program[PATH_MAX];
    const char *machines[VMM_BOARD_NR]; /* types; NULL: QEMU has no such board */
    struct jail_means means;
    struct vmm_host host;
    const struct cgroups *cgroups; /* borrowed; never NULL */
    struct vmm_allowance allowance;
    char *devices[VMM_BOARD_NR]; /* vmm_devices_text() */
    unsigned ping_interval_ms, ping_deadline_ms;
};

enum vm_state {
    VM_PREPARE, /* a worker makes files and process */
    VM_GREET,   /* QMP's greeting and negotiation */
    VM_SETUP,   /* commands before the guest's first instruction */
    VM_RUNNING, /* or paused, or waiting for a snapshot */
    VM_DYING,   /* killed; waiting for the process */
    VM_ENDED,   /* on_end was told */
    VM_CLEAN,   /* a worker removes run_dir */
    VM_CLOSING, /* the handles are being closed */
    VM_NR
};

struct vmm {
    struct vmm_driver *driver;
    const struct vmm_events *events; /* borrowed */
    void *user;
    void (*done)(struct vmm *v, const struct err *err); /* NULL once told */
    void (*destroyed)(void *user);
    void *destroyed_user;
    struct sm sm;
    const struct cgroups *cgroups; /* borrowed: the VM may outlive its driver */

    char id[40];
    char run_dir[PATH_MAX];
    struct vmm_config config; /* its texts point into this struct; but those of the disk */
    struct vmm_disk disk;     /* as QEMU has it; its texts are owned */
    struct vmm_record record;
    struct vmm_host host; /* as it was when the VM was started */
    struct link_address link;

    uv_work_t work;
    struct deferred defer;
    struct jail_child
        child; /* made by the worker; pidfd -1 when there is none or it was handed on */
    int log_fd;
    int memory_fd; /* until QEMU has it, or -1 */

    struct process process;
    struct qmp qmp;
    struct console console;
    uv_timer_t timer; /* RUNNING: the next ping; DYING: the time a process may take to end */
    bool has_process, has_qmp, has_console; /* what is open */
    int open_handles;                       /* in CLOSING */
    struct list ops;                        /* struct vm_op */

    unsigned next_set; /* the least number that a new layer may have; 0: not known */
    unsigned saves;
    unsigned old_sets[OLD_SETS_MAX]; /* to be removed (once more) when the VM runs */
    size_t nold_sets;
    unsigned disk_users; /* operations that a merge gives way to */
    bool adopted;
    bool incoming;   /* started to wait for a snapshot */
    bool waiting;    /* and it has not come yet */
    bool made_top;   /* by this start: a failing one takes it back */
    bool ran;        /* its start is over */
    bool destroying; /* vmm_destroy() was called */
    bool killed;     /* we sent SIGKILL */
    bool paused;
    int64_t asked_ns; /* wall clock when QEMU was last asked to stop or to go on; 0: by nobody */
    int64_t stopped_ns, went_on_ns; /* of vmm.h */
    bool held;                      /* whoever owns it wants it paused */
    bool ping_sent;
    bool disk_full, disk_retried; /* the VM was continued since it was found full */
    bool disk_warned;
    int setup_step;
    unsigned top_node; /* of a VM that is being adopted */
    struct err err;    /* why the start failed */
    bool end_known;    /* `end` and `detail` are set: the cause that was noticed first wins */
    enum vmm_end end;
    char detail[256];
    char lost_words[256]; /* why the control socket was lost */
};

/* vm.c */
struct vmm *vm_new(struct vmm_driver *d, const struct vmm_config *config,
                   const struct vmm_events *events, void *user,
                   void (*done)(struct vmm *v, const struct err *err));
int vm_path(const struct vmm *v, const char *name, char *out, size_t n);
/* Watch the process; on failure the pidfd is closed. */
int vm_watch(struct vmm *v, int pidfd, struct err *err);
int vm_open_qmp(struct vmm *v, struct err *err);
int vm_open_console(struct vmm *v, struct err *err);
/* The start failed: undo everything, then tell done. */
void vm_fail(struct vmm *v, const struct err *err);
/* Remember why the VM is about to end, unless that is known. */
void vm_note_end(struct vmm *v, enum vmm_end end, const char *detail);
/* The process should end by itself within grace_ms; it is killed if it does not. */
void vm_expect_end(struct vmm *v, unsigned grace_ms);
/* Kill it now. */
void vm_end_process(struct vmm *v);
/* A running VM: note the end and kill it. Does nothing in other states. */
void vm_kill(struct vmm *v, enum vmm_end end, const char *detail);
/* Remove run_dir on a worker, then vm_close(). */
void vm_clean(struct vmm *v);
/* Close every handle, then tell and free. */
void vm_close(struct vmm *v);
/* One of what vm_close() waits for is gone. */
void vm_handle_closed(struct vmm *v);
/* What QEMU itself said last, warnings apart, for an error's end: ": <text>" or nothing. */
void vm_log_words(const struct vmm *v, char *out, size_t n);
/* Texts that come out of a VMM or a guest end in answers and logs: keep what any of them can show.
 */
void vm_make_plain(char *text);

/* events.c */
/* The VM runs: begin to ping it, tell done. */
void vm_running(struct vmm *v);
void vm_on_event(struct vmm *v, const char *name, const json_t *data, int64_t at_ns);
void vm_kill_unanswering(struct vmm *v);
/* QEMU closes the descriptors of a set that is removed only while the VM runs: remove it then,
 * which may be a second time. */
void vm_forget_set(struct vmm *v, unsigned set);
/* QEMU has stopped the VM since the host's disk is full, or the VM can write again. */
void vm_note_disk(struct vmm *v, bool full);

/* group.c */
/* Make the VM's control group; its process comes in by the door. */
int vm_group_make(const struct vmm *v, struct cgroup_door *door, struct err *err);
void vm_group_remove(const struct vmm *v);
/* For a host without control groups. */
void vm_set_session_nice(pid_t pid, bool background);

/* prepare.c: runs on a worker. Makes v->child or sets *err; then the files are still there. */
int vm_prepare(struct vmm *v, struct err *err);

/* boot.c */
void boot_on_ready(struct vmm *v);

/* origin.c: v->host, for a later daemon. One that finds nothing keeps its own. */
int vm_origin_write(const struct vmm *v, struct err *err);
void vm_origin_read(struct vmm *v);

/* adopt.c */
void adopt_on_ready(struct vmm *v);

#endif
