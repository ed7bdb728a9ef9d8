/* envd: the agent inside a guest. An ordinary program on a host, PID 1 in a Sandpit guest, /init of
 * its initramfs. */
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/http/listener.h"
#include "envd/boot/boot.h"
#include "envd/core/cgroup.h"
#include "envd/guest/link.h"
#include "envd/guest/on_restore.h"
#include "envd/options.h"
#include "envd/process/registry.h"
#include "envd/server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define STOP_GRACE_MS 2000

struct program {
    struct envd envd;
    struct envd_server server;
    struct http_listener *listener;
    uv_poll_t on_child;
    uv_signal_t on_term, on_int;
    bool stopping;
};

static void on_child(uv_poll_t *handle, int event, int events)
{
    (void)event;
    (void)events;
    struct program *p = container_of(handle, struct program, on_child);
    struct signalfd_siginfo info; /* of one SIGCHLD: they do not queue */
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)handle, &fd) == 0)
        (void)!read(fd, &info, sizeof(info));
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        if (!process_registry_reaped(p->envd.processes, pid, status))
            on_restore_reaped(&p->envd, pid, status);
    }
}

/* By a descriptor of its own instead of libuv's handler and its two pipes: a signal that interrupts
 * costs more than the end of the process that it tells of. */
static int watch_children(struct program *p)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = uv_poll_init(p->envd.loop, &p->on_child, fd);
    return rc < 0 ? rc : uv_poll_start(&p->on_child, UV_READABLE, on_child);
}

static void on_stopped(void *user)
{
    struct program *p = user;
    if (p->envd.is_pid1)
        boot_power_off();
    uv_stop(p->envd.loop);
}

static void on_term(uv_signal_t *handle, int signum)
{
    struct program *p = handle->data;
    if (p->stopping)
        return;
    p->stopping = true;
    log_info("stopping", LOG_INT("signal", signum));
    process_registry_stop_all(p->envd.processes, STOP_GRACE_MS, on_stopped, p);
}

/* What programs in a sandbox look at to know where they are. */
static void write_marker(const struct envd *e)
{
    const char *text = e->is_guest ? "true" : "false";
    struct err err;
    if (file_make_dirs("/run/e2b", 0755, &err) < 0 ||
        file_replace_unsynced("/run/e2b/.E2B_SANDBOX", text, strlen(text), 0444, &err) < 0)
        log_warn("cannot write the sandbox marker", LOG_STR("reason", err.msg));
}

static void protect_self(void)
{
    /* In a guest envd is the last to be killed and the first to run. */
    AUTO_FCLOSE FILE *f = fopen("/proc/self/oom_score_adj", "we");
    if (!f || fputs("-1000", f) < 0)
        log_warn("cannot lower the OOM score", LOG_STR("reason", strerror(errno)));
    if (setpriority(PRIO_PROCESS, 0, -20) < 0)
        log_warn("cannot raise the priority", LOG_STR("reason", strerror(errno)));
}

static void init_envd(struct program *p, const struct options *o)
{
    struct envd *e = &p->envd;
    *e = (struct envd){ .loop = uv_default_loop(),
                        .is_guest = !o->not_guest,
                        .is_pid1 = getpid() == 1,
                        .cgroup_user = -1,
                        .cgroup_ptys = -1 };
    const char *path = getenv("PATH");
    snprintf(e->path_env, sizeof(e->path_env), "%s", path ? path : DEFAULT_PATH);
    snprintf(e->default_user, sizeof(e->default_user), "root");
    defer_queue_init(&e->defer, e->loop);
    if (e->is_guest)
        envd_set_env(&e->internal_envs, STR("E2B_SANDBOX"), "true");
    write_marker(e);
    if (!o->no_cgroups && e->is_guest)
        cgroup_setup(e, o->cgroup_root);
    e->processes = process_registry_new(e);
    if (e->processes) {
        struct process_limits limits = PROCESS_LIMITS_DEFAULT;
        limits.ring_bytes = o->ring_bytes;
        limits.ring_budget = o->ring_budget;
        process_registry_set_limits(e->processes, &limits);
    }
    envd_server_init(&p->server, e);
}

static int serve(const struct options *o)
{
    static struct program p;
    struct err err;
    init_envd(&p, o);
    if (!p.envd.processes) {
        log_error("cannot start", LOG_STR("reason", "out of memory"));
        return 1;
    }
    int rc = watch_children(&p);
    if (rc < 0) {
        log_error("cannot watch children", LOG_STR("reason", strerror(-rc)));
        return 1;
    }
    p.on_term.data = p.on_int.data = &p;
    uv_signal_init(p.envd.loop, &p.on_term);
    uv_signal_start(&p.on_term, on_term, SIGTERM);
    uv_signal_init(p.envd.loop, &p.on_int);
    uv_signal_start(&p.on_int, on_term, SIGINT);
    signal(SIGPIPE, SIG_IGN);

    struct http_listener_options listen = {
        .host = o->host, .port = o->port, .server = { .acceptor = &p.server.acceptor, .h2c = true }
    };
    if (http_listener_new(&p.listener, p.envd.loop, &p.envd.defer, &listen, &err) < 0) {
        log_error("cannot listen", LOG_STR("reason", err.msg));
        return 1;
    }
    if (p.envd.is_guest && envd_link_start(&p.envd.link, &p.envd, &p.server.acceptor, &err) < 0)
        log_warn("no guest link", LOG_STR("reason", err.msg));
    log_info("envd is ready", LOG_STR("version", ENVD_VERSION),
             LOG_INT("port", http_listener_port(p.listener)));
    uv_run(p.envd.loop, UV_RUN_DEFAULT);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err;
    if (getpid() == 1 && strcmp(argv[0], "/init") == 0) {
        log_setup(LOG_LEVEL_INFO, "envd-init");
        boot_initramfs(&err);
        log_error("cannot boot", LOG_STR("reason", err.msg));
        boot_power_off();
        return 1;
    }
    switch (options_parse(argc, argv, &o)) {
    case OPTIONS_SERVE:
        break;
    case OPTIONS_HELP:
        fputs(options_usage, stdout);
        return 0;
    case OPTIONS_VERSION:
        puts(ENVD_VERSION);
        return 0;
    case OPTIONS_COMMIT:
        puts(SANDPIT_COMMIT);
        return 0;
    case OPTIONS_WRONG:
        return 2;
    }
    log_setup(o.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "envd");
    if (getpid() == 1) {
        setenv("PATH", DEFAULT_PATH, 0);
        boot_guest();
    }
    if (!o.not_guest)
        protect_self();
    return serve(&o);
}
