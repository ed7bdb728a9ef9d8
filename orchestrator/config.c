#include "orchestrator/config.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/str.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <string.h>

/* One setting. A setter gets the text and returns NULL, or what the setting may be. */
struct setting {
    const char *name; /* of the flag; upper case with SANDPIT_ before it, of the variable */
    const char *what; /* placeholder of the value; NULL: a switch */
    const char *help;
    const char *(*set)(struct config *c, const char *value);
    bool of_image; /* of a template: an option of `image build`, not of `serve` */
};

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n;
    if (!str_to_u64(str_of(text), max, &n) || n < min)
        return false;
    *out = n;
    return true;
}

static const char *set_bool(bool *out, const char *value)
{
    if (strcmp(value, "1") == 0 || strcmp(value, "true") == 0)
        *out = true;
    else if (strcmp(value, "0") == 0 || strcmp(value, "false") == 0)
        *out = false;
    else
        return "true or false";
    return NULL;
}

static const char *set_data_dir(struct config *c, const char *value)
{
    if (value[0] != '/' || !str_copy(str_of(value), c->data_dir, sizeof(c->data_dir)))
        return "an absolute path";
    for (size_t n = strlen(c->data_dir); n > 1 && c->data_dir[n - 1] == '/'; n--)
        c->data_dir[n - 1] = '\0';
    return NULL;
}

static const char *set_host(struct config *c, const char *value)
{
    struct in6_addr a;
    if ((inet_pton(AF_INET, value, &a) != 1 && inet_pton(AF_INET6, value, &a) != 1) ||
        !str_copy(str_of(value), c->host, sizeof(c->host)))
        return "an IPv4 or IPv6 address in numbers";
    return NULL;
}

static const char *set_api_port(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, UINT16_MAX, &n))
        return "a port from 0 (any free one) to 65535";
    c->api_port = (uint16_t)n;
    return NULL;
}

static const char *set_metrics_port(struct config *c, const char *value)
{
    uint64_t n;
    if (strcmp(value, "none") == 0) {
        c->metrics_port = CONFIG_NO_PORT;
        return NULL;
    }
    if (!number(value, 0, UINT16_MAX, &n))
        return "none, or a port from 0 (any free one) to 65535";
    c->metrics_port = (int)n;
    return NULL;
}

void config_set_proxy_port(struct config *c, uint16_t port)
{
    c->proxy_port = port;
    if (!c->domain_set)
        snprintf(c->domain, sizeof(c->domain), "localhost:%u", (unsigned)port);
}

static const char *set_proxy_port(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, UINT16_MAX, &n))
        return "a port from 0 (any free one) to 65535";
    config_set_proxy_port(c, (uint16_t)n);
    return NULL;
}

static const char *set_node_port(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, UINT16_MAX, &n))
        return "a port from 0 (any free one) to 65535";
    c->node_port = (uint16_t)n;
    return NULL;
}

static const char *set_file(char out[static PATH_MAX], const char *value)
{
    return value[0] && str_copy(str_of(value), out, PATH_MAX) ? NULL : "a file";
}

static const char *set_node_tls_cert(struct config *c, const char *value)
{
    return set_file(c->node_tls_cert, value);
}

static const char *set_node_tls_key(struct config *c, const char *value)
{
    return set_file(c->node_tls_key, value);
}

static const char *set_node_tls_ca(struct config *c, const char *value)
{
    return set_file(c->node_tls_ca, value);
}

/* host[:port] of letters, digits, '-' and '.'; clients put "49983-ID." before it. */
static bool is_domain(struct str s)
{
    ptrdiff_t colon = str_find(s, ':');
    if (colon >= 0) {
        uint64_t port;
        if (!str_to_u64(str_from(s, (size_t)colon + 1), UINT16_MAX, &port) || port == 0)
            return false;
        s.n = (size_t)colon;
    }
    if (s.n == 0 || s.p[0] == '.' || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool alnum =
            (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (!alnum && ch != '-' && ch != '.')
            return false;
    }
    return true;
}

/* Of a whole name in DNS, less what "65535-" and a sandbox's id take. */
#define DOMAIN_MAX 220

static const char *set_domain(struct config *c, const char *value)
{
    struct str s = str_of(value);
    if (s.n > DOMAIN_MAX || !is_domain(s) || !str_copy(s, c->domain, sizeof(c->domain)))
        return "a host name with or without a port, or none";
    c->domain_set = true;
    return NULL;
}

static const char *set_ephemeral(struct config *c, const char *value)
{
    return set_bool(&c->ephemeral, value);
}

static const char *set_accel(struct config *c, const char *value)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "kvm") != 0 && strcmp(value, "tcg") != 0)
        return "auto, kvm or tcg";
    snprintf(c->accel, sizeof(c->accel), "%s", value);
    return NULL;
}

