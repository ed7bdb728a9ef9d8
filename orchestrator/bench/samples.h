/* Measured times: the least, the middle and nearly the most of them. */
#ifndef ORCHESTRATOR_BENCH_SAMPLES_H
#define ORCHESTRATOR_BENCH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLES_MAX 10000

struct samples {
    double *ms;
    size_t n, cap;
    bool sorted;
};

void samples_deinit(struct samples *s);

/* What does not fit, in memory or beyond SAMPLES_MAX, is left out. */
void samples_add(struct samples *s, double ms);
void samples_add_since(struct samples *s, int64_t begun_ns);

/* The value that the fraction q (0 to 1) of the samples is not above: q 0 is the least, 0.5 the
 * middle, 1 the most. 0 when there is none. */
double samples_quantile(struct samples *s, double q);

#endif
