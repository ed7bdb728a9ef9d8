#include "orchestrator/node/service.h"

/* A message that cannot be made is left out: memory for some dozens of bytes is there, or the
 * kernel has other plans for this process. */
#define NEW(arena, type, init)                                                                     \
    __extension__({                                                                                \
        type *made_ = arena_alloc(arena, sizeof(*made_));                                          \
        if (made_)                                                                                 \
            init(made_);                                                                           \
        made_;                                                                                     \
    })

Google__Protobuf__Timestamp *message_time(struct arena *a, int64_t ns)
{
    Google__Protobuf__Timestamp *t =
        NEW(a, Google__Protobuf__Timestamp, google__protobuf__timestamp__init);
    if (t) {
        t->seconds = ns / 1000000000;
        t->nanos = (int32_t)(ns % 1000000000);
    }
    return t;
}

static size_t message_metadata(struct arena *a, json_t *metadata,
                               Sandpit__Node__V1__Sandbox__MetadataEntry ***out)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    *out = arena_alloc(a, (json_object_size(metadata) + 1) * sizeof(**out));
    if (!*out)
        return 0;
    json_object_foreach (metadata, name, value) {
        Sandpit__Node__V1__Sandbox__MetadataEntry *e =
            NEW(a, Sandpit__Node__V1__Sandbox__MetadataEntry,
                sandpit__node__v1__sandbox__metadata_entry__init);
        if (!e)
            break;
        e->key = message_text(name);
        e->value = message_text(json_string_value(value));
        (*out)[n++] = e;
    }
    return n;
}

Sandpit__Node__V1__SandboxState message_state(const struct sandbox *sb)
{
    int state = sm_state(&sb->sm);
    if (state == SANDBOX_PAUSING)
        return SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_PAUSING;
    if (state == SANDBOX_PAUSED)
        return SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_PAUSED;
    if (state == SANDBOX_RESUMING)
        return SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_RESUMING;
    return SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_RUNNING;
}

Sandpit__Node__V1__Sandbox *message_sandbox(struct arena *a, const struct sandbox *sb)
{
    Sandpit__Node__V1__Sandbox *m =
        NEW(a, Sandpit__Node__V1__Sandbox, sandpit__node__v1__sandbox__init);
    if (!m)
        return NULL;
    m->id = message_text(sb->id);
    m->team_id = message_text(sb->team_id);
    m->template_id = message_text(sb->template_id);
    m->alias = message_text(sb->alias);
    m->envd_version = message_text(sb->envd_version);
    m->state = message_state(sb);
    m->started_at = message_time(a, sb->started_ns);
    m->end_at = message_time(a, sb->end_ns);
    m->vcpus = sb->vcpus;
    m->memory_mb = sb->memory_mb;
    m->disk_mb = sb->disk_mb;
    m->auto_pause = sb->auto_pause;
    m->auto_resume = sb->auto_resume;
    m->n_metadata = message_metadata(a, sb->metadata, &m->metadata);
    return m;
}

Sandpit__Node__V1__SandboxTokens *message_tokens(struct arena *a, const struct sandbox *sb)
{
    Sandpit__Node__V1__SandboxTokens *m =
        NEW(a, Sandpit__Node__V1__SandboxTokens, sandpit__node__v1__sandbox_tokens__init);
    if (m) {
        m->access = message_text(sb->envd_token);
        m->traffic = message_text(sb->traffic_token);
    }
    return m;
}

static Sandpit__Node__V1__EventKind kind_of(enum sandbox_event_kind kind)
{
    switch (kind) {
    case SANDBOX_EVENT_CREATED:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_CREATED;
    case SANDBOX_EVENT_RUNNING:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_RUNNING;
    case SANDBOX_EVENT_UPDATED:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_UPDATED;
    case SANDBOX_EVENT_ENDED:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_ENDED;
    case SANDBOX_EVENT_PAUSED:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_PAUSED;
    case SANDBOX_EVENT_RESUMED:
        return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_RESUMED;
    }
    return SANDPIT__NODE__V1__EVENT_KIND__EVENT_KIND_UNSPECIFIED;
}

Sandpit__Node__V1__Event *message_event(struct arena *a, const struct sandbox_event *e)
{
    Sandpit__Node__V1__Event *m = NEW(a, Sandpit__Node__V1__Event, sandpit__node__v1__event__init);
    if (!m)
        return NULL;
    m->kind = kind_of(e->kind);
    m->time = message_time(a, e->when_ns);
    m->sandbox_id = message_text(e->sandbox_id);
    m->team_id = message_text(e->team_id);
    m->template_id = message_text(e->template_id);
    m->reason = message_text(e->reason);
    m->detail = message_text(e->detail);
    if (e->end_ns)
        m->end_at = message_time(a, e->end_ns);
    return m;
}
