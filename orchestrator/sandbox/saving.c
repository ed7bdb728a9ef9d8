#include "orchestrator/sandbox/saving.h"

#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/link/guest_protocol.h"
#include "common/base/log.h"
#include "orchestrator/image/image.h"
#include "orchestrator/sandbox/guest_identity.h"
#include "orchestrator/snapshot/durable.h"
#include "orchestrator/snapshot/host_check.h"
#include "orchestrator/snapshot/pages.h"
#include "orchestrator/snapshot/parallel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Free on the data directory's file system after a snapshot was written. */
#define DISK_RESERVED_MB 64

void saving_init(struct saving *s)
{
    *s = (struct saving){ .state_fd = -1 };
}

static int check_space(const struct saving *s, uint64_t bytes, struct err *err)
{
    const char *data_dir = s->own->sb.host->config->data_dir;
    struct statvfs fs;
    if (statvfs(data_dir, &fs) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot look at %s: %s", data_dir,
                       strerror(errno));
    uint64_t need_mb = (bytes >> 20) + DISK_RESERVED_MB;
    uint64_t have_mb = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
    if (have_mb >= need_mb)
        return 0;
    return err_set(
        err, ERR_EXHAUSTED, ENOSPC,
        "the host's disk is full: saving this sandbox needs up to %llu MB, %llu are free",
        (unsigned long long)need_mb, (unsigned long long)have_mb);
}

static void fill_manifest(struct saving *s, const char *snapshot_id)
{
    const struct sandbox_own *own = s->own;
    const struct sandbox *sb = &own->sb;
    struct snapshot_manifest *m = &s->manifest;
    snprintf(m->id, sizeof(m->id), "%s", snapshot_id);
    clock_rfc3339(clock_wall_ns(), m->created);
    snprintf(m->envd_version, sizeof(m->envd_version), "%s", sb->envd_version);
    m->guest_protocol = GUEST_PROTOCOL;
    memcpy(m->build_id, own->image_build_id, sizeof(m->build_id));
    memcpy(m->base_build_id, own->base_build_id, sizeof(m->base_build_id));
    m->vcpus = sb->vcpus;
    m->memory_mb = sb->memory_mb;
    m->disk_mb = sb->disk_mb;
    m->guest_unresponsive = sb->unresponsive_at_pause;
    memcpy(m->link_secret, own->link_secret, sizeof(m->link_secret));
    m->clock_stopped_ns = guest_clock_stopped_ns(own);
}

/* The machine that the snapshot is of. */
static int describe_machine(struct saving *s)
{
    struct snapshot_manifest *m = &s->manifest;
    const struct vmm_driver *driver = s->own->sb.host->driver;
    struct image_manifest image;
    enum vmm_board board;
    if (image_manifest_load(s->own->image_dir, &image, &s->beside_err) < 0)
        return -EIO;
    snprintf(m->kernel, sizeof(m->kernel), "%s", image.kernel.sha256);
    snapshot_digest_text(image.cmdline, m->cmdline);
    board = image_board(&image);
    snapshot_digest_text(vmm_devices_text(driver, board), m->devices);
    return snapshot_describe_host(m, vmm_host_of(s->own->sb.vmm), board, &s->beside_err);
}

int saving_prepare(struct saving *s, struct sandbox_own *own, const char *snapshot_id,
                   struct err *err)
{
    s->own = own;
    layer_path(own->sb.host, own->layer_id, s->disk);
    if (!snapshot_id)
        return 0;
    snapshot_folder(own->sb.host, snapshot_id, s->dir);
    int rc = vmm_memory(own->sb.vmm, &s->memory, err);
    if (rc == 0)
        fill_manifest(s, snapshot_id);
    return rc;
}

/* On a worker. */
static void capture(uv_work_t *work)
{
    struct saving *s = container_of(work, struct saving, work);
    uint64_t bytes = 0;
    if (memory_dirty_bytes(&s->memory, &bytes, &s->err) == 0 && check_space(s, bytes, &s->err) == 0)
        memory_capture(&s->memory, &s->copy, &s->err);
}

/* With its name, and that of an overlay that was put on it. */
static int sync_disk(const char *path, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : durable_parent(path);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot write the disk %s: %s", path, strerror(-rc));
    return 0;
}

static void write_memory(struct saving *s)
{
    bool on_zeros = s->manifest.base_build_id[0] == '\0';
    struct memory_file *out = &s->manifest.memory;
    struct page_set set = { 0 };
    if (s->copy)
        memory_write(s->copy, s->dirfd, SNAPSHOT_FILE_MEMORY, on_zeros, out, &s->err);
    else if (pages_scan(&s->memory, &set, &s->err) == 0 &&
             check_space(s, set.pages * PAGE_BYTES, &s->err) == 0)
        memory_save_pages(&s->memory, &set, s->dirfd, SNAPSHOT_FILE_MEMORY, on_zeros, out, &s->err);
    page_set_deinit(&set);
}

/* What waits for the disk, or is one thread's work: beside the memory it takes no time. */
static void write_rest(struct saving *s)
{
    if (sync_disk(s->disk, &s->beside_err) == 0 && describe_machine(s) == 0)
        snapshot_put_state(s->dirfd, s->state_fd, &s->manifest, &s->beside_err);
}

static void (*const parts[])(struct saving *s) = { write_memory, write_rest };

static void write_part(void *user)
{
    struct saving *s = user;
    size_t i;
    while ((i = s->parts++) < ARRAY_LEN(parts))
        parts[i](s);
}

static void write_snapshot(struct saving *s)
{
    if (snapshot_begin(s->dir, &s->dirfd, &s->err) < 0)
        return;
    parallel_run(ARRAY_LEN(parts), write_part, s);
    if (!s->err.code)
        s->err = s->beside_err;
    if (s->err.code)
        snapshot_abort(s->dir, s->dirfd);
    else
        s->begun = snapshot_commit(s->dir, s->dirfd, &s->manifest, &s->err) == 0;
}

/* On a worker. */
static void write_all(uv_work_t *work)
{
    struct saving *s = container_of(work, struct saving, work);
    if (s->dir[0])
        write_snapshot(s);
    else
        sync_disk(s->disk, &s->err);
}

static void on_done(uv_work_t *work, int status)
{
    (void)status;
    struct saving *s = container_of(work, struct saving, work);
    struct err err = s->err;
    blame_host_for_lack(&err);
    s->done(s->user, err.code ? &err : NULL);
}

static void queue(struct saving *s, void (*work)(uv_work_t *),
                  void (*done)(void *user, const struct err *err), void *user)
{
    s->done = done;
    s->user = user;
    if (uv_queue_work(s->own->sb.host->loop, &s->work, work, on_done) < 0)
        abort(); /* libuv refuses only what is no work at all */
}

void saving_capture(struct saving *s, void (*done)(void *user, const struct err *err), void *user)
{
    queue(s, capture, done, user);
}

void saving_write(struct saving *s, void (*done)(void *user, const struct err *err), void *user)
{
    queue(s, write_all, done, user);
}

void saving_undo(struct saving *s)
{
    struct err err;
    if (s->begun && snapshot_remove(s->dir, &err) < 0)
        log_warn("a snapshot that nothing needs is left", LOG_STR("reason", err.msg));
    s->begun = false;
}

void saving_end(struct saving *s)
{
    if (s->state_fd >= 0)
        close(TAKE_FD(s->state_fd));
    if (s->copy)
        memory_copy_free(TAKE(s->copy));
}
