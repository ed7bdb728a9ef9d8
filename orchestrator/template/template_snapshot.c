/*
 * A loop of its own, driven step by step: each step starts one thing and runs the loop until that
 * has ended.
 */
#include "orchestrator/template/template_snapshot.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/cgroup/cgroup.h"
#include "orchestrator/image/image.h"
#include "orchestrator/link/guest_clock.h"
#include "orchestrator/link/guest_command.h"
#include "orchestrator/link/machine_id.h"
#include "orchestrator/snapshot/host_check.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_DEADLINE_MS    180000
#define ANSWER_DEADLINE_MS  60000
#define QUIESCE_DEADLINE_MS 60000
#define DRAIN_MS            2000
#define REST_MS             500
#define CLOCK_TRIES         5

/* The VMM's user, when there is one per VM: above those of sandboxes. */
#define BUILD_UID 201999

/* What the guest has done once before it is saved: a first command in a copy finds its programs in
 * the page cache. */
#define WARM_COMMAND "true; id -u; ls -la / >/dev/null; cat /etc/os-release >/dev/null"
#define WARM_PYTHON  "command -v python3 >/dev/null && python3 -c 'import json' || true"

/* Pages that only the boot needed are given back, so that the saved memory is small. */
#define SHRINK_COMMAND "sync; echo 1 > /proc/sys/vm/compact_memory; true"

struct run {
    const struct image_save *spec;
    uv_loop_t loop;
    struct defer_queue defer;
    struct cgroups cgroups;
    struct vmm_driver *driver;
    struct vmm *vmm;
    struct guest_link *link;
    char run_dir[PATH_MAX], layer[PATH_MAX], copy_layer[PATH_MAX], snapshot_dir[PATH_MAX],
        rootfs[PATH_MAX];
    struct snapshot_manifest manifest;
    unsigned vcpus;
    int memfd;
    /* Of the step under way. */
    bool over, vm_ended;
    int state_fd;
    char boot_id[ID_UUID_SIZE];
    char nonce[33];
    bool nonce_seen;
    bool clock_right; /* the guest's, by its last answer */
    struct err err;
};

static void tell(const struct run *r, const char *what)
{
    r->spec->tell(r->spec->user, what);
}

static void step_over(struct run *r, const struct err *err)
{
    if (err && err->code && !r->err.code)
        r->err = *err;
    r->over = true;
}

/* Run the loop until the step has ended. 0, or -EIO with r->err set. */
static int wait_step(struct run *r)
{
    while (!r->over && !r->vm_ended)
        uv_run(&r->loop, UV_RUN_ONCE);
    r->over = false;
    return r->err.code ? -EIO : 0;
}

static void on_vm_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    struct run *r = vmm_user(v);
    if (!r->err.code)
        err_fill(&r->err, ERR_INTERNAL, "the template's VM ended (%s): %s", vmm_end_name(end),
                 detail);
    r->vm_ended = true;
}

static const struct vmm_events vmm_events = { .on_end = on_vm_end };

static void on_started(struct vmm *v, const struct err *err)
{
    struct run *r = vmm_user(v);
    if (err)
        r->vmm = NULL;
    step_over(r, err);
}

static void on_done(void *user, const struct err *err)
{
    step_over(user, err);
}

static void on_hello(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    struct run *r = user;
    const Sandpit__Guest__V1__HelloResponse *h = (const void *)msg;
    struct err wrong = { 0 };
    if (!err && h->protocol != GUEST_PROTOCOL)
        err_fill(&wrong, ERR_PRECONDITION, "envd speaks guest protocol %u, this sandpit %d",
                 h->protocol, GUEST_PROTOCOL);
    if (!err)
        snprintf(r->boot_id, sizeof(r->boot_id), "%s", h->boot_id);
    step_over(r, err ? err : &wrong);
}

static int hello(struct run *r, const uint8_t *secret, bool running, unsigned deadline_ms)
{
    Sandpit__Guest__V1__HelloRequest request = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    request.protocol = GUEST_PROTOCOL;
    if (!r->link) {
        r->link = guest_link_new(&r->loop, &r->defer, vmm_link_address(r->vmm), secret, NULL, NULL);
        if (r->link && !running)
            guest_link_set_vm_running(r->link, false);
    }
    if (!running)
        return r->link ? 0 : -ENOMEM;
    if (!r->link ||
        !guest_link_call(r->link, "/sandpit.guest.v1.Guest/Hello", &request.base,
                         &sandpit__guest__v1__hello_response__descriptor, deadline_ms, on_hello, r))
        return err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return wait_step(r);
}

