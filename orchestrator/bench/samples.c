#include "orchestrator/bench/samples.h"

#include "common/base/clock.h"

#include <math.h>
#include <stdlib.h>

#define SAMPLES_FIRST 64

void samples_deinit(struct samples *s)
{
    free(s->ms);
    *s = (struct samples){ 0 };
}

void samples_add(struct samples *s, double ms)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : SAMPLES_FIRST;
        double *more = s->n < SAMPLES_MAX ? realloc(s->ms, cap * sizeof(*more)) : NULL;
        if (!more)
            return;
        s->ms = more;
        s->cap = cap;
    }
    s->ms[s->n++] = ms;
    s->sorted = false;
}

void samples_add_since(struct samples *s, int64_t begun_ns)
{
    samples_add(s, (double)(clock_mono_ns() - begun_ns) / 1e6);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double samples_quantile(struct samples *s, double q)
{
    if (s->n == 0)
        return 0;
    if (!s->sorted)
        qsort(s->ms, s->n, sizeof(s->ms[0]), by_value);
    s->sorted = true;
    /* The nearest rank: a value that was measured, nothing between two. */
    size_t rank = (size_t)ceil(q * (double)s->n);
    return s->ms[rank > 0 ? rank - 1 : 0];
}
