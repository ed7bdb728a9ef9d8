#include "orchestrator/bench/own_daemon.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "orchestrator/image/image.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/store/templates.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_TIMEOUT_MS 60000
#define STOP_TIMEOUT_MS  60000
#define POLL_US          20000
#define TEMPLATE_NAME    "base"

/* More than any measurement makes at once; the host's memory is not asked. */
#define SANDBOXES_MAX 200

/* What the template's VM was saved under, and so all its sandboxes run under. */
static int find_accel(struct own_daemon *d, const char *build, struct err *err)
{
    char path[PATH_MAX];
    AUTO_FREE struct snapshot_manifest *m = malloc(sizeof(*m));
    if (!m || snprintf(path, sizeof(path), "%s/" IMAGE_DIR_SNAPSHOT, build) >= PATH_MAX)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = snapshot_open(path, m, NULL, NULL, err);
    if (rc == 0)
        snprintf(d->accel, sizeof(d->accel), "%s", m->accelerator);
    return rc;
}

static int find_template(struct own_daemon *d, const char *data_dir, struct store_build *build,
                         struct err *err)
{
    struct store_template t;
    struct image_manifest m;
    struct db *db = NULL;
    int rc = db_open(&db, data_dir, err);
    if (rc == 0)
        rc = db_template_resolve(db, NULL, TEMPLATE_NAME, &t, build, err);
    if (rc == 0)
        rc = image_manifest_load(build->dir, &m, err);
    db_close(db);
    if (rc == 0)
        rc = find_accel(d, build->dir, err);
    if (rc < 0)
        return rc;
    snprintf(d->build, sizeof(d->build), "%s", build->dir);
    d->vcpus = (unsigned)m.vcpus;
    d->memory_mb = (unsigned)m.memory_mb;
    snprintf(d->kernel, sizeof(d->kernel), "%s", image_kernel_name(m.kernel_kind));
    return 0;
}

/* The build's files stay where they are: they are only read. */
static int fill_database(struct own_daemon *d, struct store_build *build, struct err *err)
{
    struct store_template t;
    struct store_team team;
    struct store_key key;
    struct db *db = NULL;
    int rc = db_open(&db, d->dir, err);
    if (rc == 0)
        rc = db_template_publish(db, NULL, TEMPLATE_NAME, build, &t, err);
    if (rc == 0)
        rc = db_team_find(db, NULL, &team, err);
    if (rc == 0)
        rc = db_key_create(db, team.id, "bench", d->key, &key, err);
    db_close(db);
    return rc;
}

int own_daemon_prepare(struct own_daemon *d, const struct bench_options *o, struct err *err)
{
    AUTO_FREE struct store_build *build = calloc(1, sizeof(*build));
    *d = (struct own_daemon){ 0 };
    if (!build)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = find_template(d, o->template_from, build, err);
    if (rc < 0)
        return rc;
    /* Not in memory: what is durable on a disk is part of what is measured. */
    if (snprintf(d->dir, sizeof(d->dir), "%s/bench-XXXXXX", o->template_from) >=
        (int)sizeof(d->dir))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", o->template_from);
    if (!mkdtemp(d->dir)) {
        d->dir[0] = '\0';
        return err_set(err, ERR_INTERNAL, errno, "cannot make a folder in %s: %s", o->template_from,
                       strerror(errno));
    }
    return fill_database(d, build, err);
}

/* A port that is free now. */
static unsigned free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &n) < 0)
        return 0;
    return ntohs(at.sin_port);
}

static bool can_connect(unsigned port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port) };
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
}