static const char *set_vcpus(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, 64, &n))
        return "a number from 0 (1 under emulation, 2 with KVM) to 64";
    c->vcpus = (unsigned)n;
    return NULL;
}

static const char *set_memory(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 128, 1048576, &n))
        return "a number from 128 to 1048576";
    c->memory_mb = (unsigned)n;
    return NULL;
}

static const char *set_disk(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 512, 16777216, &n))
        return "a number from 512 to 16777216";
    c->disk_mb = n;
    return NULL;
}

static const char *set_max_sandboxes(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, CONFIG_MAX_SANDBOXES, &n))
        return "a number from 0 (as many as the memory allows) to 1024";
    c->max_sandboxes = (unsigned)n;
    return NULL;
}

static const char *set_max_per_team(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, CONFIG_MAX_SANDBOXES, &n))
        return "a number from 0 (no limit of its own) to 1024";
    c->max_per_team = (unsigned)n;
    return NULL;
}

static const char *set_max_paused_per_team(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, CONFIG_MAX_PAUSED, &n))
        return "a number from 0 (no limit) to 1000000";
    c->max_paused_per_team = (unsigned)n;
    return NULL;
}

static const char *set_pool_hot(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, CONFIG_MAX_SPARES, &n))
        return "a number from 0 (none) to 64";
    c->pool_hot = (unsigned)n;
    return NULL;
}

static const char *set_pool_waiting(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, CONFIG_MAX_SPARES, &n))
        return "a number from 0 (none) to 64";
    c->pool_waiting = (unsigned)n;
    return NULL;
}

static const char *set_default_timeout(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 1, INT32_MAX, &n))
        return "a number of seconds, at least 1";
    c->default_timeout_s = (unsigned)n;
    return NULL;
}

static const char *set_max_lifetime(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 1, INT32_MAX, &n))
        return "a number of seconds, at least 1";
    c->max_lifetime_s = (unsigned)n;
    return NULL;
}

static const char *set_cgroup(struct config *c, const char *value)
{
    bool word = strcmp(value, "auto") == 0 || strcmp(value, "none") == 0;
    bool path = value[0] == '/' && value[1] && !strstr(value, "..");
    if ((!word && !path) || strlen(value) >= sizeof(c->cgroup))
        return "auto, none, or the path of a control group, from the top: /system.slice/it";
    snprintf(c->cgroup, sizeof(c->cgroup), "%s", value);
    return NULL;
}

static const char *set_vmm_memory(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, 1048576, &n) || (n && n < CONFIG_VMM_MEMORY_MIN_MB))
        return "0 (no limit) or a number from 128 to 1048576";
    c->vmm_memory_mb = (unsigned)n;
    return NULL;
}

static const char *set_vmm_pids(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, 1048576, &n) || (n && n < CONFIG_VMM_PIDS_MIN))
        return "0 (no limit) or a number from 96 to 1048576";
    c->vmm_pids = (unsigned)n;
    return NULL;
}

static const char *set_vmm_cpus(struct config *c, const char *value)
{
    uint64_t n;
    if (!number(value, 0, 1024, &n))
        return "a number from 0 (no limit) to 1024";
    c->vmm_cpus = (unsigned)n;
    return NULL;
}

static const char *set_uid_base(struct config *c, const char *value)
{
    uint64_t n;
    /* -1 and -2 of either width mean other things to some programs. */
    if (!number(value, 1000, UINT32_MAX - 2 - CONFIG_MAX_SANDBOXES, &n))
        return "a user id from 1000 to 4294966269";
    c->uid_base = (uint32_t)n;
    return NULL;
}

static const char *set_jail(struct config *c, const char *value)
{
    return set_bool(&c->jail, value);
}

static const char *set_log_level(struct config *c, const char *value)
{
    enum log_level level;
    if (!log_level_parse(value, &level))
        return "debug, info, warn or error";
    snprintf(c->log_level, sizeof(c->log_level), "%s", value);
    return NULL;
}

