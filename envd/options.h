/* envd's command line. */
#ifndef ENVD_OPTIONS_H
#define ENVD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Most that may be kept of one process' output, and of all of them. */
#define OPTION_RING_KIB_MAX 1048576

struct options {
    uint16_t port;
    const char *host;
    const char *cgroup_root;
    size_t ring_bytes, ring_budget; /* output kept of one process and of all */
    bool not_guest, no_cgroups, verbose;
};

enum options_todo { OPTIONS_SERVE, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_COMMIT, OPTIONS_WRONG };

/* What argv asks for. Strings are borrowed from it. OPTIONS_WRONG after a line on standard error
 * that says why. */
enum options_todo options_parse(int argc, char **argv, struct options *out);

extern const char options_usage[];

#endif