static void on_output(void *user, const uint8_t *output, size_t n, const struct err *err)
{
    struct run *r = user;
    r->nonce_seen = n && memmem(output, n, r->nonce, strlen(r->nonce));
    step_over(r, err);
}

static int command(struct run *r, const char *user, const char *text)
{
    const char *const args[] = { "-l", "-c", text, NULL };
    if (!guest_command_run(r->link, user, "/bin/bash", args, on_output, r))
        return err_set(&r->err, ERR_UNAVAILABLE, ENOTCONN, "the guest link is down");
    return wait_step(r);
}

static void on_answer(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    (void)msg;
    step_over(user, err);
}

static void on_refreshed(void *user, const ProtobufCMessage *msg, const struct err *err)
{
    const Sandpit__Guest__V1__RefreshResponse *answer = (const void *)msg;
    struct run *r = user;
    int64_t now = clock_wall_ns();
    r->clock_right = !err && guest_clock_is_right(answer->wall_clock_ns, now, now);
    step_over(user, err);
}

/* Copies move their clock on by how long they stood still, so it is to be right in here. A host
 * that is busy at each try has a template whose copies set their clock. */
static int set_clock(struct run *r)
{
    int rc = 0;
    for (int i = 0; i < CLOCK_TRIES && rc == 0 && !r->clock_right; i++) {
        Sandpit__Guest__V1__RefreshRequest request = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
        request.wall_clock_ns = clock_wall_ns();
        if (!guest_link_call(r->link, "/sandpit.guest.v1.Guest/Refresh", &request.base,
                             &sandpit__guest__v1__refresh_response__descriptor, ANSWER_DEADLINE_MS,
                             on_refreshed, r))
            return err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        rc = wait_step(r);
    }
    return rc;
}

static int quiesce(struct run *r)
{
    Sandpit__Guest__V1__QuiesceRequest request = SANDPIT__GUEST__V1__QUIESCE_REQUEST__INIT;
    request.sync = true;
    if (!guest_link_call(r->link, "/sandpit.guest.v1.Guest/Quiesce", &request.base,
                         &sandpit__guest__v1__quiesce_response__descriptor, QUIESCE_DEADLINE_MS,
                         on_answer, r))
        return err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return wait_step(r);
}

/* Be what each copy will be: its files are there then and in the page cache, and envd's memory for
 * it is its own. A copy writes all of it anew. */
static int rehearse(struct run *r)
{
    Sandpit__Guest__V1__ConfigureRequest request = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    uint8_t entropy[GUEST_ENTROPY_SIZE];
    char name[] = "template", user[] = "user", machine_id[MACHINE_ID_SIZE];
    id_random_bytes(entropy, sizeof(entropy));
    machine_id_of(name, machine_id);
    request.rehearsal = true;
    request.sandbox_id = request.hostname = name;
    request.machine_id = machine_id;
    request.default_user = user;
    request.wall_clock_ns = clock_wall_ns();
    request.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    if (!guest_link_call(r->link, "/sandpit.guest.v1.Guest/Configure", &request.base,
                         &sandpit__guest__v1__configure_response__descriptor, ANSWER_DEADLINE_MS,
                         on_answer, r))
        return err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return wait_step(r);
}

static void on_rested(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
    step_over(timer->data, NULL);
}

/* Let the guest come to rest: what it would still do, each of its copies would do. */
static int rest(struct run *r)
{
    uv_timer_t timer = { .data = r };
    uv_timer_init(&r->loop, &timer);
    uv_timer_start(&timer, on_rested, REST_MS, 0);
    int rc = wait_step(r);
    if (!uv_is_closing((uv_handle_t *)&timer))
        uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    return rc;
}

static void on_drained(void *user, int rc)
{
    (void)rc;
    step_over(user, NULL);
}

