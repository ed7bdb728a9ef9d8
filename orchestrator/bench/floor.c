/*
 * The floors: each operation with the VMM's control socket and the guest link alone, one VM at a
 * time. What the daemon adds is HTTP, its database, a sandbox's record and durable files.
 */
#include "orchestrator/bench/bench.h"
#include "orchestrator/bench/single_vm.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/image/image.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* The VMM's user: above those of sandboxes and of the image builder. */
#define FLOOR_UID 202000

#define CALL_TIMEOUT_MS    30000
#define COMMAND_TIMEOUT_MS 60000
#define QUIET_TIMEOUT_MS   2000
#define FILE_DIRTY         "dirty"

struct floor {
    const struct bench_options *o;
    struct single_vm *vm;
    struct snapshot_manifest manifest;
    int state_fd, base_fd, dir_fd;
    char rootfs[PATH_MAX], layer[PATH_MAX], top[PATH_MAX], spare_top[PATH_MAX], run_dir[PATH_MAX];
    struct vmm_config config;
    struct samples ops[BENCH_OP_NR];
};

static int prepare(struct floor *f, const char *build, const char *dir, struct err *err)
{
    char snapshot[PATH_MAX];
    struct image_manifest image;
    AUTO_CLOSE int snapshot_fd = -1;
    if (snprintf(snapshot, sizeof(snapshot), "%s/" IMAGE_DIR_SNAPSHOT, build) >= PATH_MAX ||
        snprintf(f->rootfs, sizeof(f->rootfs), "%s/" IMAGE_FILE_ROOTFS, build) >= PATH_MAX ||
        snprintf(f->layer, sizeof(f->layer), "%s/" IMAGE_FILE_LAYER, build) >= PATH_MAX ||
        snprintf(f->top, sizeof(f->top), "%s/top.qcow2", dir) >= PATH_MAX ||
        snprintf(f->spare_top, sizeof(f->spare_top), "%s/spare.qcow2", dir) >= PATH_MAX ||
        snprintf(f->run_dir, sizeof(f->run_dir), "%s/vm", dir) >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = image_manifest_load(build, &image, err);
    if (rc == 0)
        rc = single_vm_open(&f->vm, f->o->accel, f->o->cgroup, &f->o->allowance, err);
    if (rc == 0)
        rc = snapshot_open(snapshot, &f->manifest, &snapshot_fd, &f->state_fd, err);
    if (rc == 0)
        rc = memory_load(snapshot_fd, SNAPSHOT_FILE_MEMORY, &f->manifest.memory,
                         (uint64_t)f->manifest.memory_mb << 20, &f->base_fd, err);
    if (rc < 0)
        return rc;
    f->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir_fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "open %s: %s", dir, strerror(errno));
    f->config = (struct vmm_config){
        .id = "floor",
        .run_dir = f->run_dir,
        .template = { .board = image_board(&image) },
        .disk = { .rootfs = f->rootfs, .layers = { f->layer }, .nlayers = 1, .top = f->top },
        .vcpus = f->manifest.vcpus,
        .memory_mb = f->manifest.memory_mb,
        .disk_mb = f->manifest.disk_mb,
        .uid = geteuid() == 0 ? FLOOR_UID : (uid_t)-1,
        .memory_fd = f->base_fd,
    };
    return 0;
}

static int start_vmm(struct floor *f, const char *top, struct err *err)
{
    struct vmm_config config = f->config;
    config.disk.top = top;
    int rc = file_make_dirs(f->run_dir, 0700, err);
    return rc == 0 ? single_vm_start(f->vm, &config, err) : rc;
}

static int open_link(struct floor *f, struct err *err)
{
    return single_vm_link(f->vm, f->manifest.link_secret, false, err);
}

static int start(struct floor *f, struct err *err)
{
    int rc = start_vmm(f, f->top, err);
    return rc == 0 ? open_link(f, err) : rc;
}

/* As a resume begins: with a VMM that waits for nobody in particular, or with none. */
static int start_again(struct floor *f, int64_t *begun, struct err *err)
{
    *begun = clock_mono_ns();
    if (f->o->pool == BENCH_NONE)
        return start(f, err);
    int rc = start_vmm(f, f->spare_top, err);
    *begun = clock_mono_ns();
    if (rc == 0)
        rc = single_vm_replace_disk(f->vm, &f->config.disk, err);
    unlink(f->spare_top);
    return rc == 0 ? open_link(f, err) : rc;
}

