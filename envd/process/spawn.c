#include "envd/process/spawn.h"

#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "envd/core/emulation.h"
#include "envd/process/environ.h"
#include "envd/process/spawn_child.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Where a command is looked up when its environment has no PATH, as shells do. */
#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define CHILD_STACK 65536

/* One for all: while a child is on it, this thread waits. */
static alignas(64) uint8_t child_stack[CHILD_STACK];

/* The paths that execve is tried with, in order. */
static char **find_candidates(const struct spawn *s, struct arena *arena)
{
    const char *path = process_environ_get(s->env, "PATH");
    if (!path)
        path = PATH_DEFAULT;
    bool direct = strchr(s->cmd, '/') != NULL;
    size_t most = 1;
    for (const char *p = path; *p && !direct; p++)
        most += *p == ':';
    char **list = arena_alloc(arena, (most + 1) * sizeof(char *));
    if (!list)
        return NULL;
    size_t n = 0;
    struct str rest = str_of(path);
    if (direct)
        list[n++] = arena_dup(arena, str_of(s->cmd));
    while (!direct && rest.p) {
        struct str dir = str_split(&rest, ':');
        if (dir.n == 0)
            dir = STR(".");
        if (dir.n + 1 + strlen(s->cmd) < PATH_MAX)
            list[n++] = arena_printf(arena, "%.*s/%s", STR_ARG(dir), s->cmd);
    }
    list[n] = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!list[i])
            return NULL;
    }
    return list;
}

static char **make_argv(const struct spawn *s, struct arena *arena)
{
    char **room = arena_alloc(arena, (s->nargs + 3) * sizeof(char *));
    if (!room)
        return NULL;
    room[0] = NULL;
    room[1] = (char *)(uintptr_t)s->cmd;
    if (s->nargs)
        memcpy(room + 2, s->args, s->nargs * sizeof(char *));
    room[s->nargs + 2] = NULL;
    return room + 1;
}

static int explain(const struct spawn_plan *p, struct err *err)
{
    int e = p->errnum;
    const struct spawn *s = p->s;
    switch (p->step) {
    case SPAWN_CWD:
        if (e == ENOENT)
            return err_set(err, ERR_INVALID, e, "cwd '%s' does not exist", s->cwd);
        if (e == ENOTDIR)
            return err_set(err, ERR_INVALID, e, "cwd '%s' is not a directory", s->cwd);
        return err_set(err, ERR_INVALID, e, "cwd '%s' cannot be entered by user '%s': %s", s->cwd,
                       s->user->name, strerror(e));
    case SPAWN_USER:
        return err_set(err, ERR_INVALID, e, "cannot become user '%s': %s", s->user->name,
                       strerror(e));
    case SPAWN_EXEC:
        return err_set(err, ERR_INVALID, e, "cannot start '%s': %s", s->cmd,
                       e == E2BIG ? "its arguments and environment are too long" : strerror(e));
    case SPAWN_CGROUP:
        return err_set(err, ERR_INVALID, e, "cannot join the cgroup: %s", strerror(e));
    case SPAWN_FILES:
    case SPAWN_SESSION:
    case SPAWN_TTY:
        break;
    }
    return err_set(err, ERR_INVALID, e, "cannot start '%s': %s", s->cmd, strerror(e));
}

#if defined(__x86_64__)
/* The first version of the arguments that has `cgroup`; the libc's headers may not know it. */
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size, cgroup;
};
#define CLONE3_INTO_CGROUP 0x200000000ULL

/*
 * A child that is born in its cgroup. To join one later the kernel waits until every CPU has passed
 * a quiet point: in a guest that has been idle that took 10 ms.
 */
static pid_t clone_into_cgroup(struct spawn_plan *p)
{
    struct clone3_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE3_INTO_CGROUP,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)child_stack,
        .stack_size = CHILD_STACK,
        .cgroup = (uint64_t)p->s->cgroup,
    };
    long result = SYS_clone3;
    register struct spawn_plan *plan __asm__("r8") = p;
    /* On its own stack the child cannot return from here: it goes on in spawn_child. */
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r8, %%rdi\n\t"
                     "call *%%rdx\n\t"
                     "ud2\n"
                     "1:"
                     : "+a"(result)
                     : "D"(&args), "S"(sizeof(args)), "d"(spawn_child), "r"(plan)
                     : "rcx", "r11", "memory", "cc");
    if (result >= 0)
        return (pid_t)result;
    errno = (int)-result;
    return -1;
}
#else
static pid_t clone_into_cgroup(struct spawn_plan *p)
{
    (void)p;
    errno = ENOSYS;
    return -1;
}
#endif

static pid_t clone_child(struct spawn_plan *p)
{
    if (p->s->cgroup >= 0) {
        pid_t pid = clone_into_cgroup(p);
        /* The group is full, or memory is. Whatever else: an older kernel, a filter. */
        if (pid >= 0 || errno == EAGAIN || errno == ENOMEM)
            return pid;
        p->join_cgroup = true;
    }
    return clone(spawn_child, child_stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, p);
}

/* clone with every signal blocked: a handler that ran in the child would run on our memory. */
static pid_t clone_blocked(struct spawn_plan *p)
{
    uint64_t all = UINT64_MAX, before;
    if (FAULT_POINT("process.clone")) {
        errno = EAGAIN;
        return -1;
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
    pid_t pid = clone_child(p);
    int saved = errno;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
    errno = saved;
    return pid;
}

int spawn(const struct spawn *s, struct arena *arena, pid_t *pid, struct err *err)
{
    struct spawn_plan plan = {
        .s = s,
        .switch_user = geteuid() == 0 || s->user->uid != geteuid(),
        .candidates = find_candidates(s, arena),
        .argv = make_argv(s, arena),
        .same_addresses = processor_is_emulated(),
    };
    if (!plan.candidates || !plan.argv)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    pid_t child = clone_blocked(&plan);
    if (child < 0 && errno == EAGAIN)
        return err_set(err, ERR_EXHAUSTED, EAGAIN,
                       "cannot start a process: as many run as are allowed");
    if (child < 0)
        return err_set(err, ERR_INVALID, errno, "cannot start a process: %s", strerror(errno));
    /* The child wrote to the plan behind the compiler's back. */
    __asm__ volatile("" ::: "memory");
    if (plan.errnum) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
        }
        return explain(&plan, err);
    }
    *pid = child;
    return 0;
}
