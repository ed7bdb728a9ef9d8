#include "orchestrator/sandbox/internal.h"
#include "orchestrator/sandbox/pool.h"

#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/log.h"
#include "common/base/sha256.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Creates that do more than claim a hot spare go on at once so many for each CPU. */
#define CREATES_PER_CPU 2

static const struct sm_rule rules[SANDBOX_NR] = {
    [SANDBOX_CREATING] = { "creating",
                           SM_TO(SANDBOX_RUNNING) | SM_TO(SANDBOX_PAUSED) | SM_TO(SANDBOX_ENDED) },
    [SANDBOX_RUNNING] = { "running", SM_TO(SANDBOX_PAUSING) | SM_TO(SANDBOX_KILLING) },
    [SANDBOX_PAUSING] = { "pausing", SM_TO(SANDBOX_PAUSED) | SM_TO(SANDBOX_RUNNING) },
    [SANDBOX_PAUSED] = { "paused", SM_TO(SANDBOX_RESUMING) | SM_TO(SANDBOX_KILLING) },
    [SANDBOX_RESUMING] = { "resuming", SM_TO(SANDBOX_RUNNING) | SM_TO(SANDBOX_PAUSED) },
    [SANDBOX_KILLING] = { "killing", SM_TO(SANDBOX_ENDED) },
    [SANDBOX_ENDED] = { "ended", 0 },
};

static const char *ended_by(enum vmm_end end)
{
    return end == VMM_END_SHUTDOWN || end == VMM_END_PANIC ? "guest" : "host";
}

static void on_vm_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    struct sandbox *sb = vmm_user(v);
    struct sandbox_own *own = own_of(sb);
    if (own->spare) {
        pool_vm_ended(own, detail);
    } else if (own->create) {
        create_vm_ended(own->create, detail);
    } else if (own->vm_ended) {
        snprintf(own->end_reason, sizeof(own->end_reason), "%s", vmm_end_name(end));
        snprintf(own->end_detail, sizeof(own->end_detail), "%s", detail);
        own->vm_ended(own, detail);
    } else if (sm_state(&sb->sm) == SANDBOX_RUNNING) {
        sandbox_end(sb, vmm_end_name(end), detail, ended_by(end), NULL, NULL);
    }
}

static void on_disk_full(struct vmm *v, bool full)
{
    const struct sandbox *sb = vmm_user(v);
    if (full)
        log_error("the host's disk is full: a sandbox stands still until there is space",
                  LOG_STR("sandbox_id", sb->id));
    else
        log_info("a sandbox goes on after the host's disk was full", LOG_STR("sandbox_id", sb->id));
    if (sm_state(&sb->sm) == SANDBOX_RUNNING)
        sandbox_event(sb, SANDBOX_EVENT_UPDATED, full ? "disk_full" : "disk_writable", NULL);
}

const struct vmm_events sandbox_vmm_events = { .on_end = on_vm_end, .on_disk_full = on_disk_full };

static void on_link_up(struct guest_link *l)
{
    const struct sandbox *sb = guest_link_user(l);
    log_debug("guest link is up", LOG_STR("sandbox_id", sb->id));
}

static void on_link_down(struct guest_link *l)
{
    const struct sandbox *sb = guest_link_user(l);
    log_info("guest link was lost", LOG_STR("sandbox_id", sb->id));
}

const struct guest_link_events sandbox_link_events = { .on_up = on_link_up,
                                                       .on_down = on_link_down };

struct sandbox_host *sandbox_host_new(const struct sandbox_host_options *options)
{
    AUTO_FREE struct sandbox_host *h = calloc(1, sizeof(*h));
    if (!h || !event_log_init(&h->events))
        return NULL;
    h->loop = options->loop;
    h->defer = options->defer;
    h->config = options->config;
    h->store = options->store;
    h->driver = options->driver;
    list_init(&h->watchers);
    list_init(&h->running);
    list_init(&h->paused);
    list_init(&h->killing);
    list_init(&h->creating);
    h->spare_command_ms = SPARE_COMMAND_MS;
    turns_init(&h->turns, CREATES_PER_CPU * (size_t)uv_available_parallelism());
    list_init(&h->bases);
    list_init(&h->base_loads);
    h->pool = pool_new(h);
    if (!h->pool) {
        event_log_deinit(&h->events);
        return NULL;
    }
    expiry_init(h);
    return TAKE(h);
}

void sandbox_host_drain(struct sandbox_host *h, bool draining)
{
    if (h->draining != draining)
        log_info(draining ? "draining: no new sandboxes" : "taking new sandboxes again");
    h->draining = draining;
}