static const struct setting settings[] = {
    { "data-dir", "DIR", "everything that is kept (/var/lib/sandpit)", set_data_dir },
    { "host", "ADDRESS", "where the listeners listen (127.0.0.1)", set_host },
    { "api-port", "PORT", "of the REST API (3000)", set_api_port },
    { "proxy-port", "PORT", "of the traffic to sandboxes (3002)", set_proxy_port },
    { "metrics-port", "PORT", "of GET /metrics, for Prometheus (none)", set_metrics_port },
    { "node-port", "PORT", "of the node service with TLS (5008)", set_node_port },
    { "node-tls-cert", "FILE", "its certificate, PEM; with the next two: listen",
      set_node_tls_cert },
    { "node-tls-key", "FILE", "its private key, PEM", set_node_tls_key },
    { "node-tls-ca", "FILE", "the authorities of clients that are let in, PEM", set_node_tls_ca },
    { "domain", "NAME", "told to clients; none: nothing (localhost:<proxy port>)", set_domain },
    { "ephemeral", NULL, "end every sandbox when the daemon ends", set_ephemeral },
    { "accel", "WHICH", "kvm, tcg (emulation) or auto (auto)", set_accel },
    { "vcpus", "N", "of a sandbox (1 under emulation, 2 with KVM)", set_vcpus, true },
    { "memory-mb", "N", "of a sandbox (512)", set_memory, true },
    { "disk-mb", "N", "of a sandbox, virtual (4096)", set_disk, true },
    { "max-sandboxes", "N", "at once (as many as the memory allows)", set_max_sandboxes },
    { "max-per-team", "N", "at once, of one team (no limit of its own)", set_max_per_team },
    { "max-paused-per-team", "N", "paused sandboxes and snapshots of one team (by the disk)",
      set_max_paused_per_team },
    { "pool-hot", "N", "restored VMs kept ready, for each template in use (1)", set_pool_hot },
    { "pool-waiting", "N", "VMM processes kept waiting, for each template in use (1)",
      set_pool_waiting },
    { "default-timeout", "SECONDS", "of a create that names none (300)", set_default_timeout },
    { "max-lifetime", "SECONDS", "of a sandbox (86400)", set_max_lifetime },
    { "cgroup", "WHERE", "control groups of VMMs: auto, none, or a group's path (auto)",
      set_cgroup },
    { "vmm-memory-mb", "N", "of a VMM beside twice its guest's (512; 0: no limit)",
      set_vmm_memory },
    { "vmm-pids", "N", "threads of a VMM (256; 0: no limit)", set_vmm_pids },
    { "vmm-cpus", "N", "of a VMM beside its virtual ones (1; 0: no limit)", set_vmm_cpus },
    { "uid-base", "UID", "first of the user ids that VMs run as (200000)", set_uid_base },
    { "jail", "BOOL", "VMs run as users of their own; needs root (true as root)", set_jail },
    { "log-level", "LEVEL", "debug, info, warn or error (info)", set_log_level },
};

void config_defaults(struct config *c)
{
    *c = (struct config){
        .data_dir = "/var/lib/sandpit",
        .host = "127.0.0.1",
        .api_port = 3000,
        .metrics_port = CONFIG_NO_PORT,
        .node_port = 5008,
        .accel = "auto",
        .memory_mb = 512,
        .disk_mb = 4096,
        .max_paused_per_team = CONFIG_FROM_DISK,
        .pool_hot = 1,
        .pool_waiting = 1,
        .default_timeout_s = 300,
        .max_lifetime_s = 24 * 3600,
        .cgroup = "auto",
        .vmm_memory_mb = 512,
        .vmm_pids = 256,
        .vmm_cpus = 1,
        .uid_base = 200000,
        .jail = geteuid() == 0,
        .log_level = "info",
    };
    config_set_proxy_port(c, 3002);
}

static int apply(struct config *c, const struct setting *s, const char *label, const char *value,
                 struct err *err)
{
    const char *allowed = s->set(c, value);
    if (!allowed)
        return 0;
    return err_set(err, ERR_INVALID, EINVAL, "%s must be %s, not '%.64s'", label, allowed, value);
}

int config_set(struct config *c, const char *name, const char *value, struct err *err)
{
    char label[64];
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        if (strcmp(settings[i].name, name) != 0)
            continue;
        snprintf(label, sizeof(label), "--%s", name);
        return apply(c, &settings[i], label, value, err);
    }
    return err_set(err, ERR_INVALID, ENOENT, "there is no setting '%s'", name);
}

#define ENV_SIZE 64
static void env_name(const struct setting *s, char out[static ENV_SIZE])
{
    size_t n = (size_t)snprintf(out, ENV_SIZE, "SANDPIT_%s", s->name);
    assert(n < ENV_SIZE);
    for (char *p = out; *p; p++) {
        if (*p == '-')
            *p = '_';
        else if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
}

int config_from_env(struct config *c, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char name[ENV_SIZE];
        env_name(&settings[i], name);
        const char *value = getenv(name);
        if (!value)
            continue;
        int rc = apply(c, &settings[i], name, value, err);
        if (rc)
            return rc;
    }
    return 0;
}