static int configure(struct floor *f, bool rehearsal, struct err *err)
{
    char id[] = "ifloor", machine_id[] = "0123456789abcdef0123456789abcdef", user[] = "user";
    uint8_t entropy[GUEST_ENTROPY_SIZE];
    Sandpit__Guest__V1__ConfigureRequest r = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    if (getrandom(entropy, sizeof(entropy), 0) != (ssize_t)sizeof(entropy))
        return err_set(err, ERR_INTERNAL, EIO, "no entropy: %s", strerror(errno));
    r.rehearsal = rehearsal;
    r.sandbox_id = id;
    r.template_id = id;
    r.hostname = id;
    r.machine_id = machine_id;
    r.default_user = user;
    r.wall_clock_ns = clock_wall_ns();
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    return single_vm_call_first(f->vm, GUEST_LINK_FIRST_CONFIGURE, &r.base, CALL_TIMEOUT_MS, err);
}

static int refresh(struct floor *f, struct err *err)
{
    Sandpit__Guest__V1__RefreshRequest r = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    r.wall_clock_ns = clock_wall_ns();
    return single_vm_call_first(f->vm, GUEST_LINK_FIRST_REFRESH, &r.base, CALL_TIMEOUT_MS, err);
}

static int create(struct floor *f, struct err *err)
{
    enum bench_pool pool = f->o->pool;
    int64_t begun = clock_mono_ns();
    int rc = start(f, err);
    if (rc == 0 && pool == BENCH_WAITING)
        begun = clock_mono_ns();
    if (rc == 0)
        rc = single_vm_load(f->vm, f->state_fd, err);
    if (rc == 0 && pool == BENCH_HOT) {
        rc = single_vm_resume(f->vm, err);
        if (rc == 0)
            rc = configure(f, true, err);
        if (rc == 0)
            rc = single_vm_pause(f->vm, err);
        begun = clock_mono_ns();
    }
    if (rc == 0)
        rc = single_vm_resume(f->vm, err);
    if (rc == 0)
        rc = configure(f, false, err);
    samples_add_since(&f->ops[BENCH_CREATE], begun);
    return rc;
}

static int run_command(struct floor *f, struct err *err)
{
    char nonce[ID_UUID_SIZE], command[ID_UUID_SIZE + 16];
    id_uuid(nonce);
    snprintf(command, sizeof(command), "printf %%s %s", nonce);
    int64_t begun = clock_mono_ns();
    int rc = single_vm_run(f->vm, "user", command, nonce, COMMAND_TIMEOUT_MS, err);
    samples_add_since(&f->ops[BENCH_FIRST_COMMAND], begun);
    return rc;
}

static int pause_and_resume(struct floor *f, struct err *err)
{
    AUTO_CLOSE int state_fd = -1;
    struct vmm_memory memory;
    struct memory_file dirty;
    int64_t begun = clock_mono_ns();
    int rc = single_vm_unlink(f->vm, QUIET_TIMEOUT_MS, err);
    if (rc == 0)
        rc = single_vm_pause(f->vm, err);
    if (rc == 0)
        rc = single_vm_save(f->vm, &state_fd, err);
    if (rc == 0)
        rc = vmm_memory(single_vm_vmm(f->vm), &memory, err);
    if (rc == 0)
        rc = memory_save(&memory, f->dir_fd, FILE_DIRTY, false, &dirty, err);
    samples_add_since(&f->ops[BENCH_PAUSE], begun);
    single_vm_destroy(f->vm);
    if (rc < 0)
        return rc;

    rc = start_again(f, &begun, err);
    if (rc == 0)
        rc = vmm_memory(single_vm_vmm(f->vm), &memory, err);
    if (rc == 0)
        rc = memory_apply(f->dir_fd, FILE_DIRTY, &dirty, &memory, err);
    if (rc == 0)
        rc = single_vm_load(f->vm, state_fd, err);
    if (rc == 0)
        rc = single_vm_resume(f->vm, err);
    if (rc == 0)
        rc = refresh(f, err);
    samples_add_since(&f->ops[BENCH_RESUME], begun);
    unlinkat(f->dir_fd, FILE_DIRTY, 0);
    return rc;
}

static int measure_one(struct floor *f, struct err *err)
{
    int rc = create(f, err);
    if (rc == 0)
        rc = run_command(f, err);
    if (rc == 0)
        rc = pause_and_resume(f, err);
    int64_t begun = clock_mono_ns();
    single_vm_destroy(f->vm);
    if (rc == 0)
        samples_add_since(&f->ops[BENCH_KILL], begun);
    unlink(f->top);
    return rc;
}

int bench_floor(const struct bench_options *o, const char *build, const char *dir,
                double out[static BENCH_OP_NR], struct err *err)
{
    AUTO_FREE struct floor *f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    f->o = o;
    f->state_fd = f->base_fd = f->dir_fd = -1;
    int rc = prepare(f, build, dir, err);
    for (unsigned i = 0; i < o->n && rc == 0 && !bench_interrupted(); i++)
        rc = measure_one(f, err);
    single_vm_close(f->vm);
    for (size_t i = 0; i < BENCH_OP_NR; i++) {
        out[i] = samples_quantile(&f->ops[i], 0.5);
        samples_deinit(&f->ops[i]);
    }
    int fds[] = { f->state_fd, f->base_fd, f->dir_fd };
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}
