#include "orchestrator/sandbox/metrics.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/metrics/text.h"

#include <assert.h>
#include <stdio.h>

static const struct {
    const char *name, *source;
    enum sandbox_operation failures; /* where its failures are counted: by name alone */
} operations[OPERATION_NR] = {
    [OPERATION_CREATE] = { "create", "none", OPERATION_CREATE },
    [OPERATION_CREATE_WAITING] = { "create", "waiting", OPERATION_CREATE },
    [OPERATION_CREATE_HOT] = { "create", "hot", OPERATION_CREATE },
    [OPERATION_CREATE_FORK] = { "create", "fork", OPERATION_CREATE },
    [OPERATION_CREATE_BOOT] = { "create", "boot", OPERATION_CREATE },
    [OPERATION_RESUME] = { "resume", "memory", OPERATION_RESUME },
    [OPERATION_RESUME_BOOT] = { "resume", "boot", OPERATION_RESUME },
    [OPERATION_PAUSE] = { "pause", NULL, OPERATION_PAUSE },
    [OPERATION_SNAPSHOT] = { "snapshot", NULL, OPERATION_SNAPSHOT },
    [OPERATION_FORK] = { "fork", NULL, OPERATION_FORK },
    [OPERATION_KILL] = { "kill", NULL, OPERATION_KILL },
};

void metrics_operation(struct sandbox_metrics *m, enum sandbox_operation what,
                       const struct sandbox_timings *t, int64_t began_ns, const struct err *err)
{
    if (err && err->code) {
        assert((size_t)err->code < OPERATION_CODES);
        m->failed[operations[what].failures][err->code]++;
        return;
    }
    histogram_add(&m->total[what], (uint64_t)(clock_mono_ns() - began_ns) / 1000);
    for (size_t i = 0; t && i < SANDBOX_PHASE_NR; i++)
        if (t->us[i])
            histogram_add(&m->phases[what][i], t->us[i]);
}

void metrics_ended(struct sandbox_metrics *m, const char *reason)
{
    const size_t last = OPERATION_ENDS_MAX - 1;
    size_t i = 0;
    while (i < last && m->ends[i].n && strcmp(m->ends[i].reason, reason) != 0)
        i++;
    if (!m->ends[i].n)
        snprintf(m->ends[i].reason, sizeof(m->ends[i].reason), "%s", i < last ? reason : "other");
    m->ends[i].n++;
}

/* Labels of an operation; returns how many. */
static size_t label(enum sandbox_operation what, struct metrics_label out[static 2])
{
    out[0] = (struct metrics_label){ "operation", operations[what].name };
    if (!operations[what].source)
        return 1;
    out[1] = (struct metrics_label){ "source", operations[what].source };
    return 2;
}

static void write_totals(const struct sandbox_metrics *m, struct buf *out)
{
    static const char name[] = "sandpit_operation_duration_seconds";
    struct metrics_label labels[2];
    metrics_family(out, name, "histogram", "Operations on sandboxes that went well, as a whole.");
    for (int i = 0; i < OPERATION_NR; i++) {
        size_t n = label(i, labels);
        metrics_histogram(out, name, labels, n, &m->total[i]);
    }
}

/* Only those that there were: most operations have few phases. */
static void write_phases(const struct sandbox_metrics *m, struct buf *out)
{
    static const char name[] = "sandpit_operation_phase_seconds";
    struct metrics_label labels[3];
    metrics_family(out, name, "histogram", "The same by phase, as in Server-Timing.");
    for (int i = 0; i < OPERATION_NR; i++) {
        size_t n = label(i, labels);
        for (int phase = 0; phase < SANDBOX_PHASE_NR; phase++) {
            labels[n] = (struct metrics_label){ "phase", sandbox_phase_name(phase) };
            if (histogram_count(&m->phases[i][phase]))
                metrics_histogram(out, name, labels, n + 1, &m->phases[i][phase]);
        }
    }
}

static void write_failures(const struct sandbox_metrics *m, struct buf *out)
{
    static const char name[] = "sandpit_operation_failures_total";
    metrics_family(out, name, "counter", "Operations on sandboxes that failed, by code.");
    for (int i = 0; i < OPERATION_NR; i++)
        for (int code = 0; code < OPERATION_CODES; code++) {
            const struct metrics_label labels[] = { { "operation", operations[i].name },
                                                    { "code", err_code_name(code) } };
            if (m->failed[i][code])
                metrics_value(out, name, labels, 2, m->failed[i][code]);
        }
}

static void write_ends(const struct sandbox_metrics *m, struct buf *out)
{
    static const char name[] = "sandpit_sandboxes_ended_total";
    metrics_family(out, name, "counter", "Sandboxes that ended, by reason.");
    for (size_t i = 0; i < OPERATION_ENDS_MAX && m->ends[i].n; i++) {
        const struct metrics_label labels = { "reason", m->ends[i].reason };
        metrics_value(out, name, &labels, 1, m->ends[i].n);
    }
}

void metrics_write(const struct sandbox_metrics *m, struct buf *out)
{
    write_totals(m, out);
    write_phases(m, out);
    write_failures(m, out);
    write_ends(m, out);
}
