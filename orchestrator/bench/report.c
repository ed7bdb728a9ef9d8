#include "orchestrator/bench/bench.h"

#include <math.h>
#include <stdio.h>

const char *const bench_op_names[BENCH_OP_NR] = {
    [BENCH_CREATE] = "create", [BENCH_FIRST_COMMAND] = "first_command",
    [BENCH_PAUSE] = "pause",   [BENCH_RESUME] = "resume",
    [BENCH_KILL] = "kill",
};

/* Microseconds are the noise of the clock and of who reads it. */
static json_t *number(double x)
{
    return json_real(round(x * 1000) / 1000);
}

json_t *bench_report_json(struct bench_result *r, const char *pool)
{
    json_t *root = json_object();
    for (size_t i = 0; i < BENCH_OP_NR; i++) {
        json_t *op = json_object();
        json_object_set_new(op, "min_ms", number(samples_quantile(&r->ops[i], 0)));
        json_object_set_new(op, "p50_ms", number(samples_quantile(&r->ops[i], 0.5)));
        json_object_set_new(op, "p99_ms", number(samples_quantile(&r->ops[i], 0.99)));
        if (r->floor_p50_ms[i] > 0)
            json_object_set_new(op, "floor_p50_ms", number(r->floor_p50_ms[i]));
        json_object_set_new(root, bench_op_names[i], op);
    }
    json_object_set_new(root, "accel", json_string(r->accel));
    json_object_set_new(root, "kernel", json_string(r->kernel));
    json_object_set_new(root, "pool", json_string(pool));
    json_object_set_new(root, "pss_mb", number(r->pss_mb));
    json_object_set_new(root, "idle_cpu_percent", number(r->idle_cpu_percent));
    return root;
}

static void print_row(const char *name, struct samples *s, double floor)
{
    printf("%-22s %5zu %9.1f %9.1f %9.1f", name, s->n, samples_quantile(s, 0),
           samples_quantile(s, 0.5), samples_quantile(s, 0.99));
    if (floor > 0)
        printf(" %10.1f", floor);
    putchar('\n');
}

void bench_report_text(struct bench_result *r, const struct bench_options *o)
{
    char name[32];
    printf("%s, %s kernel, pool: %s\n", r->accel, r->kernel, o->pool_name);
    printf("%-22s %5s %9s %9s %9s %10s\n", "ms", "n", "min", "p50", "p99", "floor p50");
    for (size_t i = 0; i < BENCH_OP_NR; i++) {
        print_row(bench_op_names[i], &r->ops[i], r->floor_p50_ms[i]);
        for (size_t k = 0; k < BENCH_PHASES_MAX && r->phases[i][k].name[0]; k++) {
            snprintf(name, sizeof(name), "  %s", r->phases[i][k].name);
            print_row(name, &r->phases[i][k].ms, 0);
        }
    }
    if (o->burst)
        print_row("create, in a burst", &r->burst, 0);
    printf("an idle sandbox: %.1f MB (PSS), %.2f %% of a core\n", r->pss_mb, r->idle_cpu_percent);
}
