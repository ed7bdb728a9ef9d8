#include "orchestrator/image/command.h"
#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define LINE_SHOWN    160
#define TAIL_SIZE     4096
#define PATH_TEXT_MAX 8192

extern char **environ;

/* Of the running child; 0 when there is none. */
static volatile sig_atomic_t running_group;
static volatile sig_atomic_t interrupted;

void command_interrupt(void)
{
    interrupted = 1;
    if (running_group > 0)
        kill(-(pid_t)running_group, SIGTERM);
}

bool command_interrupted(void)
{
    return interrupted != 0;
}

/* Where the program is; false when nowhere. System folders count also where PATH lacks them: a
 * user's sudo may have dropped them. */
static bool find_program(const char *name, char out[static PATH_MAX])
{
    const char *path = getenv("PATH");
    char all[PATH_TEXT_MAX];
    if (strchr(name, '/'))
        return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX && access(out, X_OK) == 0;
    snprintf(all, sizeof(all), "%s:/usr/sbin:/usr/bin:/sbin:/bin", path ? path : "");
    struct str rest = str_of(all);
    while (rest.p) {
        struct str dir = str_split(&rest, ':');
        if (dir.n == 0 || snprintf(out, PATH_MAX, "%.*s/%s", STR_ARG(dir), name) >= PATH_MAX)
            continue;
        if (access(out, X_OK) == 0)
            return true;
    }
    return false;
}

/* What the command printed last, from `start` of the log on. */
static struct str read_tail(const char *log, off_t start, char tail[static TAIL_SIZE])
{
    struct stat st;
    AUTO_CLOSE int fd = open(log, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return (struct str){ tail, 0 };
    off_t from = st.st_size - start > TAIL_SIZE ? st.st_size - TAIL_SIZE : start;
    ssize_t n = pread(fd, tail, TAIL_SIZE, from);
    return (struct str){ tail, n > 0 ? (size_t)n : 0 };
}

/* The last line with something in it, or the last one that says that the disk is full, cut to what
 * fits. */
static bool last_line(struct str tail, char out[static LINE_SHOWN])
{
    bool full = false;
    out[0] = '\0';
    while (tail.p) {
        /* A program that draws progress ends its lines with CR. */
        struct str line = str_split(&tail, '\n');
        while (line.p) {
            char text[LINE_SHOWN];
            struct str part = str_trim(str_split(&line, '\r'));
            snprintf(text, sizeof(text), "%.*s", STR_ARG(part));
            bool says_full = strcasestr(text, "no space left") != NULL;
            if (part.n == 0 || (full && !says_full))
                continue;
            full = says_full;
            memcpy(out, text, sizeof(text));
        }
    }
    return full;
}

static int spawn(const struct command *c, const char *program, int log, int out, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out >= 0 ? out : log, 1);
    posix_spawn_file_actions_adddup2(&files, log, 2);
    if (c->cwd)
        posix_spawn_file_actions_addchdir_np(&files, c->cwd);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    int rc =
        posix_spawn(pid, program, &files, &attributes, (char *const *)(uintptr_t)c->argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return -rc;
}

/* Take what the pipe has; false at its end. */
static bool drain(int fd, struct buf *out)
{
    uint8_t chunk[4096];
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n > 0 && buf_len(out) + (size_t)n <= COMMAND_OUTPUT_MAX)
        buf_append(out, chunk, (size_t)n);
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

static int wait_for(const struct command *c, pid_t pid, int pipe_fd, off_t log_start)
{
    char line[LINE_SHOWN], tail[TAIL_SIZE];
    int status = 0;
    AUTO_CLOSE int pidfd = pidfd_open(pid, 0);
    for (;;) {
        struct pollfd fds[] = { { .fd = pidfd, .events = POLLIN },
                                { .fd = pipe_fd, .events = POLLIN } };
        poll(fds, 2, COMMAND_TICK_MS);
        if ((fds[1].revents & (POLLIN | POLLHUP)) && !drain(pipe_fd, c->output))
            pipe_fd = -1;
        if (waitpid(pid, &status, WNOHANG) == pid)
            break;
        if (c->tick) {
            last_line(read_tail(c->log, log_start, tail), line);
            c->tick(c->user, line);
        }
    }
    while (pipe_fd >= 0 && drain(pipe_fd, c->output))
        continue;
    return status;
}

static int failed(const struct command *c, int status, off_t log_start, struct err *err)
{
    char line[LINE_SHOWN], tail[TAIL_SIZE];
    if (interrupted)
        return err_set(err, ERR_CANCELED, EINTR, "interrupted");
    if (last_line(read_tail(c->log, log_start, tail), line))
        return err_set(err, ERR_EXHAUSTED, ENOSPC, "the disk is full: %s", line);
    if (WIFSIGNALED(status))
        return err_set(err, ERR_INTERNAL, EIO, "%s was killed by signal %d; its log is %s",
                       c->argv[0], WTERMSIG(status), c->log);
    return err_set(err, ERR_INTERNAL, EIO, "%s failed: %s%s(log: %s)", c->argv[0], line,
                   line[0] ? " " : "", c->log);
}

int command_check(const char *program, const char *package, struct err *err)
{
    char path[PATH_MAX];
    if (find_program(program, path))
        return 0;
    return err_set(err, ERR_NOT_FOUND, ENOENT, "%s is missing: install the package %s", program,
                   package);
}

int command_run(const struct command *c, struct err *err)
{
    char program[PATH_MAX];
    pid_t pid = 0;
    int ends[2] = { -1, -1 };
    if (interrupted)
        return err_set(err, ERR_CANCELED, EINTR, "interrupted");
    if (!find_program(c->argv[0], program))
        return err_set(err, ERR_NOT_FOUND, ENOENT, "%s is missing: install the package %s",
                       c->argv[0], c->package);
    AUTO_CLOSE int log = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot write %s: %s", c->log, strerror(errno));
    off_t log_start = lseek(log, 0, SEEK_END);
    if (c->output && pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot make a pipe: %s", strerror(errno));
    AUTO_CLOSE int from_child = ends[0];
    int rc = spawn(c, program, log, ends[1], &pid);
    if (ends[1] >= 0)
        close(ends[1]);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot run %s: %s", program, strerror(-rc));
    running_group = pid;
    if (interrupted)
        kill(-pid, SIGTERM);
    int status = wait_for(c, pid, from_child, log_start);
    running_group = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : failed(c, status, log_start, err);
}
