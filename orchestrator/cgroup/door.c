/*
 * How a child comes into its group. Writing another process's id into cgroup.procs makes the kernel
 * wait for all processors (some 5 ms). Version 2 can make the child there; with version 1 the child
 * moves its only thread, for which nothing is waited for. A clone3() that is refused, as by some
 * containers' filters, leaves the slow way: cgroup.procs, written by the child.
 */
#include "orchestrator/cgroup/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_in(const char *dir, const char *file, int flags, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 32, dir, file);
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open %s: %s", path, strerror(errno));
    return fd;
}

int cgroup_door_open(const struct cgroups *c, const char *name, struct cgroup_door *out,
                     struct err *err)
{
    char dir[PATH_MAX];
    const bool v2 = c->version == CGROUP_V2;
    *out = CGROUP_NO_DOOR;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        if (!limit_has_own_dir(c, i))
            continue;
        group_path(c, i, name, dir);
        int fd = open_in(dir, v2 ? "cgroup.procs" : "tasks", O_WRONLY, err);
        if (fd >= 0)
            out->files[out->nfiles++] = fd;
        if (fd >= 0 && v2)
            fd = out->dir = open_in(dir, "", O_RDONLY | O_DIRECTORY, err);
        if (fd < 0) {
            cgroup_door_close(out);
            return fd;
        }
    }
    return 0;
}

void cgroup_door_close(struct cgroup_door *d)
{
    if (d->dir >= 0)
        close(d->dir);
    while (d->nfiles)
        close(d->files[--d->nfiles]);
    *d = CGROUP_NO_DOOR;
}

pid_t cgroup_fork(const struct cgroup_door *d, bool *inside)
{
    struct clone_args args = { .flags = CLONE_INTO_CGROUP,
                               .exit_signal = SIGCHLD,
                               .cgroup = (uint64_t)d->dir };
    *inside = true;
    pid_t pid = d->dir >= 0 ? (pid_t)syscall(SYS_clone3, &args, sizeof(args)) : -1;
    if (pid >= 0)
        return pid;
    *inside = d->nfiles == 0;
    return fork();
}

int cgroup_door_enter(const struct cgroup_door *d)
{
    for (size_t i = 0; i < d->nfiles; i++)
        if (write(d->files[i], "0", 1) != 1)
            return -1;
    return 0;
}