static void on_state(void *user, int state_fd, const struct err *err)
{
    struct run *r = user;
    r->state_fd = state_fd;
    step_over(r, err);
}

static void on_destroyed(void *user)
{
    struct run *r = user;
    r->vmm = NULL;
    step_over(r, NULL);
}

/* Let go of the VM; its run directory goes too. */
static void end_vm(struct run *r)
{
    if (r->link)
        guest_link_close(TAKE(r->link));
    if (!r->vmm)
        return;
    vmm_destroy(r->vmm, on_destroyed, r);
    r->over = r->vm_ended = false;
    while (!r->over)
        uv_run(&r->loop, UV_RUN_ONCE);
    r->over = false;
}

static void fill_config(struct run *r, struct vmm_config *c, const char *top)
{
    const struct image_manifest *m = r->spec->manifest;
    *c = (struct vmm_config){ .id = "template",
                              .run_dir = r->run_dir,
                              .vcpus = r->vcpus,
                              .memory_mb = r->spec->memory_mb,
                              .disk_mb = m->disk_mb,
                              .uid = geteuid() == 0 ? BUILD_UID : (uid_t)-1,
                              .memory_fd = -1 };
    image_boot_files(r->spec->dir, m, &c->template, r->rootfs);
    c->disk.rootfs = r->rootfs;
    c->disk.top = top;
}

static int boot(struct run *r)
{
    struct vmm_config config;
    tell(r, "booting");
    fill_config(r, &config, r->layer);
    r->vmm = vmm_boot(r->driver, &config, &vmm_events, r, on_started);
    if (!r->vmm)
        return err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = wait_step(r);
    if (rc == 0)
        rc = hello(r, LINK_SECRET_INITIAL, true, BOOT_DEADLINE_MS);
    return rc;
}

static int settle(struct run *r)
{
    tell(r, "running first commands");
    int rc = command(r, "user", WARM_COMMAND);
    if (rc == 0)
        rc = command(r, "user", WARM_PYTHON);
    if (rc == 0)
        rc = command(r, "root", SHRINK_COMMAND);
    if (rc == 0)
        rc = rehearse(r);
    if (rc == 0)
        rc = quiesce(r);
    if (rc == 0)
        rc = set_clock(r);
    if (rc < 0)
        return rc;
    guest_link_quiesce(r->link, DRAIN_MS, GUEST_LINK_END_TOLD, on_drained, r);
    rc = wait_step(r);
    return rc == 0 ? rest(r) : rc;
}

static int fill_manifest(struct run *r)
{
    const struct image_manifest *image = r->spec->manifest;
    struct snapshot_manifest *m = &r->manifest;
    enum vmm_board board = image_board(image);
    snprintf(m->id, sizeof(m->id), "%s", image->build_id);
    clock_rfc3339(clock_wall_ns(), m->created);
    snprintf(m->kernel, sizeof(m->kernel), "%s", image->kernel.sha256);
    snapshot_digest_text(image->cmdline, m->cmdline);
    snapshot_digest_text(vmm_devices_text(r->driver, board), m->devices);
    m->vcpus = r->vcpus;
    m->memory_mb = r->spec->memory_mb;
    m->disk_mb = image->disk_mb;
    snprintf(m->envd_version, sizeof(m->envd_version), "%s", image->envd_version);
    m->guest_protocol = GUEST_PROTOCOL;
    snprintf(m->boot_id, sizeof(m->boot_id), "%s", r->boot_id);
    memcpy(m->link_secret, LINK_SECRET_INITIAL, sizeof(m->link_secret));
    snprintf(m->build_id, sizeof(m->build_id), "%s", image->build_id);
    m->clock_stopped_ns = r->clock_right ? (uint64_t)vmm_stopped_ns(r->vmm) : 0;
    return snapshot_describe_host(m, vmm_driver_host(r->driver), board, &r->err);
}

