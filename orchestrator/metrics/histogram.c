#include "orchestrator/metrics/histogram.h"

#define FIRST_BOUND_US 1000

uint64_t histogram_bound_us(size_t bucket)
{
    return (uint64_t)FIRST_BOUND_US << bucket;
}

void histogram_add(struct histogram *h, uint64_t us)
{
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BOUNDS && us > histogram_bound_us(bucket))
        bucket++;
    h->counts[bucket]++;
    h->sum_us += us;
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++)
        n += h->counts[i];
    return n;
}
