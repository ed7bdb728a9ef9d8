#include "tests/support/power_cut/record.h"
#include "tests/support/power_cut/seen.h"

#include <errno.h>
#include <error.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)

/* Stop at the system calls of seen_calls, and at no other. */
static bool filter_calls(void)
{
    struct sock_filter code[2 * SEEN_CALLS_MAX + 4];
    size_t n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; seen_calls[i] >= 0; i++) {
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)seen_calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = { (unsigned short)n, code };
    /* Without privileges a filter needs no_new_privs; with them the program keeps what it has. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ||
           (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static _Noreturn void child(int go, int (*main)(void *user), void *user)
{
    char c;
    if (read(go, &c, 1) != 1 || !filter_calls())
        _exit(98);
    _exit(main(user));
}

static void call_of(pid_t tid, struct seen_call *c)
{
    struct user_regs_struct regs = { 0 };
    ptrace(PTRACE_GETREGS, tid, NULL, &regs);
    *c = (struct seen_call){ .tid = tid,
                             .nr = (long)regs.orig_rax,
                             .result = (long)regs.rax,
                             .args = { regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8 } };
}

/* Go on from one stop of a thread. */
static void go_on(struct seen *s, pid_t tid, int status)
{
    struct seen_call c;
    int event = status >> 16, sig = WSTOPSIG(status);
    if (event == PTRACE_EVENT_SECCOMP) {
        call_of(tid, &c);
        seen_enter(s, &c);
        ptrace(PTRACE_SYSCALL, tid, NULL, 0);
    } else if (sig == (SIGTRAP | 0x80)) {
        call_of(tid, &c);
        seen_leave(s, &c);
        ptrace(PTRACE_CONT, tid, NULL, 0);
    } else {
        /* A signal is delivered; the other stops are ptrace's own. */
        ptrace(PTRACE_CONT, tid, NULL, event ? 0L : (long)sig);
    }
}

static bool is_new_task(int status)
{
    int event = status >> 16;
    return event == PTRACE_EVENT_CLONE || event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK;
}

/* Until the last thread of the program and of what it started has ended. */
static void trace(struct seen *s, pid_t program, int *program_status)
{
    int status;
    for (size_t tasks = 1; tasks;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0 && errno == EINTR)
            continue;
        if (tid < 0)
            return;
        if (WIFSTOPPED(status)) {
            tasks += is_new_task(status);
            go_on(s, tid, status);
            continue;
        }
        tasks--;
        if (tid == program)
            *program_status = status;
    }
}

bool record(struct recording *r, const char *root, int (*main)(void *user), void *user)
{
    struct seen s;
    int go[2];
    *r = (struct recording){ 0 };
    seen_init(&s, root);
    if (pipe(go) < 0)
        error(99, errno, "power cut");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(go[0], main, user);
    bool ok = pid > 0 && ptrace(PTRACE_SEIZE, pid, NULL, OPTIONS) == 0;
    if (!ok)
        fprintf(stderr, "cannot trace: %s\n", strerror(errno));
    if (ok && write(go[1], "", 1) != 1)
        error(99, errno, "power cut");
    close(go[0]);
    close(go[1]);
    trace(&s, pid, &r->status);
    seen_finish(&s, r);
    return ok;
}

void recording_free(struct recording *r)
{
    for (size_t i = 0; i < r->nops; i++)
        free(r->ops[i].data);
    free(r->ops);
    disk_free(r->start);
}
