/* What there is now, in Prometheus' text format. */
#include "orchestrator/metrics/text.h"
#include "orchestrator/sandbox/internal.h"
#include "orchestrator/sandbox/pool.h"

static void put(struct buf *out, const char *name, const char *help, uint64_t value)
{
    metrics_family(out, name, "gauge", help);
    metrics_value(out, name, NULL, 0, value);
}

static void write_states(const struct sandbox_host *h, struct buf *out)
{
    static const char name[] = "sandpit_sandboxes";
    static const char *const names[SANDBOX_ENDED] = {
        [SANDBOX_CREATING] = "creating", [SANDBOX_RUNNING] = "running",
        [SANDBOX_PAUSING] = "pausing",   [SANDBOX_PAUSED] = "paused",
        [SANDBOX_RESUMING] = "resuming", [SANDBOX_KILLING] = "killing",
    };
    uint64_t n[SANDBOX_NR] = { 0 };
    for (struct map_entry *e = map_next(&h->by_id, NULL); e; e = map_next(&h->by_id, e)) {
        const struct sandbox *sb = e->value;
        if (!own_of(e->value)->spare)
            n[sm_state(&sb->sm)]++;
    }
    metrics_family(out, name, "gauge", "Sandboxes by state.");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct metrics_label label = { "state", names[i] };
        metrics_value(out, name, &label, 1, n[i]);
    }
}

static void write_spares(const struct sandbox_host *h, struct buf *out)
{
    static const char name[] = "sandpit_spares";
    struct pool_size size;
    pool_size(h, &size);
    const struct metrics_label hot = { "kind", "hot" }, waiting = { "kind", "waiting" };
    metrics_family(out, name, "gauge", "Spares that are ready, by kind.");
    metrics_value(out, name, &hot, 1, size.hot);
    metrics_value(out, name, &waiting, 1, size.waiting);
}

void sandbox_host_write_metrics(const struct sandbox_host *h, struct buf *out)
{
    struct sandbox_usage used;
    sandbox_host_usage(h, &used);
    uint64_t available = host_memory_available_mb();
    write_states(h, out);
    write_spares(h, out);
    put(out, "sandpit_sandboxes_max", "Sandboxes that may run at once.", sandbox_host_capacity(h));
    put(out, "sandpit_guest_vcpus", "Virtual CPUs of sandboxes that run.", used.vcpus);
    put(out, "sandpit_guest_memory_bytes", "Memory that guests of sandboxes that run may take.",
        used.memory_mb << 20);
    if (available != UINT64_MAX)
        put(out, "sandpit_host_memory_available_bytes", "Memory that the host has left.",
            available << 20);
    put(out, "sandpit_draining", "1 while no new sandboxes are taken.", h->draining);
    metrics_write(&h->metrics, out);
}