static int write_snapshot(struct run *r)
{
    struct vmm_memory memory;
    int dirfd = -1;
    int rc = fill_manifest(r);
    if (rc == 0)
        rc = vmm_memory(r->vmm, &memory, &r->err);
    if (rc == 0)
        rc = snapshot_begin(r->snapshot_dir, &dirfd, &r->err);
    if (rc < 0)
        return rc;
    rc = snapshot_put_state(dirfd, r->state_fd, &r->manifest, &r->err);
    if (rc == 0)
        rc = memory_save(&memory, dirfd, SNAPSHOT_FILE_MEMORY, true, &r->manifest.memory, &r->err);
    if (rc < 0) {
        snapshot_abort(r->snapshot_dir, dirfd);
        return rc;
    }
    return snapshot_commit(r->snapshot_dir, dirfd, &r->manifest, &r->err);
}

static int save(struct run *r)
{
    tell(r, "saving");
    vmm_pause(r->vmm, on_done, r);
    int rc = wait_step(r);
    if (rc < 0)
        return rc;
    vmm_save(r->vmm, on_state, r);
    rc = wait_step(r);
    if (rc == 0 && FAULT_POINT("image.snapshot"))
        rc = err_set(&r->err, ERR_INTERNAL, EIO, "fault image.snapshot");
    if (rc == 0)
        rc = write_snapshot(r);
    if (r->state_fd >= 0)
        close(TAKE_FD(r->state_fd));
    end_vm(r);
    return rc;
}

/* The frozen layer is nobody's to write any more, and every daemon's to read. */
static int freeze_layer(struct run *r)
{
    AUTO_CLOSE int fd = open(r->layer, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fchown(fd, geteuid(), getegid()) < 0 || fchmod(fd, 0444) < 0 || fsync(fd) < 0)
        return err_set(&r->err, ERR_INTERNAL, errno, "cannot keep the disk %s: %s", r->layer,
                       strerror(errno));
    return 0;
}

static int start_copy(struct run *r)
{
    struct vmm_config config;
    fill_config(r, &config, r->copy_layer);
    config.disk.layers[config.disk.nlayers++] = r->layer;
    config.memory_fd = r->memfd;
    int rc = file_make_dirs(r->run_dir, 0700, &r->err);
    if (rc < 0)
        return rc;
    r->vmm = vmm_start(r->driver, &config, &vmm_events, r, on_started);
    return r->vmm ? wait_step(r) : err_set(&r->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

/* A copy must run a command whose output nobody can guess. */
static int try_copy(struct run *r)
{
    uint8_t random[16];
    char text[80];
    int dirfd = -1;
    tell(r, "trying a restored copy");
    id_random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), r->nonce);
    snprintf(text, sizeof(text), "echo %s", r->nonce);

    int rc = snapshot_open(r->snapshot_dir, &r->manifest, &dirfd, &r->state_fd, &r->err);
    if (rc == 0)
        rc = memory_load(dirfd, SNAPSHOT_FILE_MEMORY, &r->manifest.memory,
                         (uint64_t)r->spec->memory_mb << 20, &r->memfd, &r->err);
    if (dirfd >= 0)
        close(dirfd);
    if (rc == 0)
        rc = start_copy(r);
    if (rc == 0)
        rc = hello(r, r->manifest.link_secret, false, 0);
    if (rc == 0) {
        vmm_load(r->vmm, r->state_fd, on_done, r);
        rc = wait_step(r);
    }
    if (rc == 0) {
        vmm_resume(r->vmm, on_done, r);
        rc = wait_step(r);
    }
    if (rc == 0) {
        guest_link_set_vm_running(r->link, true);
        rc = hello(r, r->manifest.link_secret, true, ANSWER_DEADLINE_MS);
    }
    if (rc == 0)
        rc = command(r, "user", text);
    if (rc == 0 && !r->nonce_seen)
        rc = err_set(&r->err, ERR_INTERNAL, EIO, "a restored copy did not run a command");
    end_vm(r);
    return rc;
}