bool sandbox_host_is_draining(const struct sandbox_host *h)
{
    return h->draining;
}

struct event_log *sandbox_host_events(struct sandbox_host *h)
{
    return &h->events;
}

void sandbox_host_usage(const struct sandbox_host *h, struct sandbox_usage *out)
{
    *out = (struct sandbox_usage){ 0 };
    for (struct map_entry *e = map_next(&h->by_id, NULL); e; e = map_next(&h->by_id, e)) {
        const struct sandbox *sb = e->value;
        if (own_of(e->value)->spare || sm_state(&sb->sm) == SANDBOX_PAUSED)
            continue;
        out->sandboxes++;
        out->vcpus += sb->vcpus;
        out->memory_mb += sb->memory_mb;
    }
}

unsigned sandbox_host_vcpus(const struct sandbox_host *h)
{
    if (h->config->vcpus)
        return h->config->vcpus;
    return vmm_driver_host(h->driver)->kvm ? 2 : 1;
}

int slot_take(struct sandbox_host *h, int wanted)
{
    for (int i = wanted >= 0 ? wanted : 0; i < SANDBOX_SLOTS; i++) {
        if (!h->slots[i]) {
            h->slots[i] = true;
            return i;
        }
        if (wanted >= 0)
            break;
    }
    return -1;
}

void slot_give(struct sandbox_own *own)
{
    if (own->slot >= 0)
        own->sb.host->slots[own->slot] = false;
    own->slot = -1;
}

uid_t slot_uid(const struct sandbox_host *h, int slot)
{
    return h->config->jail ? (uid_t)(h->config->uid_base + (unsigned)slot) : (uid_t)-1;
}

void sandbox_own_run_dir(struct sandbox_own *own)
{
    snprintf(own->run_dir, sizeof(own->run_dir), "%s/run/%s", own->sb.host->config->data_dir,
             own->sb.id);
}

const char *sandbox_vmm_name(const struct sandbox_own *own)
{
    const char *slash = strrchr(own->run_dir, '/');
    return slash ? slash + 1 : own->run_dir;
}

struct sandbox_own *sandbox_alloc(struct sandbox_host *h, const char *id)
{
    struct sandbox_own *own = calloc(1, sizeof(*own));
    if (!own)
        return NULL;
    struct sandbox *sb = &own->sb;
    own->slot = -1;
    own->envs = json_object();
    id_uuid(own->layer_id);
    id_random_bytes(own->link_secret, sizeof(own->link_secret));
    list_init(&own->waiters);
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    sb->host = h;
    sandbox_own_run_dir(own);
    sb->refs = 1;
    sb->vcpus = sandbox_host_vcpus(h);
    sb->memory_mb = h->config->memory_mb;
    sb->disk_mb = h->config->disk_mb;
    sm_init(&sb->sm, "sandbox", id, rules, SANDBOX_CREATING);
    if (!map_set(&h->by_id, str_of(id), sb)) {
        json_decref(own->envs);
        free(own);
        return NULL;
    }
    return own;
}

void sandbox_ref(struct sandbox *sb)
{
    sb->refs++;
}

void sandbox_unref(struct sandbox *sb)
{
    if (--sb->refs)
        return;
    struct sandbox_own *own = own_of(sb);
    slot_give(own);
    map_remove(&sb->host->by_id, str_of(sb->id));
    json_decref(sb->metadata);
    json_decref(sb->config);
    json_decref(own->envs);
    free(own);
}

struct sandbox *sandbox_find(struct sandbox_host *h, const char *id, const char *team_id)
{
    struct sandbox *sb = map_get(&h->by_id, str_of(id));
    if (!sb || sm_state(&sb->sm) != SANDBOX_RUNNING)
        return NULL;
    return !team_id || strcmp(sb->team_id, team_id) == 0 ? sb : NULL;
}

struct sandbox *sandbox_lookup(struct sandbox_host *h, const char *id, const char *team_id)
{
    struct sandbox *sb = map_get(&h->by_id, str_of(id));
    if (!sb || sm_state(&sb->sm) < SANDBOX_RUNNING || sm_state(&sb->sm) > SANDBOX_RESUMING)
        return NULL;
    return !team_id || strcmp(sb->team_id, team_id) == 0 ? sb : NULL;
}

void sandbox_host_watch(struct sandbox_host *h, struct sandbox_watcher *w)
{
    list_push_back(&h->watchers, &w->node);
}

struct list *sandbox_host_list(struct sandbox_host *h)
{
    return &h->running;
}

struct list *sandbox_host_list_paused(struct sandbox_host *h)
{
    return &h->paused;
}

