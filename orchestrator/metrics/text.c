#include "orchestrator/metrics/text.h"

#include <inttypes.h>
#include <stdio.h>

#define US 1000000

void metrics_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '"' || *text == '\\')
            buf_printf(out, "\\%c", *text);
        else
            buf_putc(out, *text);
    }
}

/* `last` is one more, whose value needs no escaping, or NULL. */
static void put_labels(struct buf *out, const struct metrics_label *labels, size_t n,
                       const struct metrics_label *last)
{
    if (n == 0 && !last)
        return;
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%c%s=\"", i ? ',' : '{', labels[i].name);
        put_escaped(out, labels[i].value);
        buf_putc(out, '"');
    }
    if (last)
        buf_printf(out, "%c%s=\"%s\"", n ? ',' : '{', last->name, last->value);
    buf_putc(out, '}');
}

void metrics_value(struct buf *out, const char *name, const struct metrics_label *labels, size_t n,
                   uint64_t value)
{
    buf_puts(out, name);
    put_labels(out, labels, n, NULL);
    buf_printf(out, " %" PRIu64 "\n", value);
}

void metrics_histogram(struct buf *out, const char *name, const struct metrics_label *labels,
                       size_t n, const struct histogram *h)
{
    char bound[24];
    const struct metrics_label le = { "le", bound };
    uint64_t below = 0;
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        uint64_t us = histogram_bound_us(i);
        if (i < HISTOGRAM_BOUNDS)
            snprintf(bound, sizeof(bound), "%" PRIu64 ".%03" PRIu64, us / US, us % US / 1000);
        else
            snprintf(bound, sizeof(bound), "+Inf");
        below += h->counts[i];
        buf_printf(out, "%s_bucket", name);
        put_labels(out, labels, n, &le);
        buf_printf(out, " %" PRIu64 "\n", below);
    }
    buf_printf(out, "%s_sum", name);
    put_labels(out, labels, n, NULL);
    buf_printf(out, " %" PRIu64 ".%06" PRIu64 "\n%s_count", h->sum_us / US, h->sum_us % US, name);
    put_labels(out, labels, n, NULL);
    buf_printf(out, " %" PRIu64 "\n", below);
}
