/* Prometheus' text format, version 0.0.4. A family is begun once, then all its samples follow. */
#ifndef ORCHESTRATOR_METRICS_TEXT_H
#define ORCHESTRATOR_METRICS_TEXT_H

#include "common/base/buf.h"
#include "orchestrator/metrics/histogram.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_label {
    const char *name;
    const char *value; /* any text */
};

/* `type` is counter, gauge or histogram; `help` has no backslash and no line break. */
void metrics_family(struct buf *out, const char *name, const char *type, const char *help);

/* A sample of the family. */
void metrics_value(struct buf *out, const char *name, const struct metrics_label *labels, size_t n,
                   uint64_t value);

/* A histogram's samples, in seconds. */
void metrics_histogram(struct buf *out, const char *name, const struct metrics_label *labels,
                       size_t n, const struct histogram *h);

#endif
