/* The part of a start that blocks: files, sockets, memory, and the jailed process. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/layers.h"
#include "orchestrator/vmm/unix_socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room in RLIMIT_FSIZE for the overlay's own tables: they grow with the disk, 8 bytes per cluster
 * of level 2 and 2 of refcounts, well under a thousandth. */
#define DISK_SLACK_MB 64

static int fault(const char *name, struct err *err)
{
    return err_set(err, ERR_INTERNAL, EIO, "fault injected at %s", name);
}

/* Descriptors in the order of the command line's numbers. */
struct fd_list {
    int fd[QEMU_NFDS_MAX];
    size_t n;
};

/* Take what was opened, or pass on why it was not. */
static int keep(struct fd_list *l, int fd)
{
    if (fd < 0)
        return fd;
    assert(l->n < QEMU_NFDS_MAX);
    l->fd[l->n++] = fd;
    return 0;
}

static int open_memory(struct vmm *v, struct err *err)
{
    unsigned mb = v->config.memory_mb;
    struct stat st;
    if (FAULT_POINT("vmm.memory"))
        return fault("vmm.memory", err);
    if (v->memory_fd >= 0 && fstat(v->memory_fd, &st) == 0 && st.st_size == (off_t)mb << 20)
        return TAKE_FD(v->memory_fd);
    if (v->memory_fd >= 0)
        return err_set(err, ERR_INVALID, EINVAL, "the memory of the snapshot is not %u MiB", mb);
    AUTO_CLOSE int fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)mb << 20) < 0)
        return err_set(err, ERR_EXHAUSTED, errno, "cannot make %u MiB of guest memory: %s", mb,
                       strerror(errno));
    return TAKE_FD(fd);
}

static int make_socket(const struct vmm *v, const char *name, struct err *err)
{
    char path[PATH_MAX];
    int rc = vm_path(v, name, path, sizeof(path));
    if (rc == 0)
        rc = unix_listen(path);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot make the socket %s/%s: %s", v->run_dir, name,
                       strerror(-rc));
    return rc;
}

static int open_channels(const struct vmm *v, struct fd_list *l, struct err *err)
{
    static const char *const names[] = { RUN_QMP, RUN_LINK, RUN_CONSOLE };
    int rc = FAULT_POINT("vmm.socket") ? fault("vmm.socket", err) : 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++)
        rc = keep(l, make_socket(v, names[i], err));
    return rc;
}

static int open_disk(struct vmm *v, struct fd_list *l, struct err *err)
{
    const struct vmm_disk *d = &v->disk;
    uid_t uid = v->driver->means.own_uid ? v->config.uid : (uid_t)-1;
    int top[2];
    int rc = keep(l, layers_open_frozen(d->rootfs, "root file system", err));
    if (rc == 0)
        rc = layers_open_top(d, v->config.disk_mb, uid, top, &v->made_top, err);
    for (size_t i = 0; i < ARRAY_LEN(top) && rc == 0; i++)
        keep(l, top[i]);
    for (size_t i = 0; i < d->nlayers && rc == 0; i++)
        rc = FAULT_POINT("vmm.layer")
                 ? fault("vmm.layer", err)
                 : keep(l, layers_open_frozen(d->layers[i], "disk layer", err));
    return rc;
}

static int open_template(const struct vmm *v, struct fd_list *l, struct err *err)
{
    if (FAULT_POINT("vmm.template"))
        return fault("vmm.template", err);
    int rc = keep(l, layers_open_frozen(v->config.template.kernel, "kernel", err));
    return rc < 0 ? rc
                  : keep(l, layers_open_frozen(v->config.template.initramfs, "initramfs", err));
}

static int open_all(struct vmm *v, struct fd_list *l, struct err *err)
{
    int rc = keep(l, open_memory(v, err));
    if (rc == 0)
        rc = open_channels(v, l, err);
    if (rc == 0)
        rc = open_disk(v, l, err);
    if (rc == 0 && !v->incoming)
        rc = open_template(v, l, err);
    return rc;
}

