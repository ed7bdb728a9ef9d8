/* How often something took how long: counts in fixed buckets, each twice as wide as the one before.
 * Adding allocates nothing and takes the same time always. */
#ifndef ORCHESTRATOR_METRICS_HISTOGRAM_H
#define ORCHESTRATOR_METRICS_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Upper bounds of 1 ms, 2 ms, 4 ms ... 131,072 ms, and one bucket for what took longer. A bound
 * belongs to its bucket. */
#define HISTOGRAM_BOUNDS 18

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* of each bucket alone */
    uint64_t sum_us;
};

uint64_t histogram_bound_us(size_t bucket);
void histogram_add(struct histogram *h, uint64_t us);
uint64_t histogram_count(const struct histogram *h);

#endif
