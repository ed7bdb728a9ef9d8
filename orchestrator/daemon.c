#include "orchestrator/daemon.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/http/listener.h"
#include "orchestrator/api/api.h"
#include "orchestrator/cgroup/cgroup.h"
#include "orchestrator/metrics/acceptor.h"
#include "orchestrator/metrics/text.h"
#include "orchestrator/node/node.h"
#include "orchestrator/proxy/proxy.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

/* Requests in flight may end for this long after the listeners were closed. */
#define DRAIN_MS 2000

/* Descriptors that clients' connections must leave: for the daemon itself, and for each sandbox. */
#define OWN_FILES         64
#define FILES_PER_SANDBOX 16
#define CONNECTIONS_MIN   16
#define CLIENT_LISTENERS  2 /* the rest is for operators, and gets the least */

enum listener { LISTENER_API, LISTENER_PROXY, LISTENER_METRICS, LISTENER_NR };

struct daemon {
    struct config *config;
    uv_loop_t *loop;
    struct loop_turn turn;
    struct defer_queue defer;
    struct cgroups cgroups;
    struct store *store;
    struct vmm_driver *driver;
    struct sandbox_host *host;
    struct api *api;
    struct proxy *proxy;
    struct node *node;
    struct metrics_acceptor metrics;
    struct http_listener *listeners[LISTENER_NR];
    size_t open_listeners;
    uv_signal_t on_term, on_int;
    bool stopping;
    int exit_code;
};

static void on_store_closed(void *user)
{
    struct daemon *d = user;
    defer_queue_close(&d->defer);
}

static void on_node_freed(void *user)
{
    struct daemon *d = user;
    proxy_free(TAKE(d->proxy));
    sandbox_host_free(TAKE(d->host));
    vmm_driver_free(TAKE(d->driver));
    store_close(TAKE(d->store), on_store_closed, d);
}

static void on_api_freed(void *user)
{
    struct daemon *d = user;
    if (d->node)
        node_free(TAKE(d->node), on_node_freed, d);
    else
        on_node_freed(d);
}

static void on_host_stopped(void *user)
{
    struct daemon *d = user;
    api_free(TAKE(d->api), on_api_freed, d);
}

static void stop_host(struct daemon *d)
{
    sandbox_host_stop(d->host, d->config->ephemeral, on_host_stopped, d);
}

static void on_listener_closed(void *user)
{
    struct daemon *d = user;
    if (--d->open_listeners == 0)
        stop_host(d);
}

static void stop(struct daemon *d, int exit_code)
{
    if (d->stopping)
        return;
    d->stopping = true;
    d->exit_code = exit_code;
    uv_close((uv_handle_t *)&d->on_term, NULL);
    uv_close((uv_handle_t *)&d->on_int, NULL);
    if (d->node) {
        d->open_listeners++;
        node_stop(d->node, DRAIN_MS, on_listener_closed, d);
    }
    if (d->open_listeners == 0) {
        stop_host(d);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(d->listeners); i++)
        if (d->listeners[i])
            http_listener_close(TAKE(d->listeners[i]), DRAIN_MS, on_listener_closed, d);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    log_info("stopping", LOG_INT("signal", signum));
    stop(handle->data, 0);
}

/* How many connections each listener takes, so that clients cannot use up the descriptors that
 * sandboxes need. */
static size_t connections_max(const struct daemon *d)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return CONNECTIONS_MIN;
    rlim_t kept = OWN_FILES + (rlim_t)FILES_PER_SANDBOX * sandbox_host_capacity(d->host);
    rlim_t left = files.rlim_cur > kept ? (files.rlim_cur - kept) / CLIENT_LISTENERS : 0;
    if (left < CONNECTIONS_MIN)
        return CONNECTIONS_MIN;
    return left < HTTP_LISTENER_MAX ? (size_t)left : HTTP_LISTENER_MAX;
}

static int listen_on(struct daemon *d, enum listener n, uint16_t port,
                     struct http_acceptor *acceptor, struct err *err)
{
    struct http_listener_options options = { .host = d->config->host,
                                             .port = port,
                                             .max_connections = n < CLIENT_LISTENERS
                                                                    ? connections_max(d)
                                                                    : CONNECTIONS_MIN,
                                             .server = { .acceptor = acceptor, .h2c = true } };
    int rc = http_listener_new(&d->listeners[n], d->loop, &d->defer, &options, err);
    if (rc == 0)
        d->open_listeners++;
    return rc;
}

static void write_metrics(void *user, struct buf *out)
{
    static const char name[] = "sandpit_info";
    const struct daemon *d = user;
    const struct vmm_host *vmm = vmm_driver_host(d->driver);
    const struct metrics_label labels[] = { { "version", SANDPIT_VERSION },
                                            { "accelerator", vmm->accelerator },
                                            { "vmm", vmm->version },
                                            { "cgroups", vmm->cgroups } };
    metrics_family(out, name, "gauge", "Always 1; what this daemon is.");
    metrics_value(out, name, labels, ARRAY_LEN(labels), 1);
    sandbox_host_write_metrics(d->host, out);
}

/* For operators alone, so never on a port that clients know. */
static int serve_metrics(struct daemon *d, struct err *err)
{
    int port = d->config->metrics_port;
    if (port == CONFIG_NO_PORT)
        return 0;
    metrics_acceptor_init(&d->metrics, write_metrics, d);
    int rc = listen_on(d, LISTENER_METRICS, (uint16_t)port, &d->metrics.acceptor, err);
    if (rc == 0)
        log_info("metrics are served",
                 LOG_INT("port", http_listener_port(d->listeners[LISTENER_METRICS])));
    return rc;
}

