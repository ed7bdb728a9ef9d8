#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/log.h"
#include "common/base/sha256.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sysinfo.h>

/* Memory kept for the host itself and, per VM, for the VMM around its guest. */
#define HOST_RESERVED_MB 1024
#define VMM_OVERHEAD_MB  96

static const struct sm_rule rules[SANDBOX_NR] = {
    [SANDBOX_CREATING] = { "creating", SM_TO(SANDBOX_RUNNING) | SM_TO(SANDBOX_ENDED) },
    [SANDBOX_RUNNING] = { "running", SM_TO(SANDBOX_KILLING) },
    [SANDBOX_KILLING] = { "killing", SM_TO(SANDBOX_ENDED) },
    [SANDBOX_ENDED] = { "ended", 0 },
};

static void on_vm_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    struct sandbox *sb = vmm_user(v);
    if (own_of(sb)->create)
        create_vm_ended(own_of(sb)->create, detail);
    else if (sm_state(&sb->sm) == SANDBOX_RUNNING)
        sandbox_end(sb, vmm_end_name(end), detail, NULL, NULL);
}

const struct vmm_events sandbox_vmm_events = { .on_end = on_vm_end };

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
    list_init(&h->running);
    list_init(&h->killing);
    list_init(&h->creating);
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

unsigned sandbox_host_capacity(const struct sandbox_host *h)
{
    struct sysinfo si;
    if (h->config->max_sandboxes)
        return h->config->max_sandboxes < SANDBOX_SLOTS ? h->config->max_sandboxes : SANDBOX_SLOTS;
    if (sysinfo(&si) < 0)
        return 1;
    uint64_t total_mb = (uint64_t)si.totalram * si.mem_unit >> 20;
    if (total_mb <= HOST_RESERVED_MB)
        return 1;
    uint64_t n = (total_mb - HOST_RESERVED_MB) / (h->config->memory_mb + VMM_OVERHEAD_MB);
    return n < 1 ? 1 : (n < SANDBOX_SLOTS ? (unsigned)n : SANDBOX_SLOTS);
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

uid_t slot_uid(const struct sandbox_host *h, int slot)
{
    return h->config->jail ? (uid_t)(h->config->uid_base + (unsigned)slot) : (uid_t)-1;
}

struct sandbox_own *sandbox_alloc(struct sandbox_host *h, const char *id)
{
    struct sandbox_own *own = calloc(1, sizeof(*own));
    if (!own)
        return NULL;
    struct sandbox *sb = &own->sb;
    own->slot = -1;
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    snprintf(own->run_dir, sizeof(own->run_dir), "%s/run/%s", h->config->data_dir, id);
    sb->host = h;
    sb->refs = 1;
    sb->vcpus = sandbox_host_vcpus(h);
    sb->memory_mb = h->config->memory_mb;
    sb->disk_mb = h->config->disk_mb;
    sm_init(&sb->sm, "sandbox", id, rules, SANDBOX_CREATING);
    if (!map_set(&h->by_id, str_of(id), sb)) {
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
    if (own->slot >= 0)
        sb->host->slots[own->slot] = false;
    map_remove(&sb->host->by_id, str_of(sb->id));
    json_decref(sb->metadata);
    json_decref(sb->config);
    free(own);
}

struct sandbox *sandbox_find(struct sandbox_host *h, const char *id, const char *team_id)
{
    struct sandbox *sb = map_get(&h->by_id, str_of(id));
    if (!sb || sm_state(&sb->sm) != SANDBOX_RUNNING)
        return NULL;
    return !team_id || strcmp(sb->team_id, team_id) == 0 ? sb : NULL;
}

struct list *sandbox_host_list(struct sandbox_host *h)
{
    return &h->running;
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

void sandbox_running(struct sandbox *sb)
{
    list_push_back(&sb->host->running, &sb->node);
    expiry_rearm(sb->host);
}

int sandbox_set_timeout(struct sandbox *sb, int64_t timeout_s, bool extend_only, struct err *err)
{
    struct sandbox_host *h = sb->host;
    int64_t now = clock_wall_ns();
    int64_t longest = sb->started_ns + (int64_t)h->config->max_lifetime_s * 1000000000;
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

void sandbox_fill_config(const struct sandbox_own *own, struct vmm_config *config)
{
    *config = (struct vmm_config){
        .id = own->sb.id,
        .run_dir = own->run_dir,
        .vcpus = own->sb.vcpus,
        .memory_mb = own->sb.memory_mb,
        .disk_mb = own->sb.disk_mb,
        .uid = slot_uid(own->sb.host, own->slot),
    };
}

void sandbox_save(struct sandbox_own *own, const char *state,
                  void (*done)(void *user, const struct err *err), void *user)
{
    const struct sandbox *sb = &own->sb;
    AUTO_FREE char *metadata = json_dumps(sb->metadata, JSON_COMPACT);
    AUTO_FREE char *config = json_dumps(sb->config, JSON_COMPACT);
    struct store_sandbox row = {
        .started_ns = sb->started_ns,
        .end_ns = sb->end_ns,
        .vcpus = sb->vcpus,
        .memory_mb = sb->memory_mb,
        .disk_mb = sb->disk_mb,
        .secure = sb->secure,
        .private_traffic = sb->traffic_token[0] != '\0',
        .metadata = metadata,
        .config = config,
        .uid = slot_uid(sb->host, own->slot),
    };
    snprintf(row.id, sizeof(row.id), "%s", sb->id);
    snprintf(row.team_id, sizeof(row.team_id), "%s", sb->team_id);
    snprintf(row.template_id, sizeof(row.template_id), "%s", sb->template_id);
    snprintf(row.build_id, sizeof(row.build_id), "%s", own->build_id);
    snprintf(row.alias, sizeof(row.alias), "%s", sb->alias);
    snprintf(row.envd_version, sizeof(row.envd_version), "%s", sb->envd_version);
    snprintf(row.state, sizeof(row.state), "%s", state);
    snprintf(row.run_dir, sizeof(row.run_dir), "%s", own->run_dir);
    memcpy(row.link_secret, own->link_secret, sizeof(row.link_secret));
    if (sb->vmm) {
        row.vmm_pid = vmm_record(sb->vmm)->pid;
        row.vmm_start_ticks = vmm_record(sb->vmm)->start_ticks;
    }
    store_sandbox_put(sb->host->store, &row, done, user);
}

static void on_stop_check(struct deferred *d)
{
    struct sandbox_host *h = container_of(d, struct sandbox_host, stop_check);
    if (h->kill_all) {
        list_for_each_safe (node, &h->running) {
            sandbox_end(container_of(node, struct sandbox, node), "daemon_stopped",
                        "the daemon was stopped and its sandboxes are ephemeral", NULL, NULL);
        }
    }
    if (h->recovering || !list_empty(&h->creating) || !list_empty(&h->killing) || !h->on_stopped)
        return;
    list_for_each_safe (node, &h->running) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        list_remove(&sb->node);
        guest_link_close(TAKE(sb->link));
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
    sandbox_host_check_stop(h);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct sandbox_host *h = container_of((uv_timer_t *)handle, struct sandbox_host, expiry);
    map_deinit(&h->by_id);
    event_log_deinit(&h->events);
    free(h);
}

void sandbox_host_free(struct sandbox_host *h)
{
    defer_cancel(&h->stop_check);
    uv_close((uv_handle_t *)&h->expiry, on_timer_closed);
}
