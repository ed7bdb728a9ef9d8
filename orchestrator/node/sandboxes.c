#include "orchestrator/node/service.h"

#include <stdio.h>

void node_fail_no_sandbox(struct node_call *c, const char *id)
{
    struct err err;
    err_fill(&err, ERR_NOT_FOUND, "sandbox '%.64s' not found", id);
    node_call_fail(c, &err);
}

void sandbox_service_get(struct node_call *c)
{
    const Sandpit__Node__V1__GetSandboxRequest *r = (const void *)c->request;
    Sandpit__Node__V1__GetSandboxResponse answer = SANDPIT__NODE__V1__GET_SANDBOX_RESPONSE__INIT;
    const struct sandbox *sb = sandbox_lookup(node_of(c)->o.host, r->id, NULL);
    if (!sb) {
        node_fail_no_sandbox(c, r->id);
        return;
    }
    answer.sandbox = message_sandbox(&c->arena, sb);
    if (r->with_tokens)
        answer.tokens = message_tokens(&c->arena, sb);
    node_call_reply(c, &answer.base);
}

void sandbox_service_update(struct node_call *c)
{
    const Sandpit__Node__V1__UpdateSandboxRequest *r = (const void *)c->request;
    Sandpit__Node__V1__UpdateSandboxResponse answer =
        SANDPIT__NODE__V1__UPDATE_SANDBOX_RESPONSE__INIT;
    struct sandbox *sb = sandbox_lookup(node_of(c)->o.host, r->id, NULL);
    struct err err;
    if (!sb) {
        node_fail_no_sandbox(c, r->id);
    } else if (sm_state(&sb->sm) != SANDBOX_RUNNING) {
        err_fill(&err, ERR_ABORTED, "sandbox '%s' does not run: it is %s", sb->id,
                 sm_state(&sb->sm) == SANDBOX_PAUSED ? "paused" : "on its way");
        node_call_fail(c, &err);
    } else if (r->_timeout_s_case && sandbox_set_timeout(sb, r->timeout_s, false, &err)) {
        node_call_fail(c, &err);
    } else {
        answer.sandbox = message_sandbox(&c->arena, sb);
        node_call_reply(c, &answer.base);
    }
}

static void on_deleted(void *user, const struct err *err)
{
    struct node_call *c = user;
    const Sandpit__Node__V1__DeleteSandboxRequest *r = (const void *)c->request;
    Sandpit__Node__V1__DeleteSandboxResponse answer =
        SANDPIT__NODE__V1__DELETE_SANDBOX_RESPONSE__INIT;
    if (!err)
        node_call_reply(c, &answer.base);
    else if (err->code == ERR_NOT_FOUND)
        node_fail_no_sandbox(c, r->id);
    else
        node_call_fail(c, err);
}

void sandbox_service_delete(struct node_call *c)
{
    const Sandpit__Node__V1__DeleteSandboxRequest *r = (const void *)c->request;
    sandbox_kill(node_of(c)->o.host, r->id, NULL, NODE_ACTOR, on_deleted, c);
}