static int open_run(struct run *r)
{
    const char *dir = r->spec->dir;
    const struct cgroups_options groups = { .where = r->spec->cgroup, .owner = r->run_dir };
    const struct vmm_driver_options options = { .loop = &r->loop,
                                                .defer = &r->defer,
                                                .accel = r->spec->accel,
                                                .cgroups = &r->cgroups,
                                                .allowance = *r->spec->allowance };
    if (snprintf(r->run_dir, sizeof(r->run_dir), "%s/run/.build", r->spec->data_dir) >=
            (int)sizeof(r->run_dir) ||
        snprintf(r->layer, sizeof(r->layer), "%s/" IMAGE_FILE_LAYER, dir) >=
            (int)sizeof(r->layer) ||
        snprintf(r->copy_layer, sizeof(r->copy_layer), "%s/copy.qcow2", dir) >=
            (int)sizeof(r->copy_layer) ||
        snprintf(r->snapshot_dir, sizeof(r->snapshot_dir), "%s/" IMAGE_DIR_SNAPSHOT, dir) >=
            (int)sizeof(r->snapshot_dir))
        return err_set(&r->err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    cgroups_open(&r->cgroups, &groups);
    int rc = vmm_driver_new(&r->driver, &options, &r->err);
    vmm_sweep(r->run_dir, NULL); /* a builder that was killed; there is one at a time */
    if (rc == 0)
        vmm_driver_tidy(r->driver);
    if (rc == 0)
        rc = file_make_dirs(r->run_dir, 0700, &r->err);
    r->vcpus = r->spec->vcpus;
    if (rc == 0 && !r->vcpus)
        r->vcpus = vmm_driver_host(r->driver)->kvm ? 2 : 1;
    return rc;
}

static void close_run(struct run *r, bool failed)
{
    end_vm(r);
    if (r->state_fd >= 0)
        close(r->state_fd);
    if (r->memfd >= 0)
        close(r->memfd);
    unlink(r->copy_layer);
    file_remove_tree(r->run_dir, NULL);
    if (failed) {
        unlink(r->layer);
        snapshot_remove(r->snapshot_dir, &(struct err){ 0 });
    }
    if (r->driver)
        vmm_driver_free(r->driver);
    defer_queue_close(&r->defer);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    uv_loop_close(&r->loop);
    cgroups_close(&r->cgroups);
}

int template_snapshot_make(const struct image_save *spec, unsigned *vcpus, struct err *err)
{
    AUTO_FREE struct run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    r->spec = spec;
    r->state_fd = r->memfd = -1;
    uv_loop_init(&r->loop);
    defer_queue_init(&r->defer, &r->loop);
    int rc = open_run(r);
    if (rc == 0)
        rc = boot(r);
    if (rc == 0)
        rc = settle(r);
    if (rc == 0)
        rc = save(r);
    if (rc == 0)
        rc = freeze_layer(r);
    if (rc == 0)
        rc = try_copy(r);
    *vcpus = r->vcpus;
    close_run(r, rc < 0);
    if (rc < 0)
        *err = r->err;
    return rc;
}

/* A processor counts: one that the guest sees, or one that its clock was set by. In steps that are
 * so wide that two measurements are the same one. */
#define TSC_STEP_KHZ       10000
#define PROCESSOR_TEXT_MAX 256

static int describe_processor(const struct vmm_host *h, enum vmm_board board, char *out, size_t n,
                              struct err *err)
{
    AUTO_FREE struct snapshot_manifest *m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = snapshot_describe_host(m, h, board, err);
    if (rc == 0 && h->kvm)
        snprintf(out, n, "%s %s", m->cpu_model, m->cpu_flags);
    else if (rc == 0)
        snprintf(out, n, "%u", (h->tsc_khz + TSC_STEP_KHZ / 2) / TSC_STEP_KHZ);
    return rc;
}

int template_snapshot_host(const char *accel, enum image_kernel kernel, char *out, size_t n,
                           struct err *err)
{
    uv_loop_t loop;
    struct defer_queue defer;
    struct vmm_driver *driver = NULL;
    enum vmm_board board = image_kernel_board(kernel);
    char processor[PROCESSOR_TEXT_MAX];
    uv_loop_init(&loop);
    defer_queue_init(&defer, &loop);
    const struct vmm_driver_options options = { .loop = &loop, .defer = &defer, .accel = accel };
    int rc = vmm_driver_new(&driver, &options, err);
    if (rc == 0) {
        const struct vmm_host *h = vmm_driver_host(driver);
        rc = describe_processor(h, board, processor, sizeof(processor), err);
        if (rc == 0)
            snprintf(out, n, "%s %s %s %s", h->accelerator, h->version, processor,
                     vmm_devices_text(driver, board));
        vmm_driver_free(driver);
    }
    defer_queue_close(&defer);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return rc;
}
