#include "orchestrator/api/sandbox_json.h"

#include "common/base/clock.h"

static void set(json_t *obj, const char *name, json_t *value)
{
    json_object_set_new(obj, name, value); /* takes value, also when it fails */
}

static void set_text(json_t *obj, const char *name, const char *text)
{
    if (text[0])
        set(obj, name, json_string(text));
}

/* null, not absent: without an answer clients would fall back to a domain of their own. */
static void set_domain(json_t *obj, const struct config *config)
{
    bool none = strcmp(config->domain, "none") == 0;
    set(obj, "domain", none ? json_null() : json_string(config->domain));
}

static void set_time(json_t *obj, const char *name, int64_t ns)
{
    char text[CLOCK_TEXT_MAX];
    clock_rfc3339(ns, text);
    set(obj, name, json_string(text));
}

static json_t *common(const struct sandbox *sb)
{
    json_t *obj = json_pack("{s:s, s:s, s:s, s:s}", "templateID", sb->template_id, "sandboxID",
                            sb->id, "clientID", API_CLIENT_ID, "envdVersion", sb->envd_version);
    if (obj)
        set_text(obj, "alias", sb->alias);
    return obj;
}

json_t *sandbox_json(const struct sandbox *sb, const struct config *config)
{
    json_t *obj = common(sb);
    if (!obj)
        return NULL;
    set_text(obj, "envdAccessToken", sb->envd_token);
    set_text(obj, "trafficAccessToken", sb->traffic_token);
    set_domain(obj, config);
    return obj;
}

json_t *sandbox_json_listed(const struct sandbox *sb)
{
    json_t *obj = common(sb);
    if (!obj)
        return NULL;
    set_time(obj, "startedAt", sb->started_ns);
    set_time(obj, "endAt", sb->end_ns);
    set(obj, "cpuCount", json_integer((json_int_t)sb->vcpus));
    set(obj, "memoryMB", json_integer((json_int_t)sb->memory_mb));
    set(obj, "diskSizeMB", json_integer((json_int_t)sb->disk_mb));
    /* What is on its way into a pause or out of it is no running one. */
    bool running = sm_state(&sb->sm) == SANDBOX_RUNNING;
    set(obj, "state", json_string(running ? "running" : "paused"));
    set(obj, "metadata", json_incref(sb->metadata));
    if (!running && sb->unresponsive_at_pause)
        set(obj, "envdUnresponsiveAtPause", json_true());
    return obj;
}

json_t *sandbox_json_detail(const struct sandbox *sb, const struct config *config)
{
    json_t *obj = sandbox_json_listed(sb);
    if (!obj)
        return NULL;
    set_text(obj, "envdAccessToken", sb->envd_token);
    set_domain(obj, config);
    if (sm_state(&sb->sm) == SANDBOX_PAUSED)
        set(obj, "pauseMode", json_string(sb->filesystem_only ? "filesystem" : "full"));
    set(obj, "lifecycle",
        json_pack("{s:b, s:s}", "autoResume", sb->auto_resume, "onTimeout",
                  sb->auto_pause ? "pause" : "kill"));
    /* allowInternetAccess, network: as create_options.c put them. */
    json_object_update_missing(obj, sb->config);
    return obj;
}
