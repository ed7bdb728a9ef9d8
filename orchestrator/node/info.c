#include "common/base/clock.h"
#include "orchestrator/node/service.h"
#include "orchestrator/vmm/vmm.h"

static Sandpit__Node__V1__NodeState state_of(const struct node *n)
{
    return sandbox_host_is_draining(n->o.host) ? SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_DRAINING
                                               : SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_READY;
}

void info_get(struct node_call *c)
{
    struct node *n = node_of(c);
    Sandpit__Node__V1__Info info = SANDPIT__NODE__V1__INFO__INIT;
    Sandpit__Node__V1__Resources capacity = SANDPIT__NODE__V1__RESOURCES__INIT;
    Sandpit__Node__V1__Resources used = SANDPIT__NODE__V1__RESOURCES__INIT;
    struct sandbox_usage usage;
    sandbox_host_usage(n->o.host, &usage);
    capacity.sandboxes = n->capacity;
    capacity.vcpus = n->cpus;
    capacity.memory_mb = n->memory_mb;
    used.sandboxes = usage.sandboxes;
    used.vcpus = usage.vcpus;
    used.memory_mb = usage.memory_mb;

    info.node_id = n->id;
    info.hostname = n->hostname;
    info.version = message_text(SANDPIT_VERSION);
    info.started_at = message_time(&c->arena, n->started_ns);
    info.uptime_s = (uint64_t)(clock_mono_ns() - n->started_mono_ns) / 1000000000;
    info.accelerator = message_text(n->o.vmm->accelerator);
    info.vmm = message_text(n->o.vmm->version);
    info.cgroups = message_text(n->o.vmm->cgroups);
    info.state = state_of(n);
    info.capacity = &capacity;
    info.used = &used;
    node_call_reply(c, &info.base);
}

void info_set_state(struct node_call *c)
{
    struct node *n = node_of(c);
    const Sandpit__Node__V1__SetStateRequest *r = (const void *)c->request;
    Sandpit__Node__V1__SetStateResponse answer = SANDPIT__NODE__V1__SET_STATE_RESPONSE__INIT;
    if (r->state != SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_READY &&
        r->state != SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_DRAINING) {
        struct err err;
        err_fill(&err, ERR_INVALID, "state must be ready or draining");
        node_call_fail(c, &err);
        return;
    }
    answer.previous = state_of(n);
    sandbox_host_drain(n->o.host, r->state == SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_DRAINING);
    node_call_reply(c, &answer.base);
}
