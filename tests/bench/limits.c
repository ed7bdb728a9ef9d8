/*
 * What the machine itself can do, in the same work that envd does: one "name value" line each, CPU
 * in seconds of the working thread, times in microseconds. Run by tests/bench/run.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SPAWNS      300
#define ROUND_TRIPS 20000
#define ROUNDS      3
#define FILE_BYTES  (512U << 20)
#define PIPE_BYTES  "268435456"
#define PIECE       32768
#define LARGE       (1U << 20)

extern char **environ;

static char buffer[LARGE];
static char peer_buffer[LARGE];
static const char *scratch;

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void spawn_true(void)
{
    char *argv[] = { (char *)"/bin/true", NULL };
    double least = 1e9, begun = clock_s(CLOCK_MONOTONIC);
    for (int i = 0; i < SPAWNS; i++) {
        double t = clock_s(CLOCK_MONOTONIC);
        pid_t pid;
        must(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) == 0, "posix_spawn");
        waitpid(pid, NULL, 0);
        double took = clock_s(CLOCK_MONOTONIC) - t;
        if (took < least)
            least = took;
    }
    printf("spawn_min_us %.1f\n", least * 1e6);
    printf("spawn_mean_us %.1f\n", (clock_s(CLOCK_MONOTONIC) - begun) / SPAWNS * 1e6);
}

/* Two ends of a TCP connection over loopback. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 1) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&a, &n);
    ends[1] = socket(AF_INET, SOCK_STREAM, 0);
    must(connect(ends[1], (struct sockaddr *)&a, n) == 0, "connect");
    ends[0] = accept(listener, NULL, NULL);
    must(ends[0] >= 0, "accept");
    close(listener);
}

static void *drain(void *end)
{
    int fd = *(int *)end;
    while (read(fd, peer_buffer, sizeof(peer_buffer)) > 0) {
    }
    return NULL;
}

static void *pour(void *end)
{
    int fd = *(int *)end;
    for (size_t sent = 0; sent < FILE_BYTES; sent += sizeof(peer_buffer))
        for (size_t at = 0; at < sizeof(peer_buffer);) {
            ssize_t n = write(fd, peer_buffer + at, sizeof(peer_buffer) - at);
            must(n > 0, "write");
            at += (size_t)n;
        }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void *echo(void *end)
{
    int fd = *(int *)end;
    char c;
    while (read(fd, &c, 1) == 1)
        must(write(fd, &c, 1) == 1, "write");
    return NULL;
}

static void round_trips(void)
{
    int ends[2];
    pthread_t thread;
    char c = 'x';
    double least = 1e9;
    connect_pair(ends);
    pthread_create(&thread, NULL, echo, &ends[1]);
    for (int i = 0; i < ROUND_TRIPS; i++) {
        double t = clock_s(CLOCK_MONOTONIC);
        must(write(ends[0], &c, 1) == 1 && read(ends[0], &c, 1) == 1, "round trip");
        double took = clock_s(CLOCK_MONOTONIC) - t;
        if (took < least)
            least = took;
    }
    printf("loopback_round_trip_min_us %.1f\n", least * 1e6);
    close(ends[0]);
    pthread_join(thread, NULL);
    close(ends[1]);
}

/* A process's output to a socket, as plainly as can be. */
static void pipe_to_socket(int out)
{
    int fds[2];
    must(pipe(fds) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        execlp("head", "head", "-c", PIPE_BYTES, "/dev/zero", NULL);
        _exit(127);
    }
    close(fds[1]);
    for (ssize_t n; (n = read(fds[0], buffer, PIECE)) > 0;)
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = write(out, buffer + at, (size_t)(n - at));
            must(sent > 0, "write");
            at += sent;
        }
    close(fds[0]);
    waitpid(pid, NULL, 0);
}

static void file_to_socket(int out)
{
    int fd = open(scratch, O_RDONLY);
    off_t at = 0;
    while (sendfile(out, fd, &at, LARGE) > 0) {
    }
    close(fd);
}

/* Into a file that does not exist yet; as an upload it replaces nothing. */
static void socket_to_file(int in)
{
    unlink(scratch);
    int fd = open(scratch, O_CREAT | O_WRONLY, 0600);
    must(fd >= 0, scratch);
    for (ssize_t n; (n = read(in, buffer, LARGE)) > 0;)
        must(write(fd, buffer, (size_t)n) == n, "write");
    close(fd);
}

/* The least CPU of some rounds. */
static void measure(const char *name, void (*work)(int fd), void *(*peer)(void *end))
{
    double least = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        int ends[2];
        pthread_t thread;
        connect_pair(ends);
        pthread_create(&thread, NULL, peer, &ends[1]);
        double t = clock_s(CLOCK_THREAD_CPUTIME_ID);
        work(ends[0]);
        t = clock_s(CLOCK_THREAD_CPUTIME_ID) - t;
        if (t < least)
            least = t;
        close(ends[0]);
        pthread_join(thread, NULL);
        close(ends[1]);
    }
    printf("%s %.4f\n", name, least);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    scratch = argc > 1 ? argv[1] : "/dev/shm/sandpit-limits";
    spawn_true();
    round_trips();
    measure("pipe_to_socket_cpu_s", pipe_to_socket, drain);
    measure("socket_to_file_cpu_s", socket_to_file, pour);
    measure("sendfile_cpu_s", file_to_socket, drain);
    unlink(scratch);
    return 0;
}