static int serve_node(struct daemon *d, struct err *err)
{
    struct node_options node = { .turn = &d->turn,
                                 .defer = &d->defer,
                                 .config = d->config,
                                 .store = d->store,
                                 .host = d->host,
                                 .vmm = vmm_driver_host(d->driver) };
    return node_new(&d->node, &node, err);
}

static void on_recovered(void *user, const struct err *err)
{
    struct daemon *d = user;
    struct err why;
    if (err) {
        log_error("the sandboxes of the last run cannot be read", LOG_STR("reason", err->msg));
        stop(d, 1);
        return;
    }
    if (d->stopping)
        return;
    if (listen_on(d, LISTENER_API, d->config->api_port, api_acceptor(d->api), &why) < 0 ||
        listen_on(d, LISTENER_PROXY, d->config->proxy_port, proxy_acceptor(d->proxy), &why) < 0 ||
        serve_metrics(d, &why) < 0 || serve_node(d, &why) < 0) {
        log_error("cannot listen", LOG_STR("reason", why.msg));
        stop(d, 1);
        return;
    }
    config_set_proxy_port(d->config, http_listener_port(d->listeners[LISTENER_PROXY]));
    const struct vmm_host *vmm = vmm_driver_host(d->driver);
    if (!vmm->kvm)
        log_warn("sandboxes run under software emulation: everything in them is slower",
                 LOG_STR("reason", vmm->kvm_reason));
    if (vmm->weakness[0])
        log_warn("vmm jail is weak", LOG_STR("what", vmm->weakness));
    if (d->cgroups.missing[0])
        log_warn("not every limit of VMMs can be set", LOG_STR("cgroups", vmm->cgroups),
                 LOG_STR("reason", d->cgroups.missing));
    if (!config_is_loopback(d->config))
        log_warn("listening beyond loopback without TLS: put a TLS front end before it",
                 LOG_STR("host", d->config->host));
    log_info("sandpit is ready", LOG_STR("host", d->config->host),
             LOG_INT("api_port", http_listener_port(d->listeners[LISTENER_API])),
             LOG_INT("proxy_port", http_listener_port(d->listeners[LISTENER_PROXY])),
             LOG_INT("node_port", node_port(d->node)), LOG_STR("accelerator", vmm->accelerator),
             LOG_STR("vmm", vmm->version), LOG_STR("machine", vmm->machine[VMM_BOARD_PC]),
             LOG_STR("cgroups", vmm->cgroups),
             LOG_INT("sandboxes", sandbox_host_count(d->host, NULL)));
}

static int open_all(struct daemon *d, struct err *err)
{
    const struct config *c = d->config;
    const struct cgroups_options groups = { .where = c->cgroup, .owner = c->data_dir };
    struct vmm_driver_options driver = {
        .loop = d->loop,
        .defer = &d->defer,
        .accel = c->accel,
        .cgroups = &d->cgroups,
        .allowance = { c->vmm_memory_mb, c->vmm_pids, c->vmm_cpus },
    };
    int rc = store_new(&d->store, d->loop, c->data_dir, err);
    if (rc == 0) {
        cgroups_open(&d->cgroups, &groups);
        rc = vmm_driver_new(&d->driver, &driver, err);
    }
    if (rc < 0)
        return rc;
    struct sandbox_host_options host = {
        .loop = d->loop, .defer = &d->defer, .config = c, .store = d->store, .driver = d->driver
    };
    d->host = sandbox_host_new(&host);
    if (d->host) {
        struct api_options api = { .config = c, .store = d->store, .host = d->host };
        d->api = api_new(&api);
        struct proxy_options proxy = {
            .loop = d->loop, .defer = &d->defer, .config = c, .sandboxes = d->host
        };
        d->proxy = proxy_new(&proxy);
    }
    if (!d->host || !d->api || !d->proxy)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    return api_load(d->api, err);
}

static void watch_signal(struct daemon *d, uv_signal_t *handle, int signum)
{
    uv_signal_init(d->loop, handle);
    handle->data = d;
    uv_signal_start(handle, on_signal, signum);
}

/* The soft limit is 1,024 nearly everywhere; what we execute gets limits of its own. */
static void raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == files.rlim_max)
        return;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        log_warn("cannot raise the limit of open files", LOG_STR("reason", strerror(errno)));
}

int daemon_run(struct config *config)
{
    struct daemon d = { .config = config, .loop = uv_default_loop() };
    struct err err;
    signal(SIGPIPE, SIG_IGN);
    raise_files();
    loop_turn_init(&d.turn, d.loop);
    defer_queue_init(&d.defer, d.loop);
    if (open_all(&d, &err) < 0) {
        /* Nothing runs yet, and the process ends here: the system takes back what was opened. */
        log_error("cannot start", LOG_STR("reason", err.msg));
        cgroups_close(&d.cgroups);
        return 1;
    }
    watch_signal(&d, &d.on_term, SIGTERM);
    watch_signal(&d, &d.on_int, SIGINT);
    sandbox_host_recover(d.host, on_recovered, &d);
    loop_turn_run(&d.turn);
    loop_turn_deinit(&d.turn);
    uv_loop_close(d.loop);
    cgroups_close(&d.cgroups);
    log_info("stopped");
    return d.exit_code;
}
