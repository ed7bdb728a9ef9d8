/* Template images: how they are built, where they lie, how a VM is booted from one. */
#ifndef ORCHESTRATOR_IMAGE_IMAGE_H
#define ORCHESTRATOR_IMAGE_IMAGE_H

#include "common/base/err.h"
#include "orchestrator/image/manifest.h"
#include "orchestrator/store/ids.h"
#include "orchestrator/vmm/board.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct vmm_template;
struct vmm_allowance;

/* The machine that a kernel is made for. */
enum vmm_board image_kernel_board(enum image_kernel kernel);
static inline enum vmm_board image_board(const struct image_manifest *m)
{
    return image_kernel_board(m->kernel_kind);
}

/* What a VMM needs of the build in `dir`: what boots, and the root file system of its disk. */
void image_boot_files(const char *dir, const struct image_manifest *m, struct vmm_template *out,
                      char rootfs[static PATH_MAX]);

/* A build's folder, complete but for its snapshot. */
struct image_save {
    const char *data_dir, *dir;
    const struct image_manifest *manifest;
    const char *accel; /* auto, kvm, tcg */
    unsigned vcpus;    /* 0: what suits the accelerator */
    unsigned memory_mb;
    const char *cgroup; /* as of cgroups_open() */
    const struct vmm_allowance *allowance;
    void (*tell)(void *user, const char *what);
    void *user;
};

/* Boot it once and save it, into <dir>/IMAGE_FILE_LAYER and <dir>/IMAGE_DIR_SNAPSHOT; *vcpus is
 * what the VM has. 0 or -errno. */
typedef int (*image_save_cb)(const struct image_save *what, unsigned *vcpus, struct err *err);

struct image_options {
    const char *data_dir;
    const char *name;   /* of the template, "base" */
    const char *rootfs; /* folder or tar archive of the operator's; NULL: Debian, by mmdebstrap */
    enum image_kernel kernel;
    const char *envd;  /* static envd; NULL: image_find_envd() */
    uint64_t disk_mb;  /* virtual size of the disk */
    const char *accel; /* auto, kvm, tcg; of the VM that is saved */
    unsigned vcpus;    /* 0: what suits the accelerator */
    unsigned memory_mb;
    const char *cgroup; /* where that VM gets a control group, and with what */
    const struct vmm_allowance *allowance;
    image_save_cb save;
    const char *host; /* what a saved VM depends on of this host; part of the key */
    bool refresh;     /* take the newest packages instead of what the cache has */
};

/* What is told while an image is built. */
struct image_progress {
    enum { IMAGE_STEP_BEGINS, IMAGE_STEP_GOES_ON, IMAGE_STEP_DONE, IMAGE_STEP_CACHED } what;
    unsigned step, steps; /* 1..steps; both 0 while another build is waited for */
    const char *name;     /* of the step */
    const char *detail;   /* what it does right now, or what came out; may be empty */
    int64_t elapsed_ms;   /* of the step */
};
typedef void (*image_progress_cb)(void *user, const struct image_progress *p);

struct image_result {
    char template_id[ID_TEMPLATE_SIZE];
    char build_id[ID_UUID_SIZE];
    char dir[PATH_MAX];
    bool unchanged; /* the template's current build was made of the same inputs */
};

/*
 * Build a template: kernel, initramfs, root file system; then make it the current build of that
 * name in the database. Blocking; runs child processes; needs root. Builds wait for each other.
 * What one run finished is in the cache for the next, also when it was interrupted. The build's
 * folder appears whole or not at all. 0 or -errno with a sentence.
 */
int image_build(const struct image_options *o, image_progress_cb progress, void *user,
                struct image_result *out, struct err *err);

/* Make a running image_build() end soon with -EINTR. Async-signal-safe. */
void image_interrupt(void);

/* Where envd is: SANDPIT_ENVD, else beside this program as it is built (../envd/envd) or installed
 * (../lib/sandpit/envd). -ENOENT with what to do. */
int image_find_envd(char out[static PATH_MAX], struct err *err);

#endif
