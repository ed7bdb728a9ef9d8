/* What the files of the service share: its state, its methods, its messages. */
#ifndef ORCHESTRATOR_NODE_SERVICE_H
#define ORCHESTRATOR_NODE_SERVICE_H

#include "orchestrator/node/call.h"
#include "orchestrator/node/node.h"
#include "orchestrator/sandbox/events.h"
#include "orchestrator.pb-c.h"

/* Who asks, in records. */
#define NODE_ACTOR "node service"

struct node {
    struct node_options o;
    struct node_server *server;
    char id[33];
    char hostname[65];
    int64_t started_ns, started_mono_ns;
    unsigned cpus, capacity; /* of the host, of sandboxes */
    uint64_t memory_mb;
    struct list due_watches; /* there is an event that they may send */
    struct deferred tell;    /* sends it */
    void (*freed)(void *user);
    void *freed_user;
};

static inline struct node *node_of(struct node_call *c)
{
    return c->service;
}

/* Methods. */
void info_get(struct node_call *c);
void info_set_state(struct node_call *c);
void key_create(struct node_call *c);
void key_list(struct node_call *c);
void key_revoke(struct node_call *c);
void sandbox_service_create(struct node_call *c);
void sandbox_service_get(struct node_call *c);
void sandbox_service_list(struct node_call *c);
void sandbox_service_update(struct node_call *c);
void sandbox_service_pause(struct node_call *c);
void sandbox_service_resume(struct node_call *c);
void sandbox_service_checkpoint(struct node_call *c);
void sandbox_service_delete(struct node_call *c);
void sandbox_service_watch(struct node_call *c);

/* messages.c: all in the arena, or borrowed from what they are made of. */
Google__Protobuf__Timestamp *message_time(struct arena *a, int64_t ns);
Sandpit__Node__V1__Sandbox *message_sandbox(struct arena *a, const struct sandbox *sb);
Sandpit__Node__V1__SandboxTokens *message_tokens(struct arena *a, const struct sandbox *sb);
Sandpit__Node__V1__Event *message_event(struct arena *a, const struct sandbox_event *e);

/* protobuf-c has no const texts; what is sent is not changed. */
static inline char *message_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* A protobuf text that is empty when it is not given, as NULL. */
static inline const char *text_or_null(const char *text)
{
    return text[0] ? text : NULL;
}

Sandpit__Node__V1__SandboxState message_state(const struct sandbox *sb);

void node_fail_no_sandbox(struct node_call *c, const char *id);

#endif