/* Write the process down before it runs anything, so that no VMM escapes a daemon that dies now. */
static int write_pid(void *user, pid_t pid, uint64_t ticks, struct err *err)
{
    const struct vmm *v = user;
    char path[PATH_MAX], text[64];
    if (FAULT_POINT("vmm.record"))
        return fault("vmm.record", err);
    if (vm_path(v, RUN_PID, path, sizeof(path)) < 0)
        return err_set(err, ERR_INTERNAL, ENAMETOOLONG, "%s is too long a path", v->run_dir);
    int n = snprintf(text, sizeof(text), "%d %" PRIu64 "\n", (int)pid, ticks);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : fd_write_all(fd, text, (size_t)n);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot write %s: %s", path, strerror(-rc));
    return 0;
}

static int spawn(struct vmm *v, const struct fd_list *l, struct err *err)
{
    const struct vmm_driver *d = v->driver;
    enum vmm_board board = v->config.template.board;
    struct qemu_machine machine = { .program = d->program,
                                    .name = v->run_dir,
                                    .board = board,
                                    .machine = d->machines[board],
                                    .kvm = d->host.kvm,
                                    .tsc_khz = board == VMM_BOARD_MICRO ? d->host.tsc_khz : 0,
                                    .vcpus = v->config.vcpus,
                                    .memory_mb = v->config.memory_mb,
                                    .disk = &v->disk,
                                    .cmdline = v->incoming ? NULL : v->config.template.cmdline };
    struct qemu_args args = { 0 };
    struct cgroup_door door = CGROUP_NO_DOOR;
    uint64_t most_mb = v->config.disk_mb + v->config.disk_mb / 1000 + DISK_SLACK_MB;
    if (most_mb < v->config.memory_mb)
        most_mb = v->config.memory_mb;
    struct jail_spec spec = { .program = d->program,
                              .argv = args.argv,
                              .means = d->means,
                              .uid = v->config.uid,
                              .kvm = d->host.kvm,
                              .max_file_size = most_mb << 20,
                              .fds = l->fd,
                              .nfds = l->n,
                              .log_fd = v->log_fd,
                              .door = &door,
                              .on_forked = write_pid,
                              .user = v };
    int rc = qemu_args_build(&args, &machine, err);
    if (rc == 0 && FAULT_POINT("vmm.spawn"))
        rc = fault("vmm.spawn", err);
    if (rc == 0)
        rc = vm_group_make(v, &door, err);
    if (rc == 0)
        rc = jail_spawn(&v->child, &spec, err);
    if (rc == 0 && v->config.background)
        vm_set_session_nice(v->child.pid, true);
    cgroup_door_close(&door);
    qemu_args_deinit(&args);
    return rc;
}

int vm_prepare(struct vmm *v, struct err *err)
{
    struct fd_list l = { 0 };
    int64_t begun = clock_mono_ns();
    if (FAULT_POINT("vmm.run_dir"))
        return fault("vmm.run_dir", err);
    if (v->incoming && FAULT_POINT("vmm.start"))
        return fault("vmm.start", err);
    if (chmod(v->run_dir, 0700) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot use %s: %s", v->run_dir, strerror(errno));
    v->log_fd = jail_log_new(QEMU_LOG_SIZE);
    if (v->log_fd < 0)
        return err_set(err, ERR_INTERNAL, -v->log_fd, "cannot make a log in memory: %s",
                       strerror(-v->log_fd));

    int rc = open_all(v, &l, err);
    if (rc == 0)
        rc = vm_origin_write(v, err);
    int64_t files = clock_mono_ns();
    if (rc >= 0)
        rc = spawn(v, &l, err);
    /* The VMM has its own: a socket that it does not listen on any more must refuse. */
    while (l.n > 0)
        close(l.fd[--l.n]);
    if (rc >= 0)
        log_debug("vmm started", LOG_STR("id", v->id), LOG_INT("pid", v->child.pid),
                  LOG_INT("files_us", (files - begun) / 1000),
                  LOG_INT("spawn_us", (clock_mono_ns() - files) / 1000));
    return rc < 0 ? rc : 0;
}