int config_from_args(struct config *c, int argc, char **argv, bool *help, struct err *err)
{
    struct option options[ARRAY_LEN(settings) + 2] = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        options[i] = (struct option){ .name = settings[i].name,
                                      .has_arg = settings[i].what ? required_argument : no_argument,
                                      .val = 256 + (int)i };
    options[ARRAY_LEN(settings)] = (struct option){ .name = "help", .val = 'h' };
    *help = false;
    optind = 0; /* start anew: tests parse more than once */
    opterr = 0;
    int got;
    while ((got = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (got == 'h') {
            *help = true;
        } else if (got == '?') {
            return err_set(err, ERR_INVALID, EINVAL, "unknown option '%.64s'", argv[optind - 1]);
        } else if (got == ':') {
            return err_set(err, ERR_INVALID, EINVAL, "option '%.64s' needs a value",
                           argv[optind - 1]);
        } else {
            const struct setting *s = &settings[got - 256];
            char label[64];
            if (s->of_image)
                return err_set(err, ERR_INVALID, EINVAL,
                               "--%s is saved with a template: give it to `sandpit image build`",
                               s->name);
            snprintf(label, sizeof(label), "--%s", s->name);
            int rc = apply(c, s, label, s->what ? optarg : "true", err);
            if (rc)
                return rc;
        }
    }
    if (optind < argc)
        return err_set(err, ERR_INVALID, EINVAL, "unexpected argument '%.64s'", argv[optind]);
    return 0;
}

/* The sockets of a VM are below it, at "/run/<id>/console.sock", and the path of a socket has at
 * most 107 bytes. */
#define DATA_DIR_MAX 68

bool config_has_node_tls(const struct config *c)
{
    return c->node_tls_cert[0] && c->node_tls_key[0] && c->node_tls_ca[0];
}

static int check_node(const struct config *c, struct err *err)
{
    bool any = c->node_tls_cert[0] || c->node_tls_key[0] || c->node_tls_ca[0];
    if (any && !config_has_node_tls(c))
        return err_set(err, ERR_INVALID, EINVAL,
                       "--node-tls-cert, --node-tls-key and --node-tls-ca need each other");
    if (any && c->node_port != 0 && (c->node_port == c->api_port || c->node_port == c->proxy_port))
        return err_set(err, ERR_INVALID, EINVAL, "--node-port and --%s-port are both %u",
                       c->node_port == c->api_port ? "api" : "proxy", (unsigned)c->node_port);
    return 0;
}

int config_check(const struct config *c, struct err *err)
{
    if (strlen(c->data_dir) > DATA_DIR_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG,
                       "--data-dir has more than %d characters: sockets below it would have paths "
                       "that are too long",
                       DATA_DIR_MAX);
    if (c->default_timeout_s > c->max_lifetime_s)
        return err_set(err, ERR_INVALID, EINVAL,
                       "--default-timeout (%u s) is longer than --max-lifetime (%u s)",
                       c->default_timeout_s, c->max_lifetime_s);
    if (c->api_port != 0 && c->api_port == c->proxy_port)
        return err_set(err, ERR_INVALID, EINVAL, "--api-port and --proxy-port are both %u",
                       (unsigned)c->api_port);
    if (c->metrics_port > 0 && (c->metrics_port == c->api_port || c->metrics_port == c->proxy_port))
        return err_set(err, ERR_INVALID, EINVAL, "--metrics-port and --%s-port are both %d",
                       c->metrics_port == c->api_port ? "api" : "proxy", c->metrics_port);
    if (c->jail && geteuid() != 0)
        return err_set(err, ERR_INVALID, EPERM,
                       "--jail true needs root: VMs cannot be given users of their own");
    return check_node(c, err);
}

bool config_is_loopback(const struct config *c)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, c->host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    struct in6_addr v6;
    return inet_pton(AF_INET6, c->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

void config_usage(FILE *out)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char flag[64];
        if (settings[i].of_image)
            continue;
        snprintf(flag, sizeof(flag), "--%s %s", settings[i].name,
                 settings[i].what ? settings[i].what : "");
        fprintf(out, "  %-26s %s\n", flag, settings[i].help);
    }
    fputs("Each is also an environment variable: --api-port is SANDPIT_API_PORT. Flags win.\n",
          out);
}
