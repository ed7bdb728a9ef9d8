/* The part of a start that blocks: files, sockets, memory, and the jailed process. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/disk.h"
#include "orchestrator/vmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Room in RLIMIT_FSIZE for the overlay's own tables: they grow with the disk, 8 bytes per cluster
 * of level 2 and 2 of refcounts, well under a thousandth. */
#define DISK_SLACK_MB 64

static int fault(const char *name, struct err *err)
{
    return err_set(err, ERR_INTERNAL, EIO, "fault injected at %s", name);
}

static int open_readable(const char *path, const char *what, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open the %s %s: %s", what, path,
                       strerror(errno));
    return fd;
}

static int make_memory(unsigned mb, struct err *err)
{
    if (FAULT_POINT("vmm.memory"))
        return fault("vmm.memory", err);
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

static int make_disk(const struct vmm *v, struct err *err)
{
    char path[PATH_MAX];
    if (FAULT_POINT("vmm.overlay"))
        return fault("vmm.overlay", err);
    if (vm_path(v, RUN_DISK, path, sizeof(path)) < 0)
        return err_set(err, ERR_INTERNAL, ENAMETOOLONG, "%s is too long a path", v->run_dir);
    uid_t uid = v->driver->means.own_uid ? v->config.uid : (uid_t)-1;
    return disk_create(path, v->config.template.rootfs, v->config.disk_mb, uid, err);
}

static int open_one(const struct vmm *v, enum qemu_fd which, struct err *err)
{
    const struct vmm_template *t = &v->config.template;
    switch (which) {
    case QEMU_FD_MEMORY:
        return make_memory(v->config.memory_mb, err);
    case QEMU_FD_QMP:
        return FAULT_POINT("vmm.socket") ? fault("vmm.socket", err) : make_socket(v, RUN_QMP, err);
    case QEMU_FD_LINK:
        return make_socket(v, RUN_LINK, err);
    case QEMU_FD_CONSOLE:
        return make_socket(v, RUN_CONSOLE, err);
    case QEMU_FD_KERNEL:
        return FAULT_POINT("vmm.template") ? fault("vmm.template", err)
                                           : open_readable(t->kernel, "kernel", err);
    case QEMU_FD_INITRAMFS:
        return open_readable(t->initramfs, "initramfs", err);
    case QEMU_FD_ROOTFS:
        return open_readable(t->rootfs, "root file system", err);
    case QEMU_FD_DISK:
        return make_disk(v, err);
    case QEMU_FD_END:
        break;
    }
    return -EINVAL;
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

static int spawn(struct vmm *v, const int *fds, struct err *err)
{
    const struct vmm_driver *d = v->driver;
    struct qemu_machine machine = { .program = d->program,
                                    .name = v->run_dir,
                                    .machine = d->machine,
                                    .kvm = d->host.kvm,
                                    .vcpus = v->config.vcpus,
                                    .memory_mb = v->config.memory_mb,
                                    .cmdline = v->config.template.cmdline };
    struct qemu_args args = { 0 };
    uint64_t most_mb = v->config.disk_mb + v->config.disk_mb / 1000 + DISK_SLACK_MB;
    if (most_mb < v->config.memory_mb)
        most_mb = v->config.memory_mb;
    struct jail_spec spec = { .program = d->program,
                              .argv = args.argv,
                              .means = d->means,
                              .uid = v->config.uid,
                              .kvm = d->host.kvm,
                              .max_file_size = most_mb << 20,
                              .fds = fds,
                              .nfds = QEMU_NFDS,
                              .log_fd = v->log_fd,
                              .on_forked = write_pid,
                              .user = v };
    int rc = qemu_args_build(&args, &machine, err);
    if (rc == 0 && FAULT_POINT("vmm.spawn"))
        rc = fault("vmm.spawn", err);
    if (rc == 0)
        rc = jail_spawn(&v->child, &spec, err);
    qemu_args_deinit(&args);
    return rc;
}

int vm_prepare(struct vmm *v, struct err *err)
{
    int fds[QEMU_NFDS], rc = 0;
    size_t n = 0;
    int64_t begun = clock_mono_ns();
    if (FAULT_POINT("vmm.run_dir"))
        return fault("vmm.run_dir", err);
    if (chmod(v->run_dir, 0700) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot use %s: %s", v->run_dir, strerror(errno));
    v->log_fd = jail_log_new(QEMU_LOG_SIZE);
    if (v->log_fd < 0)
        return err_set(err, ERR_INTERNAL, -v->log_fd, "cannot make a log in memory: %s",
                       strerror(-v->log_fd));

    while (n < QEMU_NFDS && rc >= 0) {
        rc = open_one(v, (enum qemu_fd)(QEMU_FD_MEMORY + n), err);
        if (rc >= 0)
            fds[n++] = rc;
    }
    int64_t files = clock_mono_ns();
    if (rc >= 0)
        rc = spawn(v, fds, err);
    /* The VMM has its own: a socket that it does not listen on any more must refuse. */
    while (n > 0)
        close(fds[--n]);
    if (rc >= 0)
        log_debug("vmm started", LOG_STR("id", v->id), LOG_INT("pid", v->child.pid),
                  LOG_INT("files_us", (files - begun) / 1000),
                  LOG_INT("spawn_us", (clock_mono_ns() - files) / 1000));
    return rc < 0 ? rc : 0;
}
