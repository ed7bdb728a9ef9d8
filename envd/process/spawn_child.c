/*
 * The child between clone(CLONE_VM | CLONE_VFORK) and execve. It runs on the parent's memory while
 * the parent waits, so: system calls only, nothing that allocates, locks or changes what the parent
 * relies on. Identity is changed by raw system calls, because the libc's functions would change
 * that of all threads of the program.
 */
#include "envd/process/spawn_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define IOPRIO_WHO_PROCESS 1
#define IOPRIO_BEST_EFFORT (2 << 13)

/* How much of a command's name is repeated on its stderr; the pipe must take it at once. */
#define NAME_SHOWN_MAX 1024
/* Where the kernel has no close_range, descriptors that envd inherited are below this. */
#define INHERITED_FD_MAX 256

/* The stack of the child is none that the sanitizers know. */
#define CHILD __attribute__((no_sanitize("address", "undefined")))

CHILD static void __attribute__((noreturn)) leave(int code)
{
    for (;;)
        syscall(SYS_exit_group, code);
}

CHILD static void __attribute__((noreturn)) give_up(struct spawn_plan *p, enum spawn_step step)
{
    p->errnum = errno;
    p->step = step;
    leave(SPAWN_NOT_FOUND);
}

/* Handlers would be called on the parent's memory, and what the parent ignores stays ignored
 * through execve. All signals are blocked until here. */
CHILD static void reset_signals(void)
{
    struct sigaction now, dfl = { .sa_handler = SIG_DFL };
    for (int sig = 1; sig < 32; sig++) {
        if (sig != SIGKILL && sig != SIGSTOP && sigaction(sig, NULL, &now) == 0 &&
            now.sa_handler != SIG_DFL)
            sigaction(sig, &dfl, NULL);
    }
    uint64_t none = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

CHILD static void set_files(struct spawn_plan *p)
{
    int fd[3] = { p->s->in, p->s->out, p->s->err };
    /* First out of the way of 0, 1 and 2, then into their places. */
    for (int i = 0; i < 3; i++) {
        if (fd[i] < 3 && (fd[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, 3)) < 0)
            give_up(p, SPAWN_FILES);
    }
    for (int i = 0; i < 3; i++) {
        if (dup2(fd[i], i) < 0)
            give_up(p, SPAWN_FILES);
    }
}

CHILD static void close_others(void)
{
    if (syscall(SYS_close_range, 3U, ~0U, 0U) == 0)
        return;
    for (int fd = 3; fd < INHERITED_FD_MAX; fd++)
        close(fd);
}

CHILD static void join_cgroup(struct spawn_plan *p)
{
    int fd = openat(p->s->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) < 0)
        give_up(p, SPAWN_CGROUP);
    close(fd);
}

/* What cannot be set (no /proc, no right) is left as it is. */
CHILD static void set_priorities(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t n = write(fd, "100", 3);
        (void)n;
        close(fd);
    }
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_BEST_EFFORT | SPAWN_IOPRIO_LEVEL);
    setpriority(PRIO_PROCESS, 0, 0);
}

CHILD static void set_user(struct spawn_plan *p)
{
    const struct user *u = p->s->user;
    if (!p->switch_user)
        return;
    if (syscall(SYS_setgroups, u->ngroups, u->groups) < 0 ||
        syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0 ||
        syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0)
        give_up(p, SPAWN_USER);
}

/* An execve that gains rights by it (setuid) randomises all the same. */
CHILD static void keep_addresses(void)
{
    long now = syscall(SYS_personality, 0xffffffffUL);
    if (now >= 0)
        syscall(SYS_personality, now | ADDR_NO_RANDOMIZE);
}

CHILD static void __attribute__((noreturn)) cannot_execute(const struct spawn_plan *p, int errnum)
{
    bool found = errnum != ENOENT && errnum != ENOTDIR;
    const char *why = !found             ? ": not found\n"
                      : errnum == EACCES ? ": Permission denied\n"
                                         : ": cannot be executed\n";
    size_t n = strlen(p->s->cmd);
    struct iovec text[3] = {
        { .iov_base = (void *)(uintptr_t) "sh: ", .iov_len = 4 },
        { .iov_base = (void *)(uintptr_t)p->s->cmd,
          .iov_len = n < NAME_SHOWN_MAX ? n : NAME_SHOWN_MAX },
        { .iov_base = (void *)(uintptr_t)why, .iov_len = strlen(why) },
    };
    ssize_t written = writev(2, text, 3);
    (void)written;
    leave(found ? SPAWN_NOT_EXECUTABLE : SPAWN_NOT_FOUND);
}

CHILD static void __attribute__((noreturn)) execute(struct spawn_plan *p)
{
    int result = ENOENT;
    for (char **path = p->candidates; *path; path++) {
        execve(*path, p->argv, p->s->env);
        if (errno == ENOEXEC) {
            p->argv[-1] = (char *)(uintptr_t) "/bin/sh";
            p->argv[0] = *path;
            execve("/bin/sh", p->argv - 1, p->s->env);
        }
        if (errno == E2BIG || errno == ENOMEM)
            give_up(p, SPAWN_EXEC);
        /* A file that may not be executed does not hide one further on, but is remembered. */
        if (errno == EACCES)
            result = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            cannot_execute(p, errno);
    }
    cannot_execute(p, result);
}

CHILD int spawn_child(void *arg)
{
    struct spawn_plan *p = arg;
    reset_signals();
    if (setsid() < 0)
        give_up(p, SPAWN_SESSION);
    set_files(p);
    if (p->s->tty && ioctl(0, TIOCSCTTY, 0) < 0)
        give_up(p, SPAWN_TTY);
    if (p->join_cgroup)
        join_cgroup(p);
    set_priorities();
    close_others();
    if (p->same_addresses)
        keep_addresses();
    umask(SPAWN_UMASK);
    set_user(p);
    if (chdir(p->s->cwd) < 0)
        give_up(p, SPAWN_CWD);
    execute(p);
}