size_t sandbox_host_count(struct sandbox_host *h, const char *team_id)
{
    size_t n = 0;
    list_for_each (node, &h->running) {
        const struct sandbox *sb = container_of(node, struct sandbox, node);
        n += !team_id || strcmp(sb->team_id, team_id) == 0;
    }
    return n;
}

void sandbox_runs_on(struct sandbox *sb)
{
    list_push_back(&sb->host->running, &sb->node);
    expiry_rearm(sb->host);
}

int sandbox_set_timeout(struct sandbox *sb, int64_t timeout_s, bool extend_only, struct err *err)
{
    struct sandbox_host *h = sb->host;
    int64_t now = clock_wall_ns();
    int64_t longest = own_of(sb)->run_began_ns + (int64_t)h->config->max_lifetime_s * 1000000000;
    if (timeout_s < 0)
        timeout_s = 0;
    if (timeout_s > (int64_t)h->config->max_lifetime_s)
        return err_set(err, ERR_INVALID, EINVAL, "Max instance length exceeded: at most %u seconds",
                       h->config->max_lifetime_s);
    int64_t end = now + timeout_s * 1000000000;
    if (extend_only && end > longest)
        end = longest;
    if (end > longest)
        return err_set(err, ERR_INVALID, EINVAL, "Max instance length exceeded: at most %u seconds",
                       h->config->max_lifetime_s);
    if (extend_only && end <= sb->end_ns)
        return 0;
    sb->end_ns = end;
    expiry_rearm(h);
    sandbox_event(sb, SANDBOX_EVENT_UPDATED, NULL, NULL);
    store_sandbox_set_end(h->store, sb->id, end, NULL, NULL);
    return 0;
}

void sandbox_make_tokens(struct sandbox *sb, bool allow_public_traffic)
{
    const uint8_t *secret = store_secret(sb->host->store);
    uint8_t mac[SHA256_SIZE];
    if (sb->secure) {
        hmac_sha256(secret, STORE_SECRET_SIZE, sb->id, strlen(sb->id), mac);
        hex_encode(mac, sizeof(mac), sb->envd_token);
    }
    if (!allow_public_traffic) {
        char text[64];
        int n = snprintf(text, sizeof(text), "sandbox-traffic-%s", sb->id);
        hmac_sha256(secret, STORE_SECRET_SIZE, text, (size_t)n, mac);
        hex_encode(mac, sizeof(mac), sb->traffic_token);
    }
}

/* All that no transition is changing; the end of one comes here again. */
static void end_all(struct list *sandboxes)
{
    list_for_each_safe (node, sandboxes) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (own_of(sb)->transition == TRANSITION_NONE)
            sandbox_end(sb, "daemon_stopped",
                        "the daemon was stopped and its sandboxes are ephemeral", "operator", NULL,
                        NULL);
    }
}

static void on_stop_check(struct deferred *d)
{
    struct sandbox_host *h = container_of(d, struct sandbox_host, stop_check);
    if (h->kill_all) {
        end_all(&h->running);
        end_all(&h->paused);
    }
    if (h->recovering || h->busy || !list_empty(&h->creating) || !list_empty(&h->killing) ||
        !pool_is_empty(h) || !h->on_stopped)
        return;
    list_for_each_safe (node, &h->paused) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        list_remove(&sb->node);
        sandbox_unref(sb);
    }
    list_for_each_safe (node, &h->running) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        list_remove(&sb->node);
        guest_link_close(TAKE(sb->link));
        merge_forget(own_of(sb));
        vmm_release(TAKE(sb->vmm));
        sandbox_unref(sb);
    }
    void (*done)(void *user) = TAKE(h->on_stopped);
    done(h->stop_user);
}

void sandbox_host_check_stop(struct sandbox_host *h)
{
    if (h->stopping)
        defer(h->defer, &h->stop_check, on_stop_check);
}

void sandbox_host_stop(struct sandbox_host *h, bool kill_all, void (*done)(void *user), void *user)
{
    h->stopping = true;
    h->kill_all = kill_all;
    h->on_stopped = done;
    h->stop_user = user;
    uv_timer_stop(&h->expiry);
    create_cancel_all(h);
    resume_cancel_boots(h);
    kill_give_up(h);
    pool_stop(h);
    sandbox_host_check_stop(h);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct sandbox_host *h = container_of((uv_timer_t *)handle, struct sandbox_host, expiry);
    map_deinit(&h->by_id);
    event_log_deinit(&h->events);
    source_bases_free(h);
    free(h);
}

void sandbox_host_free(struct sandbox_host *h)
{
    defer_cancel(&h->stop_check);
    pool_free(TAKE(h->pool));
    uv_close((uv_handle_t *)&h->expiry, on_timer_closed);
}
