#include "orchestrator/bench/bench.h"
#include "orchestrator/cmd.h"
#include "orchestrator/options.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/base/str.h"

#include <signal.h>
#include <stdlib.h>

#define N_MAX     10000
#define BURST_MAX 100

static const char help[] =
    "Usage: sandpit bench [OPTION...]\n"
    "\n"
    "Measures creates, first commands, pauses, resumes and kills of sandboxes over HTTP, with a\n"
    "daemon of its own in a folder that is removed afterwards, and beside each the floor: the\n"
    "same with the VMM and the guest link alone.\n"
    "\n"
    "  --pool WHICH         hot (a spare that runs already, and a VMM's process, as a daemon has\n"
    "                       them by default), waiting (a VMM's process) or none (hot)\n"
    "  --number N           sandboxes, one after the other (20)\n"
    "  --burst N            and so many created at once (0)\n"
    "  --idle N             sandboxes that are looked at while they are idle (4)\n"
    "  --no-floor           without the floors\n"
    "  --json               one JSON object instead of a table\n"
    "  --template-from DIR  data directory that has the template base (that of --data-dir)\n"
    "  --accel WHICH        kvm, tcg (emulation) or auto\n"
    "  --cgroup WHERE       as for serve, and so are --vmm-memory-mb, --vmm-pids and --vmm-cpus\n"
    "  --data-dir DIR       everything that is kept (/var/lib/sandpit)\n"
    "\n"
    "Example:\n"
    "    sandpit bench --pool waiting --number 10 --no-floor\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly.\n";

static bool read_pool(struct bench_options *o)
{
    static const char *const names[] = {
        [BENCH_HOT] = "hot", [BENCH_WAITING] = "waiting", [BENCH_NONE] = "none"
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(o->pool_name, names[i]) == 0) {
            o->pool = (enum bench_pool)i;
            return true;
        }
    }
    fprintf(stderr, "sandpit bench: --pool must be hot, waiting or none\n");
    return false;
}

static bool read_number(const char *name, const char *text, uint64_t max, unsigned *out)
{
    uint64_t n;
    if (!text)
        return true;
    if (!str_to_u64(str_of(text), max, &n)) {
        fprintf(stderr, "sandpit bench: --%s must be a number up to %u\n", name, (unsigned)max);
        return false;
    }
    *out = (unsigned)n;
    return true;
}

static void on_signal(int signum)
{
    (void)signum;
    bench_interrupt();
}

static int measure(const struct bench_options *o, bool json)
{
    AUTO_FREE struct bench_result *r = calloc(1, sizeof(*r));
    struct err err;
    if (!r) {
        fprintf(stderr, "sandpit bench: out of memory\n");
        return CMD_FAILED;
    }
    int rc = bench_run(o, r, &err);
    if (rc < 0) {
        fprintf(stderr, "sandpit bench: %s\n", err.msg);
    } else if (json) {
        json_t *root = bench_report_json(r, o->pool_name);
        json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(root);
    } else {
        bench_report_text(r, o);
    }
    bench_result_deinit(r);
    return rc < 0 || fflush(stdout) != 0 ? CMD_FAILED : CMD_OK;
}

int cmd_bench(int argc, char **argv)
{
    static const char *const settings[] = { "data-dir", "accel",    "cgroup", "vmm-memory-mb",
                                            "vmm-pids", "vmm-cpus", NULL };
    struct bench_options o = { .pool_name = "hot", .n = 20, .idle = 4 };
    const char *from = NULL, *number = NULL, *burst = NULL, *idle = NULL;
    bool json = false, no_floor = false;
    const struct option_spec specs[] = {
        { "pool", &o.pool_name, NULL },   { "number", &number, NULL },
        { "burst", &burst, NULL },        { "idle", &idle, NULL },
        { "template-from", &from, NULL }, { "no-floor", NULL, &no_floor },
        { "json", NULL, &json },          { NULL, NULL, NULL }
    };
    struct config config;
    int first;
    int rc = options_parse(&config, "sandpit bench", help, argc, argv, specs, settings, 0, &first);
    if (rc >= 0)
        return rc;
    if (!read_pool(&o) || !read_number("number", number, N_MAX, &o.n) ||
        !read_number("burst", burst, BURST_MAX, &o.burst) ||
        !read_number("idle", idle, BURST_MAX, &o.idle))
        return CMD_USAGE;
    o.template_from = from ? from : config.data_dir;
    o.accel = config.accel;
    o.cgroup = config.cgroup;
    o.allowance = (struct vmm_allowance){ config.vmm_memory_mb, config.vmm_pids, config.vmm_cpus };
    o.floor = !no_floor;
    log_setup(LOG_LEVEL_WARN, "sandpit");
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return measure(&o, json);
}
