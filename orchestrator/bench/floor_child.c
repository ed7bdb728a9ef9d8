/* The floors are measured by a process of their own, so that nothing of this one is in them. */
#include "orchestrator/bench/bench.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

struct answer {
    double ms[BENCH_OP_NR];
    struct err err;
};

static ssize_t read_all(int fd, void *out, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = read(fd, (char *)out + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    return (ssize_t)at;
}

int bench_floor_in_child(const struct bench_options *o, const char *build, const char *dir,
                         double out[static BENCH_OP_NR], struct err *err)
{
    struct answer answer = { 0 };
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_EXHAUSTED, errno, "pipe: %s", strerror(errno));
    AUTO_CLOSE int from = ends[0];
    pid_t pid = fork();
    if (pid == 0) {
        bench_floor(o, build, dir, answer.ms, &answer.err);
        _exit(fd_write_all(ends[1], &answer, sizeof(answer)) < 0 ? 1 : 0);
    }
    close(ends[1]);
    if (pid < 0)
        return err_set(err, ERR_EXHAUSTED, errno, "fork: %s", strerror(errno));
    bool whole = read_all(from, &answer, sizeof(answer)) == (ssize_t)sizeof(answer);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (!whole)
        return err_set(err, ERR_INTERNAL, EIO, "the measurement of the floors ended early");
    if (answer.err.code) {
        *err = answer.err;
        return -EIO;
    }
    memcpy(out, answer.ms, sizeof(answer.ms));
    return 0;
}
