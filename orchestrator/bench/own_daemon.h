/* A daemon of this program's own, in a directory that goes with it. */
#ifndef ORCHESTRATOR_BENCH_OWN_DAEMON_H
#define ORCHESTRATOR_BENCH_OWN_DAEMON_H

#include "orchestrator/bench/bench.h"
#include "orchestrator/store/keys.h"

#include <sys/types.h>

struct own_daemon {
    char dir[PATH_MAX - 256]; /* its data directory; empty: none */
    char build[PATH_MAX];     /* folder of the template's build */
    unsigned memory_mb, vcpus;
    char kernel[16], accel[8];
    char key[KEY_SIZE];
    unsigned api_port, proxy_port;
    pid_t pid; /* 0: does not run */
};

/* Make the directory, with a database that knows the template and a key. */
int own_daemon_prepare(struct own_daemon *d, const struct bench_options *o, struct err *err);

/* Start it; it answers then. */
int own_daemon_start(struct own_daemon *d, const struct bench_options *o, struct err *err);

/* Stop it with its sandboxes and remove the directory. */
void own_daemon_end(struct own_daemon *d);

/* The process that runs the VM of a sandbox, or 0. */
pid_t own_daemon_vmm(const char *sandbox_id);

#endif