static void __attribute__((noreturn))
become_daemon(const struct own_daemon *d, const struct bench_options *o)
{
    char api[16], proxy[16], hot[16], waiting[16], max[16], memory[16], pids[16], cpus[16];
    char log[PATH_MAX];
    snprintf(api, sizeof(api), "%u", d->api_port);
    snprintf(proxy, sizeof(proxy), "%u", d->proxy_port);
    snprintf(hot, sizeof(hot), "%d", o->pool == BENCH_HOT ? 1 : 0);
    snprintf(waiting, sizeof(waiting), "%d", o->pool == BENCH_NONE ? 0 : 1);
    snprintf(max, sizeof(max), "%d", SANDBOXES_MAX);
    snprintf(memory, sizeof(memory), "%u", o->allowance.memory_mb);
    snprintf(pids, sizeof(pids), "%u", o->allowance.pids);
    snprintf(cpus, sizeof(cpus), "%u", o->allowance.cpus);
    snprintf(log, sizeof(log), "%s/log", d->dir);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    setpgid(0, 0); /* an interrupt is this program's to handle */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execl("/proc/self/exe", "sandpit", "serve", "--data-dir", d->dir, "--api-port", api,
          "--proxy-port", proxy, "--accel", o->accel, "--ephemeral", "--max-sandboxes", max,
          "--pool-hot", hot, "--pool-waiting", waiting, "--cgroup", o->cgroup, "--vmm-memory-mb",
          memory, "--vmm-pids", pids, "--vmm-cpus", cpus, (char *)NULL);
    _exit(127);
}

/* The last line that the daemon logged. */
static void last_log(const struct own_daemon *d, char *out, size_t size)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    out[0] = '\0';
    snprintf(path, sizeof(path), "%s/log", d->dir);
    if (file_read(path, 1 << 20, &text, NULL) == 0) {
        struct str rest = str_trim(buf_str(&text)), line = rest;
        while (rest.p)
            line = str_split(&rest, '\n');
        snprintf(out, size, "%.*s", STR_ARG(line));
    }
    buf_deinit(&text);
}

int own_daemon_start(struct own_daemon *d, const struct bench_options *o, struct err *err)
{
    char log[160];
    d->api_port = free_port();
    d->proxy_port = free_port();
    d->pid = fork();
    if (d->pid < 0) {
        d->pid = 0;
        return err_set(err, ERR_EXHAUSTED, errno, "fork: %s", strerror(errno));
    }
    if (d->pid == 0)
        become_daemon(d, o);
    int64_t until = clock_mono_ms() + START_TIMEOUT_MS;
    while (!can_connect(d->api_port) || !can_connect(d->proxy_port)) {
        bool ended = waitpid(d->pid, NULL, WNOHANG) == d->pid;
        if (ended)
            d->pid = 0;
        if (ended || clock_mono_ms() > until) {
            last_log(d, log, sizeof(log));
            return err_set(err, ERR_UNAVAILABLE, EIO, "the daemon did not start: %s", log);
        }
        usleep(POLL_US);
    }
    return 0;
}

void own_daemon_end(struct own_daemon *d)
{
    if (d->pid) {
        int64_t until = clock_mono_ms() + STOP_TIMEOUT_MS;
        kill(d->pid, SIGTERM);
        while (waitpid(d->pid, NULL, WNOHANG) == 0) {
            if (clock_mono_ms() > until)
                kill(d->pid, SIGKILL);
            usleep(POLL_US);
        }
    }
    if (d->dir[0])
        file_remove_tree(d->dir, NULL);
    *d = (struct own_daemon){ 0 };
}

/* The VMM's command line has the folder of its sockets, which is named after the sandbox. */
static bool runs_in(const char *pid, const char *folder)
{
    char path[64];
    struct buf text = { 0 };
    snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
    bool found = file_read(path, 1 << 16, &text, NULL) == 0 &&
                 memmem(buf_head(&text), buf_len(&text), folder, strlen(folder) + 1);
    buf_deinit(&text);
    return found;
}

pid_t own_daemon_vmm(const char *sandbox_id)
{
    char folder[80];
    pid_t found = 0;
    DIR *proc = opendir("/proc");
    snprintf(folder, sizeof(folder), "/run/%s", sandbox_id);
    for (struct dirent *e = proc ? readdir(proc) : NULL; e && !found; e = readdir(proc)) {
        uint64_t pid;
        if (str_to_u64(str_of(e->d_name), INT32_MAX, &pid) && runs_in(e->d_name, folder))
            found = (pid_t)pid;
    }
    if (proc)
        closedir(proc);
    return found;
}
