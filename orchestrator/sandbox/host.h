/* All sandboxes of one daemon: what it starts, stops and gives them. */
#ifndef ORCHESTRATOR_SANDBOX_HOST_H
#define ORCHESTRATOR_SANDBOX_HOST_H

#include "orchestrator/config.h"
#include "orchestrator/sandbox/sandbox.h"

struct event_log;
struct store;
struct vmm_driver;

struct sandbox_host_options {
    uv_loop_t *loop;
    struct defer_queue *defer;
    const struct config *config; /* the rest is borrowed too, for the host's life */
    struct store *store;
    struct vmm_driver *driver;
};

/* NULL when memory is out. */
struct sandbox_host *sandbox_host_new(const struct sandbox_host_options *options);

/* Take over the sandboxes that an earlier daemon left: adopt what runs and answers, end the rest
 * with a record of why. done once; only then may requests be served. */
void sandbox_host_recover(struct sandbox_host *h, void (*done)(void *user, const struct err *err),
                          void *user);

/* No more creates. With kill_all every sandbox is ended first, otherwise VMs are let go running.
 * done when nothing is under way any more; then sandbox_host_free(). */
void sandbox_host_stop(struct sandbox_host *h, bool kill_all, void (*done)(void *user), void *user);
void sandbox_host_free(struct sandbox_host *h);

/* While it drains, creates are refused with ERR_UNAVAILABLE; what runs goes on. Not kept beyond the
 * daemon's life. */
void sandbox_host_drain(struct sandbox_host *h, bool draining);
bool sandbox_host_is_draining(const struct sandbox_host *h);

/* What happened to sandboxes; see events.h. */
struct event_log *sandbox_host_events(struct sandbox_host *h);

/* What sandboxes take, those that are being made and ended too; paused ones take nothing. */
struct sandbox_usage {
    unsigned sandboxes, vcpus;
    uint64_t memory_mb;
};
void sandbox_host_usage(const struct sandbox_host *h, struct sandbox_usage *out);

/* What operators watch, in Prometheus' text format. */
struct buf;
void sandbox_host_write_metrics(const struct sandbox_host *h, struct buf *out);

/* The shape of a new sandbox, after the configuration and the host's abilities. */
unsigned sandbox_host_vcpus(const struct sandbox_host *h);

/* How many may run at once: what the operator set, or as many of the configured size as the memory
 * allows; of larger templates fewer. */
unsigned sandbox_host_capacity(const struct sandbox_host *h);

#endif
