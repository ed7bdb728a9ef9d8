/* The daemon's settings: defaults, then environment (SANDPIT_*), then flags. */
#ifndef ORCHESTRATOR_CONFIG_H
#define ORCHESTRATOR_CONFIG_H

#include "common/base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_MAX_SANDBOXES 1024 /* and so uids: uid_base and the 1,023 that follow */

/* What a VMM needs at least: its code, under emulation its cache of 256 MiB of which little is used
 * by small guests; a thread for each of 64 virtual CPUs and some of its own. */
#define CONFIG_VMM_MEMORY_MIN_MB 128
#define CONFIG_VMM_PIDS_MIN      96

/* Paused sandboxes and snapshots of one team. */
#define CONFIG_MAX_PAUSED 1000000
#define CONFIG_FROM_DISK  UINT_MAX /* as many as the data directory's file system suggests */

#define CONFIG_NO_PORT (-1)

#define CONFIG_MAX_SPARES 64 /* of each kind, for each template */

struct config {
    char data_dir[PATH_MAX - 256]; /* /var/lib/sandpit */
    char host[64];                 /* address of all listeners; 127.0.0.1 */
    uint16_t api_port;             /* 3000; 0: any free one */
    uint16_t proxy_port;           /* 3002; 0: any free one */
    int metrics_port;              /* GET /metrics; 0: any free one; CONFIG_NO_PORT */
    uint16_t node_port;            /* 5008; of the node service with TLS; 0: any free one */
    /* Files in PEM; empty, all three: no listener but the data directory's socket. */
    char node_tls_cert[PATH_MAX], node_tls_key[PATH_MAX], node_tls_ca[PATH_MAX];
    char domain[256];             /* localhost:3002; "none": answers carry null */
    bool domain_set;              /* told by the operator; else it follows proxy_port */
    bool ephemeral;               /* kill every sandbox on exit */
    char accel[8];                /* auto, kvm, tcg */
    unsigned vcpus;               /* of a sandbox; 0: 1 under TCG, 2 with KVM */
    unsigned memory_mb;           /* 512 */
    uint64_t disk_mb;             /* 4096 */
    unsigned max_sandboxes;       /* 0: from the host's memory */
    unsigned max_per_team;        /* at once; 0: no limit of its own */
    unsigned max_paused_per_team; /* and snapshots; 0: no limit; CONFIG_FROM_DISK */
    unsigned pool_hot;            /* restored VMs kept ready, for each template in use; 1 */
    unsigned pool_waiting;        /* VMM processes kept waiting; 1 */
    unsigned default_timeout_s;   /* 300; of v2 creates */
    unsigned max_lifetime_s;      /* 86400 */
    char cgroup[128];             /* where VMMs get control groups: "auto", "none", or a path */
    unsigned vmm_memory_mb;       /* of a VMM beside twice its guest's memory, 512; 0: no limit */
    unsigned vmm_pids;            /* threads of a VMM, 256; 0: no limit */
    unsigned vmm_cpus;            /* of a VMM beside its virtual ones, 1; 0: no limit */
    uint32_t uid_base;            /* first uid for VMMs, 200000; needs root */
    bool jail;                    /* own uid per VMM; false only without root */
    char log_level[8];
};

void config_defaults(struct config *c);

/* Set one by its flag's name, such as "api-port". -EINVAL with what it may be; -ENOENT when there
 * is none of that name. Booleans take true, false, 1, 0. */
int config_set(struct config *c, const char *name, const char *value, struct err *err);

/* Apply SANDPIT_* variables. 0, or -EINVAL with the variable and what it may be. */
int config_from_env(struct config *c, struct err *err);

/* Parse flags of `serve` (getopt_long from argv[1]); `help` tells that --help was asked. */
int config_from_args(struct config *c, int argc, char **argv, bool *help, struct err *err);

/* Check the whole for contradictions. */
int config_check(const struct config *c, struct err *err);

/* The port that the proxy's listener really has; the domain follows it unless it was set. */
void config_set_proxy_port(struct config *c, uint16_t port);

/* Whether the node service listens with TLS. */
bool config_has_node_tls(const struct config *c);

/* Whether all listeners can be reached from this machine only. */
bool config_is_loopback(const struct config *c);

/* The settings as the options of --help, with variables and defaults. */
void config_usage(FILE *out);

#endif
