#include "envd/options.h"
#include "envd/core/envd.h"
#include "envd/process/ring.h"

#include <getopt.h>
#include <stdio.h>

const char options_usage[] =
    "envd [-isnotfc] [-port N] [-host ADDRESS] [-cgroup-root DIR | -no-cgroups]\n"
    "     [-ring-kib N] [-ring-total-kib N] [-verbose]\n"
    "envd -version | -commit\n"
    "\n"
    "  -isnotfc           run as an ordinary process on a host, not as a guest's agent\n"
    "  -port N            TCP port (49983)\n"
    "  -host ADDRESS      address to listen on (0.0.0.0)\n"
    "  -cgroup-root DIR   where cgroup v2 is mounted (/sys/fs/cgroup)\n"
    "  -no-cgroups        leave processes in envd's own cgroup\n"
    "  -ring-kib N        output kept of one process for clients that come back (1024)\n"
    "  -ring-total-kib N  output kept of all processes together (32768)\n";

static const struct option table[] = {
    { "isnotfc", no_argument, NULL, 'i' },
    { "port", required_argument, NULL, 'p' },
    { "host", required_argument, NULL, 'a' },
    { "cgroup-root", required_argument, NULL, 'c' },
    { "no-cgroups", no_argument, NULL, 'n' },
    { "ring-kib", required_argument, NULL, 'r' },
    { "ring-total-kib", required_argument, NULL, 't' },
    { "verbose", no_argument, NULL, 'v' },
    { "version", no_argument, NULL, 'V' },
    { "commit", no_argument, NULL, 'C' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static bool number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    if (str_to_u64(str_of(text), max, out) && *out >= min)
        return true;
    fprintf(stderr, "envd: -%s must be a number from %llu to %llu\n", name, (unsigned long long)min,
            (unsigned long long)max);
    return false;
}

static bool kib(const char *name, const char *text, size_t *out)
{
    uint64_t n;
    if (!number(name, text, RING_BYTES_MIN / 1024, OPTION_RING_KIB_MAX, &n))
        return false;
    *out = (size_t)n * 1024;
    return true;
}

enum options_todo options_parse(int argc, char **argv, struct options *out)
{
    uint64_t port;
    int c;
    *out = (struct options){ .port = ENVD_PORT,
                             .host = "0.0.0.0",
                             .cgroup_root = "/sys/fs/cgroup",
                             .ring_bytes = RING_BYTES_DEFAULT,
                             .ring_budget = RING_BUDGET_DEFAULT };
    while ((c = getopt_long_only(argc, argv, "", table, NULL)) != -1) {
        switch (c) {
        case 'i':
            out->not_guest = true;
            break;
        case 'p':
            if (!number("port", optarg, 0, UINT16_MAX, &port))
                return OPTIONS_WRONG;
            out->port = (uint16_t)port;
            break;
        case 'a':
            out->host = optarg;
            break;
        case 'c':
            out->cgroup_root = optarg;
            break;
        case 'n':
            out->no_cgroups = true;
            break;
        case 'r':
            if (!kib("ring-kib", optarg, &out->ring_bytes))
                return OPTIONS_WRONG;
            break;
        case 't':
            if (!kib("ring-total-kib", optarg, &out->ring_budget))
                return OPTIONS_WRONG;
            break;
        case 'v':
            out->verbose = true;
            break;
        case 'V':
            return OPTIONS_VERSION;
        case 'C':
            return OPTIONS_COMMIT;
        case 'h':
            return OPTIONS_HELP;
        default:
            return OPTIONS_WRONG;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "envd: unexpected argument '%s'\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    if (out->ring_budget < out->ring_bytes) {
        fprintf(stderr, "envd: -ring-total-kib must not be less than -ring-kib\n");
        return OPTIONS_WRONG;
    }
    return OPTIONS_SERVE;
}
