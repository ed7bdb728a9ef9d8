/*
 * jail_spawn() forks. Between fork and exec the child makes system calls only: the daemon has
 * threads, and a lock that one of them held at the fork is held for ever in the child. Everything
 * that needs memory is made before. The child reports a step that failed through a close-on-exec
 * pipe; end of file on it means that the program was executed.
 */
#include "orchestrator/vmm/jail.h"

#include "common/base/cleanup.h"
#include "orchestrator/vmm/jail_steps.h"
#include "orchestrator/vmm/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ABANDON_MS 5000  /* for a killed child to be gone */
#define PROBE_UID  65534 /* nobody: switching to it and back is all that is done with it */

struct jail_report {
    int step;
    int errnum;
};

/* The child's end: never returns. */
static void child_run(const struct jail_spec *spec, struct jail_plan *plan)
{
    static char path[] = "PATH=/usr/bin:/bin", locale[] = "LC_ALL=C";
    static char *const envp[] = { path, locale, NULL };
    struct jail_report r = { 0 };
    char byte;
    r.step = jail_apply(plan);
    if (r.step == JAIL_STEPS_DONE) {
        /* Nobody has written this process down yet. If the parent is gone, it is not wanted. */
        if (read(plan->go_fd, &byte, 1) != 1)
            _exit(0);
        execve(spec->program, spec->argv, envp);
        r.step = JAIL_STEP_EXEC;
    }
    r.errnum = errno;
    int to = plan->report_fd >= 0 ? plan->report_fd : plan->report_source;
    _exit(write(to, &r, sizeof(r)) == (ssize_t)sizeof(r) ? 127 : 126);
}

static int open_pidfd(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

static void reap_by_pid(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* Wait for the program to run or for the step that failed. */
static int read_report(int fd, const struct jail_spec *spec, struct err *err)
{
    struct jail_report r;
    ssize_t n;
    do {
        n = read(fd, &r, sizeof(r));
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return 0;
    if (n != (ssize_t)sizeof(r))
        return err_set(err, ERR_INTERNAL, EIO, "the jail of %s reported nothing", spec->program);
    return err_set(err, ERR_INTERNAL, r.errnum > 0 ? r.errnum : EIO, "cannot %s %s: %s",
                   jail_step_name(r.step), spec->program, strerror(r.errnum));
}

static int supervise(struct jail_child *child, const struct jail_spec *spec, int go, int report,
                     struct err *err)
{
    int rc = process_start_ticks(child->pid, &child->start_ticks);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot read the start of process %d: %s",
                       (int)child->pid, strerror(-rc));
    if (spec->on_forked) {
        rc = spec->on_forked(spec->user, child->pid, child->start_ticks, err);
        if (rc < 0)
            return rc;
    }
    /* When this fails the child is gone already and has told why. */
    (void)!send(go, "", 1, MSG_NOSIGNAL);
    return read_report(report, spec, err);
}

int jail_spawn(struct jail_child *out, const struct jail_spec *spec, struct err *err)
{
    int go[2], report[2];
    assert(spec->nfds <= JAIL_MAX_FDS);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot make a pipe: %s", strerror(errno));
    AUTO_CLOSE int go_child = go[0], go_parent = go[1];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot make a pipe: %s", strerror(errno));
    AUTO_CLOSE int report_parent = report[0], report_child = report[1];

    struct jail_plan plan;
    int rc = jail_plan_init(&plan, spec, go_child, report_child, err);
    if (rc < 0)
        return rc;

    static const struct cgroup_door none = { .dir = -1 };
    pid_t pid = cgroup_fork(spec->door ? spec->door : &none, &plan.in_group);
    if (pid == 0)
        child_run(spec, &plan);
    int fork_errno = errno;
    jail_plan_deinit(&plan);
    if (pid < 0)
        return err_set(err, ERR_EXHAUSTED, fork_errno, "cannot fork: %s", strerror(fork_errno));

    struct jail_child child = { .pid = pid, .pidfd = open_pidfd(pid) };
    if (child.pidfd < 0) {
        reap_by_pid(pid);
        return err_set(err, ERR_INTERNAL, -child.pidfd, "cannot watch process %d: %s", (int)pid,
                       strerror(-child.pidfd));
    }
    close(TAKE_FD(report_child));
    close(TAKE_FD(go_child));
    rc = supervise(&child, spec, go_parent, report_parent, err);
    if (rc < 0) {
        struct process_exit how;
        process_end(child.pidfd, ABANDON_MS, &how);
        close(child.pidfd);
        return rc;
    }
    *out = child;
    return 0;
}

int jail_log_new(size_t size)
{
    AUTO_CLOSE int fd = memfd_create("vmm-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    return TAKE_FD(fd);
}

size_t jail_log_read(int fd, char *out, size_t n)
{
    if (n == 0)
        return 0;
    ssize_t got = fd >= 0 ? pread(fd, out, n - 1, 0) : 0;
    size_t len = got > 0 ? strnlen(out, (size_t)got) : 0;
    while (len && (out[len - 1] == '\n' || out[len - 1] == '\r' || out[len - 1] == ' '))
        len--;
    out[len] = 0;
    return len;
}

static bool try_step(const struct jail_means *means, int (*step)(const struct jail_plan *plan))
{
    struct jail_spec spec = { .program = "", .means = *means, .uid = PROBE_UID };
    struct jail_plan plan;
    struct process_exit how;
    if (jail_plan_init(&plan, &spec, -1, -1, NULL) < 0)
        return false;
    pid_t pid = fork();
    if (pid == 0)
        _exit(step(&plan) == 0 ? 0 : 1);
    jail_plan_deinit(&plan);
    if (pid < 0)
        return false;
    AUTO_CLOSE int pidfd = open_pidfd(pid);
    if (pidfd < 0) {
        reap_by_pid(pid);
        return false;
    }
    return process_wait(pidfd, ABANDON_MS, &how) == 0 && how.known && !how.signaled &&
           how.number == 0;
}

static int enter_and_make_dev(const struct jail_plan *plan)
{
    return jail_enter_namespaces(plan) < 0 ? -1 : jail_make_dev(plan);
}

void jail_probe(struct jail_means *means)
{
    *means = (struct jail_means){ 0 };
    const struct jail_means uid = { .own_uid = true }, net = { .net_ns = true },
                            mnt = { .mount_ns = true };
    means->own_uid = geteuid() == 0 && try_step(&uid, jail_switch_uid);
    means->net_ns = try_step(&net, jail_enter_namespaces);
    means->mount_ns = try_step(&mnt, enter_and_make_dev);
}

void jail_weakness(const struct jail_means *means, char *out, size_t n)
{
    snprintf(out, n, "%s%s%s", means->own_uid ? "" : "VMMs run under the daemon's own uid; ",
             means->net_ns ? "" : "VMMs share the host's network namespace; ",
             means->mount_ns ? "" : "VMMs see the host's /dev and directories; ");
    size_t len = strlen(out);
    if (len >= 2)
        out[len - 2] = 0;
}
