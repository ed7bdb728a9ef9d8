/* SandboxService.Pause, Resume and Checkpoint. Each goes on when its caller leaves. */
#include "orchestrator/node/service.h"

#include <errno.h>

static void on_paused(void *user, const struct sandbox_timings *timings, const struct err *err)
{
    struct node_call *c = user;
    Sandpit__Node__V1__PauseSandboxResponse answer =
        SANDPIT__NODE__V1__PAUSE_SANDBOX_RESPONSE__INIT;
    (void)timings;
    if (err)
        node_call_fail(c, err);
    else
        node_call_reply(c, &answer.base);
}

void sandbox_service_pause(struct node_call *c)
{
    const Sandpit__Node__V1__PauseSandboxRequest *r = (const void *)c->request;
    /* The host may be another one when it is resumed, and not take its memory. */
    struct sandbox_pause_spec spec = { .memory = !r->disk_only,
                                       .sync = true,
                                       .require_healthy = r->require_healthy,
                                       .actor = NODE_ACTOR };
    sandbox_pause(node_of(c)->o.host, r->id, NULL, &spec, on_paused, c);
}

static void on_connected(void *user, struct sandbox *sb, bool resumed,
                         const struct sandbox_timings *timings, const struct err *err)
{
    struct node_call *c = user;
    Sandpit__Node__V1__ResumeSandboxResponse answer =
        SANDPIT__NODE__V1__RESUME_SANDBOX_RESPONSE__INIT;
    (void)timings;
    if (err) {
        node_call_fail(c, err);
        return;
    }
    answer.sandbox = message_sandbox(&c->arena, sb);
    answer.tokens = message_tokens(&c->arena, sb);
    answer.resumed = resumed;
    node_call_reply(c, &answer.base);
}

void sandbox_service_resume(struct node_call *c)
{
    const Sandpit__Node__V1__ResumeSandboxRequest *r = (const void *)c->request;
    const struct config *config = node_of(c)->o.config;
    struct sandbox_connect_spec spec = {
        .timeout_s = r->_timeout_s_case ? r->timeout_s : config->default_timeout_s,
        .reboot = r->reboot,
        .must_be_paused = !r->or_running,
        .actor = NODE_ACTOR,
    };
    struct err err;
    if (spec.timeout_s < 1 || spec.timeout_s > config->max_lifetime_s) {
        err_fill(&err, ERR_INVALID, "timeout_s must be from 1 to %u", config->max_lifetime_s);
        node_call_fail(c, &err);
        return;
    }
    sandbox_connect(node_of(c)->o.host, r->id, NULL, &spec, on_connected, c);
}

static void on_snapshotted(void *user, const char *snapshot_id, const char *name,
                           const struct sandbox_timings *timings, const struct err *err)
{
    struct node_call *c = user;
    Sandpit__Node__V1__CheckpointSandboxResponse answer =
        SANDPIT__NODE__V1__CHECKPOINT_SANDBOX_RESPONSE__INIT;
    (void)timings;
    if (err) {
        node_call_fail(c, err);
        return;
    }
    answer.snapshot_id = message_text(snapshot_id);
    answer.name = message_text(name ? name : "");
    node_call_reply(c, &answer.base);
}

void sandbox_service_checkpoint(struct node_call *c)
{
    const Sandpit__Node__V1__CheckpointSandboxRequest *r = (const void *)c->request;
    struct sandbox_snapshot_spec spec = { .name = text_or_null(r->name),
                                          .memory = !r->disk_only,
                                          .require_healthy = r->require_healthy,
                                          .actor = NODE_ACTOR };
    sandbox_snapshot(node_of(c)->o.host, r->id, NULL, &spec, on_snapshotted, c);
}
