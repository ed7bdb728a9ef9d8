/* The daemon's settings: defaults, then environment (SANDPIT_*), then flags. */
#ifndef ORCHESTRATOR_CONFIG_H
#define ORCHESTRATOR_CONFIG_H

#include "common/base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct config {
    char data_dir[PATH_MAX - 256]; /* /var/lib/sandpit */
    char host[64];                 /* address of both listeners; 127.0.0.1 */
    uint16_t api_port;             /* 3000 */
    uint16_t proxy_port;           /* 3002 */
    char domain[256];              /* localhost:3002; "none": answers carry null */
    bool ephemeral;                /* kill every sandbox on exit */
    char accel[8];                 /* auto, kvm, tcg */
    unsigned vcpus;                /* of a sandbox; 0: 1 under TCG, 2 with KVM */
    unsigned memory_mb;            /* 512 */
    uint64_t disk_mb;              /* 4096 */
    unsigned max_sandboxes;        /* 0: from the host's memory */
    unsigned default_timeout_s;    /* 300; of v2 creates */
    unsigned max_lifetime_s;       /* 86400 */
    uint32_t uid_base;             /* first uid for VMMs, 200000; needs root */
    bool jail;                     /* own uid per VMM; false only without root */
    char log_level[8];
};

void config_defaults(struct config *c);

/* Apply SANDPIT_* variables. 0, or -EINVAL with the variable and what it may be. */
int config_from_env(struct config *c, struct err *err);

/* Parse flags of `serve` (getopt_long from argv[1]); `what` tells --help was asked. */
int config_from_args(struct config *c, int argc, char **argv, bool *help, struct err *err);

/* Check the whole for contradictions. */
int config_check(const struct config *c, struct err *err);

#endif
