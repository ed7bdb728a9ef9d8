/*
 * `sandpit bench`: how long what clients ask for takes, through the whole daemon, beside what the
 * same takes with the VMM and the guest link alone.
 */
#ifndef ORCHESTRATOR_BENCH_BENCH_H
#define ORCHESTRATOR_BENCH_BENCH_H

#include "common/base/err.h"
#include "orchestrator/bench/samples.h"
#include "orchestrator/vmm/vmm.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

enum bench_pool { BENCH_HOT, BENCH_WAITING, BENCH_NONE };

/* What is measured, in this order for each sandbox. */
enum bench_op {
    BENCH_CREATE,
    BENCH_FIRST_COMMAND,
    BENCH_PAUSE,
    BENCH_RESUME,
    BENCH_KILL,
    BENCH_OP_NR
};
extern const char *const bench_op_names[BENCH_OP_NR];

struct bench_options {
    const char *template_from; /* data directory with the template "base" */
    const char *accel;
    const char *cgroup; /* where VMs get control groups, of the floors as of the daemon */
    struct vmm_allowance allowance;
    enum bench_pool pool;
    const char *pool_name;
    unsigned n;     /* sandboxes, one after the other */
    unsigned burst; /* at once, after those; 0: none */
    unsigned idle;  /* sandboxes that are looked at while they do nothing */
    bool floor;     /* measure the floors too */
};

/* Phases of an operation, by the names that the daemon gives them. */
#define BENCH_PHASES_MAX 8
#define BENCH_PHASE_SIZE 16

struct bench_phase {
    char name[BENCH_PHASE_SIZE];
    struct samples ms;
};

struct bench_result {
    struct samples ops[BENCH_OP_NR], burst;
    struct bench_phase phases[BENCH_OP_NR][BENCH_PHASES_MAX];
    double floor_p50_ms[BENCH_OP_NR]; /* 0: there is none */
    double pss_mb, idle_cpu_percent;  /* per idle sandbox */
    char accel[8], kernel[16];
};

/* Measure; what goes on is told on stderr. The result is deinited in any case. */
int bench_run(const struct bench_options *o, struct bench_result *out, struct err *err);
void bench_result_deinit(struct bench_result *r);

/* Make a running measurement end soon, with ERR_CANCELED, and clean up. Async-signal-safe. */
void bench_interrupt(void);
bool bench_interrupted(void);

/* The floors, measured in this process: medians into out[], 0 where there is none. `dir` is for
 * files, `build` the folder of the template's build. */
int bench_floor(const struct bench_options *o, const char *build, const char *dir,
                double out[static BENCH_OP_NR], struct err *err);

/* The same by a process of its own. */
int bench_floor_in_child(const struct bench_options *o, const char *build, const char *dir,
                         double out[static BENCH_OP_NR], struct err *err);

/* report.c: one JSON object; a table for people. */
json_t *bench_report_json(struct bench_result *r, const char *pool);
void bench_report_text(struct bench_result *r, const struct bench_options *o);

#endif
