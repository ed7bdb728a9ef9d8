#include "orchestrator/vmm/process.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAT_MAX         4096
#define STAT_START_FIELD 22 /* of /proc/PID/stat, counted from 1 */

static int pidfd_open_(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

static int pidfd_kill(int pidfd)
{
    return syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ? -errno : 0;
}

void process_exit_text(const struct process_exit *e, char *out, size_t n)
{
    if (!e->known)
        snprintf(out, n, "ended");
    else if (e->signaled)
        snprintf(out, n, "was ended by signal %d (%s)", e->number, strsignal(e->number));
    else
        snprintf(out, n, "ended with exit code %d", e->number);
}

int process_start_ticks(pid_t pid, uint64_t *ticks)
{
    char path[32];
    struct buf text = { 0 };
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int rc = file_read(path, STAT_MAX, &text, NULL);
    if (rc < 0) {
        buf_deinit(&text);
        return rc == -ENOENT ? -ESRCH : rc;
    }
    /* Field 2 is the program's name in parentheses and may hold anything, so count from its end. */
    struct str rest = buf_str(&text);
    rc = -EPROTO;
    const char *name_end = memrchr(rest.p, ')', rest.n);
    if (name_end) {
        rest = str_from(rest, (size_t)(name_end - rest.p) + 2);
        struct str field = { 0 };
        for (int i = 3; i <= STAT_START_FIELD && rest.p; i++)
            field = str_split(&rest, ' ');
        if (rest.p && str_to_u64(field, UINT64_MAX, ticks))
            rc = 0;
    }
    buf_deinit(&text);
    return rc;
}

int process_open(pid_t pid, uint64_t ticks)
{
    if (pid <= 0)
        return -ESRCH;
    AUTO_CLOSE int fd = pidfd_open_(pid);
    if (fd < 0) {
        int rc = fd;
        fd = -1;
        return rc == -EINVAL ? -ESRCH : rc;
    }
    /* Read after the pidfd was opened: if they agree, the pidfd is that process for good. */
    uint64_t now;
    int rc = process_start_ticks(pid, &now);
    if (rc < 0)
        return rc;
    if (now != ticks)
        return -ESRCH;
    return TAKE_FD(fd);
}

/* 1 when it has ended (and *how is set), 0 when it lives. */
static int reap(int pidfd, struct process_exit *how)
{
    siginfo_t info = { 0 };
    int rc;
    do {
        rc = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    } while (rc < 0 && errno == EINTR);

    if (rc == 0 && info.si_pid != 0) {
        *how = (struct process_exit){ .known = true,
                                      .signaled = info.si_code != CLD_EXITED,
                                      .number = info.si_status };
        return 1;
    }
    if (rc < 0 && errno == ECHILD) { /* not our child: readable means ended */
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        *how = (struct process_exit){ 0 };
        return poll(&p, 1, 0) == 1;
    }
    return 0;
}

int process_end(int pidfd, unsigned timeout_ms, struct process_exit *how)
{
    int rc = pidfd_kill(pidfd);
    if (rc < 0 && rc != -ESRCH)
        return rc;
    return process_wait(pidfd, timeout_ms, how);
}

int process_wait(int pidfd, unsigned timeout_ms, struct process_exit *how)
{
    int64_t due = clock_mono_ms() + timeout_ms;
    while (!reap(pidfd, how)) {
        int64_t left = due - clock_mono_ms();
        if (left <= 0)
            return -ETIMEDOUT;
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        poll(&p, 1, (int)left);
    }
    return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct process *p = container_of(poll, struct process, poll);
    (void)status;
    (void)events;
    if (!reap(p->pidfd, &p->how))
        return;
    uv_poll_stop(&p->poll);
    p->exited = true;
    p->on_exit(p);
}

int process_watch(struct process *p, uv_loop_t *loop, int pidfd, void (*on_exit)(struct process *p))
{
    *p = (struct process){ .pidfd = pidfd, .on_exit = on_exit };
    int rc = uv_poll_init(loop, &p->poll, pidfd);
    if (rc < 0)
        return rc;
    rc = uv_poll_start(&p->poll, UV_READABLE, on_readable);
    assert(rc == 0); /* fails for closed handles and bad events only */
    return 0;
}

void process_kill(struct process *p)
{
    if (!p->exited)
        pidfd_kill(p->pidfd);
}

static void on_poll_closed(uv_handle_t *h)
{
    struct process *p = container_of((uv_poll_t *)h, struct process, poll);
    close(p->pidfd);
    p->pidfd = -1;
    p->on_closed(p);
}

void process_close(struct process *p, void (*on_closed)(struct process *p))
{
    p->on_closed = on_closed;
    uv_close((uv_handle_t *)&p->poll, on_poll_closed);
}
