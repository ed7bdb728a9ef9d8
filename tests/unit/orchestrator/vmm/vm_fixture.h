/* A driver, a loop and a template for tests that run real VMs. */
#ifndef TESTS_UNIT_ORCHESTRATOR_VMM_VM_FIXTURE_H
#define TESTS_UNIT_ORCHESTRATOR_VMM_VM_FIXTURE_H

#include "common/io/defer.h"
#include "orchestrator/vmm/vmm.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

/* uid of the VMs in these tests; as root only. */
#define TEST_UID 201000

/* A VM under emulation on a busy host; past it the test has failed. */
#define TEST_DEADLINE_MS 120000

struct vm_fixture {
    uv_loop_t loop;
    struct defer_queue defer;
    struct vmm_driver *driver;
    struct vmm_template template;
    struct tempdir dir;
    char rootfs[PATH_MAX];
    struct vm_run *runs; /* the VMs that vm_fixture_tidy() ends */
};

/* One VM; static in its test, since the VM may outlive a test that fails. */
struct vm_run {
    struct vm_fixture *f;
    struct vm_run *next; /* of the fixture's */
    struct vmm *v;
    char run_dir[PATH_MAX], top[PATH_MAX];
    uid_t uid;
    bool done, failed, ended, destroyed;
    struct err err;
    enum vmm_end end;
    char detail[256];
    bool full; /* its disk */
    int link;  /* the connected link socket, or -1 */
    char line[256];
};

/* Make the template (cached) and the driver with these ping times (0: defaults). Exits with code 77
 * and a reason when this host cannot run one. */
void vm_fixture_init(struct vm_fixture *f, unsigned ping_interval_ms, unsigned ping_deadline_ms);
/* The same with these options; loop, queue and accelerator are the fixture's. */
void vm_fixture_init_with(struct vm_fixture *f, const struct vmm_driver_options *options);
void vm_fixture_deinit(struct vm_fixture *f);

/* After a test that may have failed: end its VM, empty the directory. */
void vm_fixture_tidy(struct vm_fixture *f);

/* A VM of this name that was not started yet, and its configuration: run directory and top are
 * `name` and `name`.qcow2 in the fixture's directory. */
void vm_run_init(struct vm_fixture *f, struct vm_run *r, const char *name);
void vm_run_config(const struct vm_run *r, struct vmm_config *config);

/* Boot a VM named "run"; its run_dir is made if it is missing. */
void vm_boot_begin(struct vm_fixture *f, struct vm_run *r);
/* Boot one that was initialised. */
void vm_boot_run(struct vm_run *r);
/* Boot "run" and wait for done. */
void vm_boot(struct vm_fixture *f, struct vm_run *r);
/* The same, and the guest must say that it is up; the link is connected. */
void vm_boot_up(struct vm_fixture *f, struct vm_run *r);
void vm_wait_up(struct vm_run *r);
void vm_adopt(struct vm_fixture *f, struct vm_run *r, const struct vmm_record *record);
/* Let go of the VM and take it over again, with this disk. */
void vm_readopt(struct vm_run *r, const struct vmm_disk *disk);
/* A VMM that waits for a snapshot, after vm_run_init(), on the layers of `base` and this memory.
 * Waits for done, which may tell of a failure. */
void vm_start(struct vm_run *r, const struct vmm_disk *base, int memory_fd);

/* Run the loop until *flag; the test fails past TEST_DEADLINE_MS. */
void run_until(struct vm_fixture *f, const bool *flag);

/* Talk to the guest in lines; what it says last is r->line. The loop runs meanwhile. */
void vm_connect(struct vm_run *r);
void vm_send(struct vm_run *r, const char *command);
void vm_read(struct vm_run *r);
const char *vm_ask(struct vm_run *r, const char *command);

/* Let go of the VM. */
void vm_release(struct vm_run *r);

/* Destroy and check that process, run_dir and sockets are gone and the top is not; remove it. */
void vm_destroy(struct vm_run *r);
/* The same for a VM that has no process yet. */
void vm_destroy_begun(struct vm_run *r);

/* Whether a process of this pid lives (a zombie does not). */
bool process_lives(pid_t pid);

#endif
