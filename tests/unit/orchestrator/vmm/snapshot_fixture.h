/* Saving, loading and switching in the tests of real VMs, with what must be true each time. */
#ifndef TESTS_UNIT_ORCHESTRATOR_VMM_SNAPSHOT_FIXTURE_H
#define TESTS_UNIT_ORCHESTRATOR_VMM_SNAPSHOT_FIXTURE_H

#include "guest_memory.h"
#include "vm_fixture.h"

extern struct vm_fixture fixture;

/* What the callbacks of an operation told. */
struct told {
    bool done;
    struct err err;
    int fd;
};

void on_told(void *user, const struct err *err);
void on_saved(void *user, int state_fd, const struct err *err);

/* Wait for it. */
void expect_ok(struct told *t);
void expect_error(struct told *t, enum err_code code, const char *words);

/* Each waits for its end, which must be good. The state belongs to the caller. */
void pause_vm(struct vm_run *r);
void resume_vm(struct vm_run *r);
int save_vm(struct vm_run *r);
void load_vm(struct vm_run *r, int state);

/* What a template is: memory, device state, and a frozen layer. */
struct saved {
    int memory, state;
    char layer[PATH_MAX];
    struct vmm_disk disk;
};

/* Made once from a VM that has written to its disk and knows a word. */
struct saved *template(void);

/* A VMM that waits, on the layers of `base` and this memory. */
void start_vm(struct vm_run *r, const char *name, const struct vmm_disk *base, int memory);
/* Resume one that was loaded; it must answer. */
void go_on(struct vm_run *r);
/* All of that, with the template. */
void clone_up(struct vm_run *r, const char *name);

/* Freeze the top of `r`; `name` is the new one. */
void switch_disk(struct vm_run *r, const char *name);
void remove_layers(const struct vmm_disk *d, size_t from);

/* A file of a disk must be sound, and tell what it stands on. */
void check_disk(const char *path);

/* Whether the process has a file, or memory, of this name open. */
bool has_open(pid_t pid, const char *name);

/* Of cmocka: end what a test left. */
int tidy(void **state);

#endif
